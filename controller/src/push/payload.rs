//! Which repository a push event is about. In: the body, as its host writes it.
//! Out: the places of repositories ([`RepoUrl::place`]) to look at. What else it
//! says is not believed: Git itself is asked. Pure.

use std::collections::BTreeSet;

use gitops_source::RepoUrl;
use serde_json::Value;

/// Where hosts write a repository's URLs.
const URLS: [&str; 17] = [
    // GitHub, Gitea, Forgejo
    "/repository/clone_url",
    "/repository/ssh_url",
    "/repository/html_url",
    "/repository/git_url",
    // GitLab
    "/repository/git_http_url",
    "/repository/git_ssh_url",
    "/repository/homepage",
    "/project/git_http_url",
    "/project/git_ssh_url",
    "/project/http_url",
    "/project/ssh_url",
    "/project/web_url",
    // Bitbucket Cloud
    "/repository/links/html/href",
    // Bitbucket Data Center
    "/repository/links/clone/0/href",
    "/repository/links/clone/1/href",
    "/repository/links/clone/2/href",
    // Whoever writes it by hand
    "/repository",
];

/// The repositories that a body names; none: it cannot be read, or names none.
pub fn places(body: &[u8]) -> BTreeSet<String> {
    let Some(value) = read(body) else { return BTreeSet::new() };
    let mut places: BTreeSet<String> = (URLS.iter())
        .filter_map(|at| value.pointer(at)?.as_str()?.parse::<RepoUrl>().ok())
        .map(|url| url.place())
        // Over http, Bitbucket Data Center has them in a folder.
        .flat_map(|place| [place.replacen("/scm/", "/", 1), place])
        .collect();
    // An older one names no host at all.
    let text = |at: &str| value.pointer(at).and_then(Value::as_str);
    if let (true, Some(project), Some(slug)) =
        (places.is_empty(), text("/repository/project/key"), text("/repository/slug"))
    {
        places.insert(format!("*/{project}/{slug}").to_lowercase());
    }
    places
}

/// Whether a repository at this place is meant.
pub fn means(named: &BTreeSet<String>, place: &str) -> bool {
    let without_folder = place.replacen("/scm/", "/", 1);
    named.contains(place)
        || named.contains(&without_folder)
        || named.iter().filter_map(|name| name.strip_prefix('*')).any(|end| place.ends_with(end))
}

/// JSON, or a form that holds it, whatever its type is said to be.
fn read(body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Some(value);
    }
    let payload = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload")?.1;
    serde_json::from_str(&payload).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(body: &Value) -> BTreeSet<String> {
        places(body.to_string().as_bytes())
    }

    fn set(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn every_host_names_its_repository() {
        for (body, wanted) in [
            (
                json!({"ref": "refs/heads/main", "repository": {"clone_url": "https://github.com/Ada/shop.git", "ssh_url": "git@github.com:Ada/shop.git", "url": 7}}),
                set(&["github.com/ada/shop"]),
            ),
            (
                json!({"project": {"git_ssh_url": "git@gitlab.example:a/b/shop.git", "git_http_url": "https://gitlab.example/a/b/shop.git"}}),
                set(&["gitlab.example/a/b/shop"]),
            ),
            (
                json!({"repository": {"full_name": "ada/shop", "links": {"html": {"href": "https://bitbucket.org/ada/shop"}}}}),
                set(&["bitbucket.org/ada/shop"]),
            ),
            (
                json!({"repository": {"slug": "shop", "project": {"key": "ADA"}, "links": {"clone": [{"href": "ssh://git@bb.example:7999/ada/shop.git"}, {"href": "https://bb.example/scm/ada/shop.git"}]}}}),
                set(&["bb.example/ada/shop", "bb.example/scm/ada/shop"]),
            ),
            (json!({"repository": {"slug": "Shop", "project": {"key": "ADA"}}}), set(&["*/ada/shop"])),
            (json!({"repository": "https://git.example/shop.git"}), set(&["git.example/shop"])),
            (json!({"repository": {"clone_url": "no url"}}), set(&[])),
            (json!([1]), set(&[])),
        ] {
            assert_eq!(named(&body), wanted, "{body}");
        }
        assert_eq!(places(b"{"), set(&[]));
    }

    #[test]
    fn a_form_holds_it_too() {
        let body = b"payload=%7B%22repository%22%3A%7B%22clone_url%22%3A%22https%3A%2F%2Fgithub.com%2Fada%2Fshop.git%22%7D%7D";
        assert_eq!(places(body), set(&["github.com/ada/shop"]));
        assert_eq!(places(b"payload=1&more"), set(&[]));
    }

    #[test]
    fn a_place_is_found_by_any_of_its_names() {
        let clone = set(&["bb.example/ada/shop"]);
        assert!(means(&clone, "bb.example/scm/ada/shop") && means(&clone, "bb.example/ada/shop"));
        assert!(!means(&clone, "bb.example/ada/shop2") && !means(&clone, "other.example/ada/shop"));
        let hostless = set(&["*/ada/shop"]);
        assert!(means(&hostless, "bb.example/scm/ada/shop") && !means(&hostless, "bb.example/ada/workshop"));
    }
}
