//! Which repositories, branches and versions count. In: a source. Out: the
//! rules that it has to meet, and whether it does.

use super::{ProjectSpec, Repository, matches};
use crate::application::Source;

impl ProjectSpec {
    /// The rules of a repository, one of which a commit of it has to meet.
    pub fn rules_of<'a>(&'a self, repository: &str) -> impl Iterator<Item = &'a Repository> {
        let repository = normal(repository);
        self.repositories.iter().filter(move |rule| matches(&normal(&rule.url), &repository))
    }

    /// Whether a source that does not lie in Git may be used. No branch reaches
    /// it, so it has to name the version that counts, and nothing else can come
    /// of that name; its signature is not checked yet.
    ///
    /// # Errors
    /// Why not.
    pub fn admits_artifact(&self, source: &Source) -> Result<(), String> {
        let signed =
            || "its rule has signers, and signatures of charts and artifacts are not checked yet".to_owned();
        let repository = source.repo.as_deref().unwrap_or_default();
        // A chart of a registry lies below its repository, which may have a rule, too.
        if let Some(helm) = source.helm.as_ref().filter(|helm| !helm.chart.is_empty()) {
            let chart = format!("{}/{}", repository.trim_end_matches('/'), helm.chart);
            if self.rules_of(&chart).any(|rule| !rule.signers.is_empty()) {
                return Err(signed());
            }
        }
        let mut why = None;
        for rule in self.rules_of(repository) {
            if !rule.signers.is_empty() {
                why = Some(signed());
            } else if rule.branches.is_empty() {
                return Ok(());
            } else {
                match fixed_version(source) {
                    Ok(version) if rule.admits_branch(version) => return Ok(()),
                    Ok(version) => {
                        let branches = rule.branches.join(", ");
                        why = Some(format!("{version} is none of the versions that count ({branches})"));
                    }
                    Err(reason) => why = Some(reason),
                }
            }
        }
        Err(why.unwrap_or_else(|| "no rule is about it".into()))
    }
}

impl Repository {
    /// Whether this branch or tag counts.
    pub fn admits_branch(&self, name: &str) -> bool {
        self.branches.is_empty() || self.branches.iter().any(|glob| matches(glob, name))
    }
}

/// A branch or tag by its name alone.
pub(super) fn branch(revision: &str) -> &str {
    revision.strip_prefix("refs/heads/").or_else(|| revision.strip_prefix("refs/tags/")).unwrap_or(revision)
}

/// The one version of a chart, or tag of an artifact, that a source can mean.
fn fixed_version(source: &Source) -> Result<&str, String> {
    if let Some(helm) = source.helm.as_ref().filter(|helm| !helm.chart.is_empty()) {
        // A digest behind it only says more.
        let version = helm.version.split('@').next().unwrap_or_default();
        let numbers = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let rest = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
        if numbers.split('.').count() == 3 && numbers.split('.').all(is_number) && rest {
            return Ok(version);
        }
        return Err(format!("{:?} is a range, and only some versions count: name one", helm.version));
    }
    // By its digest an artifact is found under any tag, or none.
    if source.revision.contains([':', '@']) {
        return Err(format!("{:?} is a digest, and only some tags count: name one", source.revision));
    }
    Ok(if source.revision == "HEAD" { "latest" } else { &source.revision })
}

/// Whether a revision may be something else than a branch or a tag.
pub(super) fn is_no_name(revision: &str) -> bool {
    revision == "HEAD" || revision.len() >= 4 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One writing for every way of naming a repository, so that none slips by:
/// host in lower case, no user, no `.git`, no slash at the end; `git@host:a/b`
/// is `ssh://host/a/b`.
fn normal(url: &str) -> String {
    let url = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_lowercase();
            format!("{}://{host}/{path}", scheme.to_lowercase())
        }
        None => match url.split_once(':').filter(|(host, _)| !host.contains('/')) {
            Some((host, path)) => {
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_lowercase();
                format!("ssh://{host}/{}", path.trim_start_matches('/'))
            }
            None => url.to_owned(),
        },
    };
    let url = url.trim_end_matches('/');
    url.strip_suffix(".git").unwrap_or(url).to_owned()
}
