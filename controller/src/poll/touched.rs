//! Whom a commit concerns. In: Applications whose last look has not failed, and
//! those among them whose revision has moved. Out: those that read something
//! else now. For all others nothing has changed but a commit that says nothing
//! to them: they are not looked at, and their status stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::StreamExt;
use gitops_core::desired::AppRef;
use gitops_engine::desired::{commit_here, reading};
use gitops_engine::trust::trust;
use gitops_engine::{EngineError, Environment, Loaded};

/// Applications that are compared side by side.
const PARALLEL: usize = 8;

/// What an Application was last seen to read.
#[derive(Clone, Debug)]
struct Settled {
    loaded: Arc<Loaded>,
    environment: Arc<Environment>,
    revision: String,
    /// As far as it was asked for.
    reading: Option<String>,
}

/// What Applications read.
#[derive(Debug, Default)]
pub struct Readings {
    settled: Mutex<HashMap<AppRef, Settled>>,
    /// Those of clusters: there are few, and each is large.
    environments: Mutex<Vec<Weak<Environment>>>,
}

/// Revisions of Projects that were checked, and what came out.
type Trusted = Mutex<HashMap<String, bool>>;

impl Readings {
    /// Keeps what a look has seen.
    pub fn keep(&self, loaded: &Loaded, environment: &Environment, revision: &str) {
        let environment = self.shared(environment);
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let before = settled.remove(&loaded.application);
        // It was compared up to here already.
        let same = before.filter(|before| before.revision == revision && before.loaded.spec == loaded.spec);
        let reading = same.and_then(|before| before.reading);
        let now =
            Settled { loaded: Arc::new(loaded.clone()), environment, revision: revision.to_owned(), reading };
        settled.insert(loaded.application.clone(), now);
    }

    /// Whatever comes concerns this Application.
    pub fn forget(&self, application: &AppRef) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).remove(application);
    }

    /// Tells which of these read something else now, each as soon as it is known.
    pub async fn touched(&self, moved: Vec<AppRef>, tell: impl Fn(&AppRef)) {
        let trusted = Trusted::default();
        let all = futures::stream::iter(moved).map(async |application| {
            let known = {
                let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                settled.get(&application).cloned()
            };
            let same = match known {
                Some(known) => known.still_reads(&trusted).await.unwrap_or_default(),
                None => None,
            };
            (application, same)
        });
        let mut all = std::pin::pin!(all.buffer_unordered(PARALLEL));
        while let Some((application, same)) = all.next().await {
            match same {
                Some(now) => self.go_on(&application, now),
                None => tell(&application),
            }
        }
    }

    /// The next commit is compared with this one, unless a look has come between.
    fn go_on(&self, application: &AppRef, now: Settled) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) =
            settled.get_mut(application).filter(|known| Arc::ptr_eq(&known.loaded, &now.loaded))
        {
            *known = now;
        }
    }

    fn shared(&self, environment: &Environment) -> Arc<Environment> {
        let mut all = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        let is_same = |known: &Arc<Environment>| {
            known.kube_version == environment.kube_version && known.api_versions == environment.api_versions
        };
        if let Some(known) = all.iter().filter_map(Weak::upgrade).find(is_same) {
            return known;
        }
        let new = Arc::new(environment.clone());
        all.push(Arc::downgrade(&new));
        new
    }
}

impl Settled {
    /// Itself at the revision of now, if that says nothing new to it and its
    /// Project takes it.
    async fn still_reads(mut self, trusted: &Trusted) -> Result<Option<Self>, EngineError> {
        let (loaded, environment) = (self.loaded.clone(), self.environment.clone());
        let before = match self.reading.take() {
            Some(known) => Some(known),
            None => reading(&loaded, &environment, &self.revision).await?,
        };
        let Some(before) = before else { return Ok(None) };
        let now = commit_here(&loaded, &environment).await?.id;
        if reading(&loaded, &environment, &now).await?.as_ref() != Some(&before) {
            return Ok(None);
        }
        if !is_trusted(&loaded, &environment, &now, trusted).await {
            return Ok(None);
        }
        Ok(Some(Self { revision: now, reading: Some(before), ..self }))
    }
}

/// Whether the Project takes a revision; asked once for all that have the same
/// Project and sources.
async fn is_trusted(loaded: &Loaded, environment: &Environment, revision: &str, known: &Trusted) -> bool {
    let sources: Vec<String> =
        (loaded.sources.iter()).map(|place| format!("{} {}", place.repo, place.source.revision)).collect();
    let key = format!("{} {revision} {}", loaded.spec.project, sources.join(" "));
    let answer = known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
    if let Some(answer) = answer {
        return answer;
    }
    let answer = trust(loaded, environment, revision).await.is_ok();
    known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer);
    answer
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use gitops_engine::load::from_flags;
    use gitops_source::{Credentials, RepoUrl};

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"];
        let done = Command::new("git").args(person).args(arguments).current_dir(folder).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    }

    fn commit(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        git(folder, &["add", "--all"]);
        git(folder, &["commit", "--quiet", "-m", text]);
    }

    fn environment(cache: &Path) -> Environment {
        Environment {
            cache_dir: cache.to_owned(),
            tools: gitops_source::Tools::default(),
            git_timeout: std::time::Duration::from_secs(5),
            looks: gitops_engine::Looks::Always,
            kube_version: String::new(),
            api_versions: Vec::new(),
            keys: gitops_source::sops::Keys::default(),
        }
    }

    #[tokio::test]
    async fn a_commit_concerns_who_reads_what_it_changes() {
        let (repo, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        git(repo.path(), &["init", "--quiet", "--initial-branch=main"]);
        let environment = environment(cache.path());
        let loaded: Vec<Loaded> = ["a", "b"]
            .iter()
            .map(|name| {
                let url = RepoUrl::local(repo.path());
                from_flags(name, "shop", url, "main", name, Credentials::default())
            })
            .collect();
        let readings = Readings::default();
        let keep = async |loaded: &Loaded| {
            let id = commit_here(loaded, &environment).await.unwrap().id;
            readings.keep(loaded, &environment, &id);
        };
        let touched = async || {
            let told = Mutex::new(Vec::new());
            let all = loaded.iter().map(|loaded| loaded.application.clone()).collect();
            readings.touched(all, |application| told.lock().unwrap().push(application.name.clone())).await;
            let mut told = told.into_inner().unwrap();
            told.sort();
            told
        };
        commit(repo.path(), "a/config.yaml", "a: 1");
        commit(repo.path(), "b/config.yaml", "b: 1");
        assert_eq!(touched().await, ["a", "b"], "nobody has looked yet");
        keep(&loaded[0]).await;
        keep(&loaded[1]).await;
        commit(repo.path(), "b/config.yaml", "b: 2");
        assert_eq!(touched().await, ["b"]);
        keep(&loaded[1]).await;
        commit(repo.path(), "README.md", "nobody reads it");
        assert_eq!(touched().await, Vec::<String>::new());
        // From there, not from the last look.
        commit(repo.path(), "a/config.yaml", "a: 2");
        assert_eq!(touched().await, ["a"]);
        keep(&loaded[0]).await;
        readings.forget(&loaded[1].application);
        commit(repo.path(), "README.md", "again");
        assert_eq!(touched().await, ["b"], "its last look has failed");
    }
}
