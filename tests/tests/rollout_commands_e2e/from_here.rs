//! Versions that come and go by the plugin alone, where neither controller nor
//! webhook is: `sync --wait` and `rollout ... --local` let them in and take them
//! back, one of them at a time.

use std::thread::scope;
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::{FakeNode, NodeCluster, Repo, TestCluster};
use serde_json::{Value, json};

use super::{rollout, web};

/// A namespace, and the repository that says what is in it.
struct Place<'a> {
    cluster: &'a TestCluster,
    node: &'a FakeNode,
    name: &'static str,
    repo: Repo,
}

impl<'a> Place<'a> {
    /// Version 1 runs.
    fn new(cluster: &'a TestCluster, node: &'a FakeNode, name: &'static str, rollout: &Value) -> Self {
        cluster.kubectl(&format!("create namespace {name}")).ok();
        let application = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": name},
            "spec": {"source": {"path": "app"}, "destination": {"namespace": name}}});
        let repo = Repo::with(&[
            ("gitops.yaml", &application.to_string()),
            ("app/web.yaml", &web(node, "web:1")),
            ("app/rollout.yaml", &rollout.to_string()),
        ]);
        let place = Self { cluster, node, name, repo };
        place.run("sync --wait --timeout 2m").ok();
        place
    }

    fn run(&self, arguments: &str) -> Ran {
        self.cluster.gitops(self.repo.path(), &format!("{arguments} -n {}", self.name))
    }

    fn push(&self, image: &str) -> String {
        self.repo.commit(image, &[("app/web.yaml", &web(self.node, image))])
    }

    fn image(&self) -> String {
        let path = "-o jsonpath={.spec.template.spec.containers[0].image}";
        self.cluster.kubectl(&format!("get deployment web -n {} {path}", self.name)).ok().stdout
    }

    fn live(&self, what: &str) -> Value {
        self.cluster.kubectl(&format!("get {what} -n {} -o json", self.name)).ok().json()
    }
}

#[test]
fn versions_come_and_go_by_the_plugin_alone() {
    let node = NodeCluster::control_plane("from-here");
    let (cluster, fake) = (&node.cluster, FakeNode::start(&node.cluster, "from-here-node"));
    scope(|side| {
        side.spawn(|| one_drives_at_a_time(cluster, &fake));
        side.spawn(|| what_is_mended_elsewhere_is_tried_again(cluster, &fake));
        come_and_go(cluster, &fake);
    });
}

fn come_and_go(cluster: &TestCluster, node: &FakeNode) {
    let place = Place::new(cluster, node, "here", &rollout(&json!([{"setWeight": 50}, {"pause": {}}])));
    let repo = &place.repo;
    repo.git(&["config", "user.name", "Grace"]);
    repo.git(&["config", "user.email", "grace@example.com"]);
    let (run, image) = (|arguments: &str| place.run(arguments), || place.image());

    run("rollout set-image web web=web:2 --yes").ok();
    let waits = run("sync --wait --timeout 2m").ok();
    assert!(waits.stderr.contains("until someone promotes it"), "{}{}", waits.stdout, waits.stderr);
    assert_eq!(image(), "web:1");
    // Every command that looks at the Application says so.
    let status = run("status").stdout;
    assert!(
        status.contains("rollout:") && status.contains("kubectl gitops rollout promote web -n here"),
        "{status}"
    );
    let json = run("status -o json").json();
    assert_eq!(
        (&json["rollouts"][0]["phase"], &json["rollouts"][0]["step"]),
        (&json!("Paused"), &json!("2 of 3"))
    );
    let tree = run("tree").stdout;
    assert!(tree.contains("Paused, step 2 of 3"), "{tree}");
    let why = run("why deployment/web").ok().stdout;
    assert!(why.contains("it is as Git says") && why.contains("Rollout web decides about it"), "{why}");
    let history = run("history").ok().stdout;
    assert!(history.contains("held") && !history.contains("live"), "{history}");
    let picture = run("rollout get web").ok().stdout;
    assert!(picture.contains("▶  2 pause until promoted") && picture.contains("web:2"), "{picture}");

    let paused = run("rollout pause web --local --timeout 2m").ok();
    assert!(paused.stdout.contains("pause, now Paused"), "{}{}", paused.stdout, paused.stderr);
    assert_eq!(run("rollout get web -o json").ok().json()["requests"], json!(["promote", "resume", "abort"]));
    let resumed = run("rollout resume web --local --timeout 2m").ok();
    assert!(resumed.stdout.contains("resume, now Paused"), "{}{}", resumed.stdout, resumed.stderr);
    let promoted = run("rollout promote web --local --reason INC-12 --timeout 2m").ok();
    assert!(promoted.stdout.contains("promote, now Idle"), "{}{}", promoted.stdout, promoted.stderr);
    assert_eq!(image(), "web:2");
    let asked = run("rollout get web -o json").ok().json()["asked"].clone();
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("promote"), &json!("INC-12")), "{asked}");
    assert_eq!(run("rollout status web").ok().code, 0);
    let ended = run("rollout status web -o json").ok().json();
    assert_eq!((&ended["name"], &ended["phase"]), (&json!("web"), &json!("Idle")), "{ended}");
    let restart = run("rollout restart web --dry-run -o json").ok().json();
    assert_eq!(
        (&restart["dryRun"], &restart["objects"][0]["name"]),
        (&json!(true), &json!("web")),
        "{restart}"
    );

    // Taken back: the cluster at once, and Git by a commit.
    run("rollout set-image web web=web:3 --yes").ok();
    run("sync --wait --timeout 2m").ok();
    let aborted = run("rollout abort web --local --reason INC-13 --timeout 2m -o json").ok().json();
    let asked = &aborted["asked"];
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("abort"), &json!("INC-13")), "{aborted}");
    assert_eq!(image(), "web:2");
    assert!(std::fs::read_to_string(repo.file("app/web.yaml")).unwrap().contains("web:2"));
    assert!(repo.git(&["show", "-s", "--format=%s"]).starts_with("Roll back web to "));
    let versions = run("rollout history web -o json").ok().json();
    let states: Vec<(&str, &str)> = (versions["items"].as_array().unwrap().iter())
        .map(|item| (item["images"][0].as_str().unwrap(), item["state"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(states[0], ("web:2", "promoted"), "{versions}");
    assert_eq!(states[1].0, "web:3", "{versions}");
    assert!(["rolled back", "aborted"].contains(&states[1].1), "{versions}");
    // By hand, to the first version, which then has to be let in as any other.
    let undone = run("rollout undo web --to-revision 3 --yes --wait --timeout 2m").ok();
    assert!(undone.stdout.contains("image: web:1"), "{}", undone.stdout);
    assert_eq!(image(), "web:2");
    run("rollout promote web --full --local --timeout 2m").ok();
    assert_eq!(image(), "web:1");
}

/// A version for which there was no room: nothing changes in Git.
fn what_is_mended_elsewhere_is_tried_again(cluster: &TestCluster, node: &FakeNode) {
    let mut hurried = rollout(&json!([{"setWeight": 50}, {"pause": {}}]));
    hurried["spec"]["onFailure"] = "Hold".into();
    hurried["spec"]["deadlines"] = json!({"progress": "10s"});
    let place = Place::new(cluster, node, "mended", &hurried);
    cluster.kubectl("create quota tight --hard=pods=2 -n mended").ok();
    eventually("the quota counts", Duration::from_secs(60), || {
        (place.live("quota/tight")["status"]["used"]["pods"] == "2").then_some(())
    });
    let pushed = place.push("web:2");
    let full = place.run("sync --wait --timeout 2m").code(1);
    assert!(full.stderr.contains("ResourceQuota tight leaves 0 of pods"), "{}{}", full.stdout, full.stderr);
    // It is not tried again by itself, and in vain as long as nothing is mended.
    place.run("sync --wait --timeout 2m").code(1);
    assert_eq!(place.live("rollout/web")["status"]["phase"], "Aborted");
    let vain = place.run("rollout retry web --local --timeout 2m").code(1);
    assert!(vain.stdout.contains("retry, now Aborted"), "{}{}", vain.stdout, vain.stderr);
    assert_eq!(place.image(), "web:1");

    cluster.kubectl("delete quota tight -n mended").ok();
    let tried = place.run("rollout retry web --local --reason INC-15 --timeout 2m").ok();
    assert!(tried.stdout.contains("retry, now Paused"), "{}{}", tried.stdout, tried.stderr);
    let picture = place.run("rollout get web -o json").ok().json();
    assert_eq!(
        (&picture["asked"]["verb"], &picture["asked"]["reason"]),
        (&json!("retry"), &json!("INC-15")),
        "{picture}"
    );
    assert_eq!(place.image(), "web:1", "from its first step");
    let none = place.run("rollout retry web --local").code(1);
    assert!(none.stderr.contains("there is nothing to retry in phase Paused"), "{}", none.stderr);
    place.run("rollout promote web --local --timeout 2m").ok();
    assert_eq!((place.image(), place.repo.head()), ("web:2".into(), pushed));
}

/// Whoever drives holds the Application's Lease: nobody drives beside them, and what
/// others ask for is carried out there.
fn one_drives_at_a_time(cluster: &TestCluster, node: &FakeNode) {
    let steps = json!([{"setWeight": 50}, {"pause": {"duration": "2m"}}]);
    let mut held = rollout(&steps);
    held["spec"]["onFailure"] = "Hold".into();
    let place = Place::new(cluster, node, "one", &held);
    place.push("web:2");
    scope(|side| {
        let first = side.spawn(|| place.run("sync --wait --timeout 3m"));
        eventually("it pauses", Duration::from_secs(120), || {
            (place.live("rollout/web")["status"]["phase"] == "Paused").then_some(())
        });
        let holder = place.live("lease/gitops-sync-web")["spec"]["holderIdentity"].clone();
        let holder = holder.as_str().unwrap();
        assert!(holder.contains(", process "), "{holder}");
        let second = place.run("sync --wait").code(6);
        let told = format!("Application one/web is being synced by {holder}");
        assert!(second.stderr.contains(&format!("{told}; nothing was applied")), "{}", second.stderr);
        let aborted = place.run("rollout abort web --local --reason INC-16 --timeout 1m").ok();
        assert!(aborted.stderr.contains(&format!("{told}, who is asked")), "{}", aborted.stderr);
        assert!(aborted.stdout.contains("abort, now Abort"), "{}", aborted.stdout);
        first.join().unwrap().code(1);
    });
    assert_eq!(place.image(), "web:1");
    let asked = place.run("rollout get web -o json").ok().json()["asked"].clone();
    assert_eq!((&asked["verb"], &asked["reason"]), (&json!("abort"), &json!("INC-16")), "{asked}");
}
