//! Container images by their names. In: a reference, as a Pod template has it.
//! Out: its repository, tag and digest; and where an object has containers.

use std::fmt;

use serde_json::Value;

/// `registry/name:tag@digest`, with a tag, a digest, both or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Registry and name, as they are written.
    pub repository: String,
    /// Empty where there is none.
    pub tag: String,
    /// Such as `sha256:...`; empty where there is none.
    pub digest: String,
}

/// A reference that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no image")]
pub struct ImageError {
    pub text: String,
}

impl Image {
    /// Reads a reference. Whether there is such an image is for the registry to
    /// say.
    ///
    /// # Errors
    /// When it is empty, or holds what no reference may hold.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError { text: text.to_owned() };
        let (rest, digest) = text.split_once('@').unwrap_or((text, ""));
        // A colon before a slash is a port's.
        let (repository, tag) =
            rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((rest, ""));
        let plain = |letter: char, more: &str| letter.is_ascii_alphanumeric() || more.contains(letter);
        let empty = (rest.ends_with(':'), text.ends_with('@'));
        let good = !repository.is_empty()
            && empty == (false, false)
            && !repository.starts_with('/')
            && !repository.ends_with('/')
            && repository.chars().all(|letter| plain(letter, "._-/:"))
            && tag.chars().all(|letter| plain(letter, "._-"))
            && (digest.is_empty() || digest.contains(':'))
            && digest.chars().all(|letter| plain(letter, ":+._-"));
        good.then(|| Self { repository: repository.into(), tag: tag.into(), digest: digest.into() })
            .ok_or_else(bad)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        if !self.digest.is_empty() {
            write!(f, "@{}", self.digest)?;
        }
        Ok(())
    }
}

/// Where Pod templates lie, and the lists of containers in them.
const TEMPLATES: [&str; 3] = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"];
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// A container of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// JSON pointer of its image.
    pub pointer: String,
}

/// The containers of an object's Pods that name an image, init containers last.
pub fn containers(object: &Value) -> Vec<Container> {
    let mut found = Vec::new();
    for (template, list) in TEMPLATES.iter().flat_map(|template| LISTS.map(|list| (template, list))) {
        let pointer = format!("{template}/{list}");
        let items = object.pointer(&pointer).and_then(Value::as_array).into_iter().flatten();
        for (index, item) in items.enumerate() {
            let text = |field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
            if let (Some(name), Some(image)) = (text("name"), text("image")) {
                found.push(Container { name, image, pointer: format!("{pointer}/{index}/image") });
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_taken_apart_and_put_together() {
        for (text, repository, tag, digest) in [
            ("web", "web", "", ""),
            ("web:1.2", "web", "1.2", ""),
            ("localhost:5000/shop/web", "localhost:5000/shop/web", "", ""),
            ("localhost:5000/shop/web:1", "localhost:5000/shop/web", "1", ""),
            ("reg.example/web@sha256:ab", "reg.example/web", "", "sha256:ab"),
            ("reg.example/web:1@sha256:ab", "reg.example/web", "1", "sha256:ab"),
        ] {
            let image = Image::parse(text).unwrap();
            assert_eq!((&*image.repository, &*image.tag, &*image.digest), (repository, tag, digest));
            assert_eq!(image.to_string(), text);
        }
        for text in ["", ":1", "web:", "web@", "web@sha256", "web 1", "web\n", "/web", "web/", "a=b", "{{x}}"]
        {
            assert!(Image::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn containers_are_found_in_every_kind_of_workload() {
        let pod = json!({"containers": [{"name": "app", "image": "web:1"}, {"name": "none"}], "initContainers": [{"name": "init", "image": "x"}]});
        let names = |object: Value| {
            let found = containers(&object);
            found.iter().for_each(|container| {
                assert_eq!(object.pointer(&container.pointer), Some(&json!(container.image)));
            });
            found.into_iter().map(|container| container.name).collect::<Vec<_>>()
        };
        assert_eq!(names(json!({"spec": {"template": {"spec": pod}}})), ["app", "init"]);
        assert_eq!(
            names(json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}})),
            ["app", "init"]
        );
        assert_eq!(names(json!({"spec": pod})), ["app", "init"]);
        assert_eq!(names(json!({"data": {}})), Vec::<String>::new());
    }
}
