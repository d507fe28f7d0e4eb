//! Repositories of which only the newest commits are fetched, and what takes
//! the rest.

use std::time::{Duration, Instant};

use gitops_engine::{EngineError, Loaded, revisions};
use gitops_source::{Commit, Credentials, ErrorKind, RepoUrl, SourceError};
use gitops_tests::{GitServer, Repo};

use super::fetching::served;
use super::{Bench, LONG, config_map, request};

/// A repository of five commits, served, and its commits, the oldest first.
struct Case {
    bench: Bench,
    repo: Repo,
    commits: Vec<String>,
    url: RepoUrl,
    server: GitServer,
    _root: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let repo = Repo::with(&[("app/a.yaml", &config_map("a", "0"))]);
        let mut commits = vec![repo.head()];
        commits.extend(
            (1..5).map(|turn| repo.commit("turn", &[("app/a.yaml", &config_map("a", &turn.to_string()))])),
        );
        repo.git(&["branch", "old", &commits[1]]);
        repo.git(&["tag", "-a", "-m", "v1", "v1", &commits[2]]);
        let (root, server) = served(&repo, None);
        let url = server.url("shop.git").parse().unwrap();
        Self { bench: Bench::new(), repo, commits, url, server, _root: root }
    }

    fn fetch(&self, revision: &str) -> Result<Commit, SourceError> {
        self.bench.cache().fetch(&self.url, revision, &Credentials::default(), LONG)
    }

    fn has(&self, commit: &str) -> bool {
        self.bench.cache().contains(&self.url, commit)
    }

    fn is_shallow(&self) -> bool {
        self.bench.cache().is_shallow(&self.url)
    }

    fn push(&self, what: &str) {
        self.repo.git(&["push", "--quiet", "--force", "origin", what]);
    }

    /// Whether one commit lies before another, by what is here.
    fn is_ancestor(&self, a: &str, b: &str) -> Result<bool, SourceError> {
        self.bench.cache().is_ancestor(&self.url, a, b)
    }

    fn deeply<T>(&self, ask: impl Fn() -> Result<T, SourceError>) -> Result<T, SourceError> {
        self.bench.cache().deeply(&self.url, &Credentials::default(), LONG, ask)
    }

    fn moves_forward(&self, from: &str, to: &str) -> Result<(), EngineError> {
        let credentials = Credentials::default();
        let loaded: Loaded =
            gitops_engine::load::from_flags("a", "a", self.url.clone(), "main", "app", credentials);
        let environment = gitops_engine::Environment {
            cache_dir: self.bench.home.path().into(),
            ..self.bench.environment()
        };
        revisions::moves_forward(&loaded, &environment, from, to)
    }
}

#[test]
fn the_first_fetch_brings_one_commit_and_later_ones_what_is_new() {
    let case = Case::new();
    for revision in ["main", "HEAD"] {
        assert_eq!(case.fetch(revision).unwrap().id, case.commits[4]);
    }
    assert!(case.is_shallow() && !case.has(&case.commits[3]));
    let snapshot = case.bench.cache().snapshot(&case.url, &case.commits[4]).unwrap();
    let objects =
        gitops_source::render(&snapshot, &request("app"), &case.bench.tools, &case.bench.renders()).unwrap();
    assert_eq!(objects[0].value["data"]["key"], 4);
    let between = case.repo.commit("five", &[("b.yaml", "b: 5\n")]);
    let tip = case.repo.commit("six", &[("b.yaml", "b: 6\n")]);
    case.push("main");
    for revision in ["HEAD", "main"] {
        assert_eq!(case.fetch(revision).unwrap().id, tip);
    }
    assert!(case.is_shallow() && case.has(&between) && !case.has(&case.commits[3]));
    assert!(case.is_ancestor(&case.commits[4], &tip).unwrap());
}

#[test]
fn other_names_come_one_by_one_until_the_history_is_asked_for() {
    let case = Case::new();
    case.fetch("main").unwrap();
    assert_eq!(case.fetch("old").unwrap().id, case.commits[1]);
    assert_eq!(case.fetch("v1").unwrap().id, case.commits[2]);
    assert_eq!(case.fetch("refs/tags/v1").unwrap().id, case.commits[2]);
    assert_eq!(case.fetch(&case.commits[3]).unwrap().id, case.commits[3]);
    assert!(case.is_shallow() && !case.has(&case.commits[0]));
    let Err(SourceError::NoSuchRevision { near, .. }) = case.fetch("mian") else { panic!("it is there") };
    assert!(near.contains(&"main".to_owned()) && near.contains(&"old".to_owned()), "{near:?}");
    assert!(case.is_shallow());
    // A branch that is gone is so here, too, and makes room.
    case.repo.git(&["push", "--quiet", "--delete", "origin", "old"]);
    case.repo.git(&["branch", "-m", "old", "old/one"]);
    case.push("old/one");
    assert_eq!(case.fetch("old/one").unwrap().id, case.commits[1]);
    assert_eq!(case.fetch("old").unwrap_err().kind(), ErrorKind::NoSuchRevision);
    assert_eq!(case.fetch("main~4").unwrap().id, case.commits[0]);
    assert!(!case.is_shallow());
    for name in ["HEAD", "main", "old/one", "v1"] {
        case.bench.cache().resolve(&case.url, name).unwrap();
    }
    let tip = case.repo.commit("more", &[("b.yaml", "b: 1\n")]);
    case.push("main");
    assert_eq!(case.fetch(&tip[..9]).unwrap().id, tip);
    assert!(!case.is_shallow());
}

#[test]
fn a_branch_that_went_back_is_never_taken_for_one_that_moved() {
    let case = Case::new();
    let newest = case.fetch("main").unwrap().id;
    // Back by three commits: nothing of what lies between is here.
    case.repo.git(&["reset", "--quiet", "--hard", &case.commits[1]]);
    case.push("main");
    let tip = case.fetch("main").unwrap().id;
    assert_eq!(tip, case.commits[1]);
    assert!(matches!(case.is_ancestor(&tip, &newest), Err(SourceError::Shallow { .. })));
    let error = case.moves_forward(&newest, &tip).unwrap_err();
    assert!(matches!(error, EngineError::Rewound { .. }), "{error}");
    assert!(case.has(&case.commits[2]) && !case.is_shallow());
    assert!(!case.is_ancestor(&newest, &tip).unwrap());
}

#[test]
fn a_branch_with_a_new_history_is_followed_and_who_cannot_ask_is_not_led_astray() {
    let case = Case::new();
    let newest = case.fetch("main").unwrap().id;
    case.repo.git(&["reset", "--quiet", "--hard", &case.commits[3]]);
    let tip = case.repo.commit("otherwise", &[("b.yaml", "b: 1\n")]);
    case.push("main");
    assert_eq!(case.fetch("main").unwrap().id, tip);
    case.moves_forward(&newest, &tip).unwrap();
    assert!(!case.is_ancestor(&tip, &newest).unwrap());
    // Without the host, what is not known is not followed.
    let case = Case::new();
    let newest = case.fetch("main").unwrap().id;
    let older = case.fetch("old").unwrap().id;
    let Case { bench, url, server, .. } = &case;
    server.go_silent();
    let loaded =
        gitops_engine::load::from_flags("a", "a", url.clone(), "main", "app", Credentials::default());
    let environment = gitops_engine::Environment {
        cache_dir: bench.home.path().into(),
        git_timeout: Duration::from_millis(300),
        ..bench.environment()
    };
    let error = revisions::moves_forward(&loaded, &environment, &newest, &older).unwrap_err();
    assert!(matches!(error, EngineError::Source(_)), "{error}");
}

#[test]
fn what_lies_on_a_branch_is_told_with_all_branches() {
    let case = Case::new();
    let (cache, url) = (case.bench.cache(), &case.url);
    case.fetch("main").unwrap();
    assert!(cache.is_on(url, &case.commits[4], &|name| name == "main").unwrap());
    case.fetch(&case.commits[1]).unwrap();
    let on_old = || cache.is_on(url, &case.commits[1], &|name| name == "old");
    assert!(matches!(on_old(), Err(SourceError::Shallow { .. })));
    assert!(case.deeply(on_old).unwrap());
    assert!(!cache.is_on(url, &case.commits[4], &|name| name == "old").unwrap());
}

#[test]
fn a_history_comes_behind_and_once_for_all_who_ask() {
    let case = Case::new();
    case.fetch("main").unwrap();
    let history = || case.bench.cache().history(&case.url, &case.commits[4], &["app".into()], 9);
    assert!(matches!(history(), Err(SourceError::Shallow { .. })));
    let before = case.server.requests();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..10).map(|_| scope.spawn(|| case.deeply(history).unwrap().len())).collect();
        assert!(asking.into_iter().all(|one| one.join().unwrap() == 5));
    });
    let requests = case.server.requests() - before;
    assert!(requests < 10, "{requests} requests for one history");
    let case = Case::new();
    case.fetch("main").unwrap();
    // What a process left behind that was killed is in nobody's way.
    let folder = std::fs::read_dir(case.bench.home.path().join("git")).unwrap();
    let folder = folder.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    std::fs::write(folder.join("shallow.lock"), "").unwrap();
    case.bench.cache().deepen_behind(&case.url, &Credentials::default());
    let begun = Instant::now();
    while case.is_shallow() {
        assert!(begun.elapsed() < LONG, "the history never came");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(folder.join("shallow.lock"), "").unwrap();
    case.fetch("main").unwrap();
}

#[test]
fn a_host_that_gives_no_part_of_a_history_gives_all_of_it() {
    let case = Case::new();
    case.server.hide_shallow();
    assert_eq!(case.fetch("main").unwrap().id, case.commits[4]);
    assert!(!case.is_shallow() && case.has(&case.commits[0]));
}
