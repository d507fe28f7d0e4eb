//! Waves, hooks, options and safety of a sync on the real API server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{FakeNode, Fault, FaultyProxy, Namespace, Ran, Repo, Shop, TestCluster, cluster};
use serde_json::{Value, json};

/// A namespace and a repository with a `gitops.yaml` that fills it.
struct Place {
    namespace: Namespace,
    repo: Repo,
}

impl Place {
    fn new(files: &[(&str, String)]) -> Self {
        Self::with(files, &json!({}))
    }

    /// With this in the Application's `spec.sync`.
    fn with(files: &[(&str, String)], sync: &Value) -> Self {
        let namespace = cluster().namespace("waves");
        let place = Self { namespace, repo: Repo::new() };
        place.commit(files);
        place.applications(&[
            json!({"metadata": {"name": "web"}, "spec": {"source": {"path": "app"}, "sync": sync}}),
        ]);
        place
    }

    /// Writes gitops.yaml and commits.
    fn applications(&self, applications: &[Value]) {
        let documents: Vec<String> = applications
            .iter()
            .map(|application| {
                let mut application = application.clone();
                application["apiVersion"] = "kubectl-gitops.dev/v1alpha1".into();
                application["kind"] = "Application".into();
                application["metadata"]["namespace"] = self.namespace.name.clone().into();
                application.to_string()
            })
            .collect();
        self.repo.commit("describe", &[("gitops.yaml", &documents.join("\n---\n"))]);
    }

    fn commit(&self, files: &[(&str, String)]) {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        self.repo.commit("change", &files);
    }

    fn gitops(&self, arguments: &str) -> Ran {
        cluster().gitops(self.repo.path(), arguments)
    }

    fn kubectl(&self, arguments: &str) -> Ran {
        cluster().kubectl(&format!("--namespace {} {arguments}", self.namespace.name))
    }

    fn get(&self, arguments: &str) -> Option<Value> {
        let ran = self.kubectl(&format!("get {arguments} -o json"));
        (ran.code == 0).then(|| ran.json())
    }

    fn has(&self, object: &str) -> bool {
        self.get(object).is_some()
    }

    fn uid(&self, object: &str) -> String {
        self.get(object).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
    }
}

fn object(kind: &str, name: &str, annotations: &Value, rest: &Value) -> String {
    let api = match kind {
        "Job" => "batch/v1",
        "Deployment" => "apps/v1",
        _ => "v1",
    };
    let mut object =
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "annotations": annotations}});
    for (field, value) in rest.as_object().unwrap() {
        object[field] = value.clone();
    }
    object.to_string()
}

fn config(name: &str, annotations: &Value) -> String {
    object("ConfigMap", name, annotations, &json!({"data": {"a": "1"}}))
}

/// A Job that ends well on this node, or, without one, fails after a second.
fn job(name: &str, annotations: &Value, node: Option<&FakeNode>) -> String {
    let mut pod = node.map_or_else(|| json!({"nodeSelector": {"none": "such"}}), FakeNode::placement);
    pod["restartPolicy"] = "Never".into();
    pod["containers"] = json!([{"name": "run", "image": "run:1"}]);
    let mut spec = json!({"template": {"spec": pod}, "backoffLimit": 0});
    if node.is_none() {
        spec["activeDeadlineSeconds"] = 1.into();
    }
    object("Job", name, annotations, &json!({"spec": spec}))
}

fn wave(number: i32) -> Value {
    json!({"argocd.argoproj.io/sync-wave": number.to_string()})
}

fn hook(phase: &str) -> Value {
    json!({"argocd.argoproj.io/hook": phase})
}

#[test]
fn phases_and_waves_follow_each_other_and_wait_for_health() {
    let node = FakeNode::start(cluster(), &format!("waves-{}", std::process::id()));
    let mut web: Value = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": node.placement()}});
    web["template"]["spec"]["containers"] = json!([{"name": "web", "image": "web:1"}]);
    let place = Place::new(&[
        ("app/a.yaml", job("before", &hook("PreSync"), Some(&node))),
        ("app/b.yaml", object("Deployment", "web", &wave(-1), &json!({"spec": web}))),
        ("app/c.yaml", config("after-web", &wave(2))),
        (
            "app/d.yaml",
            job(
                "after",
                &json!({"helm.sh/hook": "post-install,post-upgrade", "helm.sh/hook-delete-policy": "hook-succeeded"}),
                Some(&node),
            ),
        ),
        ("app/e.yaml", config("skipped", &hook("Skip"))),
        ("app/f.yaml", config("failing", &hook("SyncFail"))),
    ]);
    place.gitops("diff -o name").code(1);
    let first = place.gitops("sync --timeout 60s -o json").ok().json();
    let done: Vec<String> = first["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| format!("{} {}", o["hook"].as_str().unwrap_or("-"), o["object"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(done, ["PreSync before", "- web", "- after-web", "PostSync after"]);
    assert_eq!((&first["counts"]["create"], &first["counts"]["hooks"]), (&json!(2), &json!(2)));
    let ready = place.get("deployment web").unwrap()["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "Available")
        .unwrap()["lastTransitionTime"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = place.get("configmap after-web").unwrap()["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(ready <= made, "{ready} {made}");
    assert!(
        place.has("job before")
            && !place.has("job after")
            && !place.has("configmap skipped")
            && !place.has("configmap failing")
    );
    // Hooks are no drift, and are not run again for nothing.
    place.gitops("diff").ok();
    place.gitops("status").ok();
    let (before, again) = (place.uid("job before"), place.gitops("sync -o json").ok().json());
    assert_eq!((again["counts"]["hooks"].clone(), place.uid("job before")), (Value::Null, before.clone()));
    place.gitops("sync --hooks=always --timeout 60s").ok();
    assert_ne!(place.uid("job before"), before, "it is made anew");
    // One that left Git is not pruned either.
    place.repo.remove("no hook", &["app/a.yaml"]);
    place.gitops("sync --prune --timeout 60s").ok();
    assert!(place.has("job before"));
}

#[test]
fn a_failed_hook_ends_the_sync_and_runs_those_for_failure() {
    let place = Place::new(&[
        ("app/a.yaml", job("before", &hook("PreSync"), None)),
        ("app/b.yaml", config("web", &json!({}))),
        ("app/c.yaml", config("failed", &hook("SyncFail"))),
    ]);
    let ran = place.gitops("sync --timeout 60s").code(1);
    assert!(
        ran.stdout.contains("failed PreSync hook Job") && ran.stdout.contains("deadline"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("before failed") && ran.stdout.contains("ran SyncFail hook ConfigMap"),
        "{}",
        ran.stdout
    );
    assert!(!place.has("configmap web") && place.has("configmap failed"));
    place.commit(&[("app/a.yaml", job("before", &hook("PostSync"), None))]);
    place.gitops("sync --timeout 60s").code(7);
    assert!(place.has("configmap web"));
    // It has not ended well, so it is run again.
    place.gitops("sync --timeout 60s").code(1);
}

#[test]
fn a_wave_that_does_not_get_healthy_holds_up_the_next() {
    let place =
        Place::new(&[("app/a.yaml", DEPLOYMENT.to_owned()), ("app/b.yaml", config("late", &wave(1)))]);
    let ran = place.gitops("sync --timeout 2s").code(8);
    assert!(
        ran.stdout.contains("wave 1 waits for Deployment") && ran.stdout.contains("Progressing"),
        "{}",
        ran.stdout
    );
    assert!(!place.has("configmap late"));
}

#[test]
fn generated_names_are_for_hooks_and_each_run_has_one() {
    let generated = |kind: &str, annotations: &Value| {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"generateName": "run-", "annotations": annotations}, "data": {"a": "1"}}).to_string()
    };
    let place = Place::new(&[
        ("app/a.yaml", config("web", &json!({}))),
        ("app/b.yaml", generated("ConfigMap", &hook("PostSync"))),
    ]);
    place.gitops("sync").ok();
    std::thread::sleep(Duration::from_millis(1100));
    place.gitops("sync --hooks=always --prune").ok();
    let names = place.kubectl("get configmap -o name").stdout;
    assert_eq!(names.matches("/run-").count(), 2, "{names}");
    place.gitops("diff").ok();
    place.commit(&[("app/b.yaml", generated("ConfigMap", &json!({})))]);
    assert!(place.gitops("sync").code(4).stderr.contains("that is no hook needs a name"));
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let place = Place::new(&[(
        "app/a.yaml",
        config("web", &json!({"argocd.argoproj.io/sync-options": "Prume=false"})),
    )]);
    let ran = place.gitops("sync").code(4);
    assert!(
        ran.stderr.contains("app/a.yaml:1") && ran.stderr.contains("sync option Prume is unknown"),
        "{}",
        ran.stderr
    );
    let place =
        Place::with(&[("app/a.yaml", config("web", &json!({})))], &json!({"options": ["Sorcery=true"]}));
    let ran = place.gitops("sync").code(2);
    assert!(ran.stderr.contains("spec.sync.options: sync option Sorcery is unknown"), "{}", ran.stderr);
}

#[test]
fn what_asks_to_be_kept_is_kept_and_budgets_hold() {
    let names = ["a", "b", "c", "d"];
    let mut files: Vec<(String, String)> =
        names.iter().map(|name| (format!("app/{name}.yaml"), config(name, &json!({})))).collect();
    files.push((
        "app/kept.yaml".into(),
        config("kept", &json!({"argocd.argoproj.io/sync-options": "Prune=false"})),
    ));
    files.push((
        "app/asks.yaml".into(),
        config("asks", &json!({"argocd.argoproj.io/sync-options": "Prune=confirm"})),
    ));
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    let place = Place::new(&files);
    place.gitops("sync").ok();
    place.repo.remove("less", &["app/a.yaml", "app/kept.yaml"]);
    let ran = place.gitops("sync --prune").ok();
    assert!(
        ran.stdout.contains("Prune=false") && place.has("configmap kept") && !place.has("configmap a"),
        "{}",
        ran.stdout
    );
    place.repo.remove("one that asks", &["app/asks.yaml"]);
    let ran = place.gitops("sync --prune").code(6);
    assert!(ran.stderr.contains("Prune=confirm") && ran.stderr.contains("--confirm-prune"), "{}", ran.stderr);
    place.gitops("sync --prune --confirm-prune").ok();
    place.repo.remove("too many", &["app/b.yaml", "app/c.yaml"]);
    let ran = place.gitops("sync --prune").code(6);
    assert!(
        ran.stderr.contains("2 of 4 objects would be pruned; the budget is 20 and 30%"),
        "{}",
        ran.stderr
    );
    assert!(place.has("configmap b") && place.has("configmap c"));
    place.gitops("sync --prune --confirm-prune").ok();
    assert!(!place.has("configmap b") && place.has("configmap d"));
    place.repo.remove("all", &["app/d.yaml"]);
    place.commit(&[("app/readme.md", String::new())]);
    let ran = place.gitops("sync --prune --confirm-prune").code(6);
    assert!(
        ran.stderr.contains("Git declares nothing") && ran.stderr.contains("--allow-empty"),
        "{}",
        ran.stderr
    );
    assert!(place.has("configmap d"));
    place.gitops("sync --prune --allow-empty").ok();
    assert!(!place.has("configmap d") && place.has("configmap kept"));
}

#[test]
fn objects_move_between_applications_and_shared_ones_are_told() {
    let place = Place::new(&[
        ("one/a.yaml", config("moves", &json!({}))),
        ("two/b.yaml", config("other", &json!({}))),
    ]);
    let application = |name: &str, path: &str, options: Value| json!({"metadata": {"name": name}, "spec": {"source": {"path": path}, "sync": {"prune": true, "options": options}}});
    place.applications(&[application("one", "one", json!([])), application("two", "two", json!([]))]);
    place.gitops("sync").ok();
    let uid = place.uid("configmap moves");
    place.repo.git(&["mv", "one/a.yaml", "two/a.yaml"]);
    place.commit(&[("one/c.yaml", config("stays", &json!({})))]);
    let ran = place.gitops("sync").ok();
    assert!(ran.stdout.contains("it moves to Application"), "{}", ran.stdout);
    let owner = || {
        place.get("configmap moves").unwrap()["metadata"]["annotations"]["kubectl-gitops.dev/owner"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (owner(), place.uid("configmap moves")),
        (format!("{}/two", place.namespace.name), uid.clone())
    );
    // A new name: the objects stay and change hands.
    place.applications(&[application("one", "one", json!([])), application("zwei", "two", json!([]))]);
    place.gitops("sync").ok();
    assert_eq!((owner(), place.uid("configmap moves")), (format!("{}/zwei", place.namespace.name), uid));
    // What two declare stays with the one that has it.
    place.commit(&[("one/a.yaml", config("moves", &json!({})))]);
    let ran = place.gitops("sync one").code(6);
    assert!(
        ran.stdout.contains("failed ConfigMap") && ran.stdout.contains("/zwei owns it"),
        "{}",
        ran.stdout
    );
    place.applications(&[
        application("one", "one", json!(["FailOnSharedResource=true"])),
        application("zwei", "two", json!([])),
    ]);
    assert!(place.gitops("sync one").code(6).stderr.contains("nothing was applied"));
}

#[test]
fn fields_of_tools_are_taken_and_those_of_controllers_are_told() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": place.namespace.name}, "data": {"a": "0"}}).to_string();
    // Made by hand before: taken over, and kubectl lets go.
    cluster().kubectl_stdin("apply -f -", &text).ok();
    let ran = place.gitops("sync").ok();
    assert!(ran.stdout.contains("data.a taken from kubectl-client-side-apply"), "{}", ran.stdout);
    let fields = || {
        place.kubectl("get configmap web -o json --show-managed-fields").json()["metadata"]["managedFields"]
            .clone()
    };
    let held = fields().as_array().unwrap().iter().any(|entry| {
        entry["manager"] == "kubectl-client-side-apply" && entry["fieldsV1"].get("f:data").is_some()
    });
    assert!(!held, "{}", fields());
    place.gitops("diff").ok();
    let operator = |value: &str| {
        let text = text.replace("\"a\":\"0\"", &format!("\"a\":\"{value}\""));
        cluster()
            .kubectl_stdin("apply --server-side --force-conflicts --field-manager=my-operator -f -", &text)
            .ok();
    };
    operator("9");
    let ran = place.gitops("sync").code(6);
    assert!(
        ran.stdout.contains("data.a is set by my-operator") && ran.stdout.contains("--conflicts"),
        "{}",
        ran.stdout
    );
    let ran = place.gitops("sync --conflicts=keep").ok();
    assert!(ran.stdout.contains("data.a left to my-operator"), "{}", ran.stdout);
    assert_eq!(place.get("configmap web").unwrap()["data"]["a"], "9");
    let ran = place.gitops("sync --conflicts=take").ok();
    assert!(ran.stdout.contains("data.a taken from my-operator"), "{}", ran.stdout);
    place.gitops("diff").ok();
}

#[test]
fn what_cannot_be_changed_is_told_and_made_anew_only_where_allowed() {
    let service = |ip: &str, annotations: &Value| {
        object("ConfigMap", "fixed", annotations, &json!({"data": {"a": ip}, "immutable": true}))
    };
    let claim = |size: &str, mode: &str| {
        object(
            "PersistentVolumeClaim",
            "disk",
            &json!({"argocd.argoproj.io/sync-options": "Force=true"}),
            &json!({"spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}}}),
        )
    };
    let place = Place::new(&[
        ("app/a.yaml", service("1", &json!({}))),
        ("app/b.yaml", claim("1Gi", "ReadWriteOnce")),
    ]);
    place.gitops("sync").ok();
    let uid = place.uid("configmap fixed");
    place.commit(&[("app/a.yaml", service("2", &json!({})))]);
    let ran = place.gitops("sync").code(3);
    assert!(
        ran.stdout.contains("data.a cannot be changed: it is \"1\", Git says \"2\"")
            && ran.stdout.contains("--replace"),
        "{}",
        ran.stdout
    );
    assert_eq!(place.uid("configmap fixed"), uid);
    place.gitops("sync --replace --dry-run=server").ok();
    let ran = place.gitops("sync --replace").ok();
    assert!(ran.stdout.contains("made anew") && place.uid("configmap fixed") != uid, "{}", ran.stdout);
    let uid = place.uid("configmap fixed");
    place.commit(&[(
        "app/a.yaml",
        service("3", &json!({"argocd.argoproj.io/sync-options": "Replace=true,Force=true"})),
    )]);
    place.gitops("sync").ok();
    assert_ne!(place.uid("configmap fixed"), uid);
    // A claim's data goes with it, whatever its annotations say.
    let uid = place.uid("pvc disk");
    place.commit(&[("app/b.yaml", claim("1Gi", "ReadWriteMany"))]);
    place.gitops("sync --replace").code(3);
    assert_eq!(place.uid("pvc disk"), uid);
    place.gitops("sync --replace --force").ok();
    assert_ne!(place.uid("pvc disk"), uid);
}

#[test]
fn a_part_can_be_synced_by_kind_name_and_label() {
    let labelled = |name: &str, label: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"tier": label}}}).to_string()
    };
    let place = Place::new(&[
        ("app/a.yaml", labelled("a", "front")),
        ("app/b.yaml", labelled("b", "back")),
        ("app/s.yaml", object("Secret", "s", &json!({}), &json!({"data": {}}))),
        ("app/h.yaml", config("hook", &hook("PreSync"))),
    ]);
    place.gitops("sync --kind secret").ok();
    assert!(place.has("secret s") && !place.has("configmap a") && !place.has("configmap hook"));
    place.gitops("sync -l tier=back").ok();
    assert!(place.has("configmap b") && !place.has("configmap a"));
    assert!(place.gitops("sync -l tier=(").code(2).stderr.contains("is no label selector"));
    let ran = place.gitops("sync --name a --out-of-sync -o json").ok().json();
    assert_eq!(ran["objects"].as_array().unwrap().len(), 1);
    place.gitops("diff").ok();
}

#[test]
fn a_dry_run_reaches_into_a_namespace_that_is_not_there() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    let nowhere = format!("{}-new", place.namespace.name);
    let application = json!({"metadata": {"name": "web"}, "spec": {"source": {"path": "app"}, "destination": {"namespace": nowhere}, "sync": {"options": ["CreateNamespace=true"]}}});
    place.applications(&[application]);
    let ran = place.gitops("sync --dry-run=server").ok();
    assert!(ran.stdout.contains("its namespace is not there yet: its fields are right"), "{}", ran.stdout);
    place.commit(&[("app/b.yaml", DEPLOYMENT.replace("replicas: 2", "replicas: -2"))]);
    assert!(place.gitops("sync --dry-run=server").code(3).stdout.contains("spec.replicas"));
    place.commit(&[("app/b.yaml", config("other", &json!({})))]);
    place.gitops("sync").ok();
    cluster().kubectl(&format!("delete namespace {nowhere} --wait=false")).ok();
}

#[test]
fn applications_are_synced_after_those_they_depend_on() {
    let place = Place::new(&[("one/a.yaml", config("a", &json!({}))), ("two/b.yaml", DEPLOYMENT.to_owned())]);
    let application = |name: &str, path: &str, on: &[&str]| {
        let on: Vec<Value> = on.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": name}, "spec": {"source": {"path": path}, "dependsOn": on}})
    };
    place.applications(&[application("web", "one", &["base"]), application("base", "two", &[])]);
    let ran = place.gitops("sync --timeout 2s").code(8);
    assert!(
        ran.stderr.contains("Application") && ran.stderr.contains("which was not synced and healthy"),
        "{}",
        ran.stderr
    );
    assert!(place.has("deployment web") && !place.has("configmap a"));
    let ran = place.gitops("sync web --timeout 2s").code(1);
    assert!(ran.stderr.contains("it depends on") && ran.stderr.contains("Deployment"), "{}", ran.stderr);
    place.applications(&[application("web", "one", &["base"]), application("base", "two", &["web"])]);
    let ran = place.gitops("sync").code(2);
    assert!(ran.stderr.contains("depend on each other"), "{}", ran.stderr);
    place.applications(&[application("web", "one", &["nothing"])]);
    assert!(place.gitops("sync").code(2).stderr.contains("nothing"));
}

#[test]
fn two_syncs_do_not_mix() {
    let place =
        Place::new(&[("app/a.yaml", DEPLOYMENT.to_owned()), ("app/b.yaml", config("late", &wave(1)))]);
    let mut first = cluster().command("kubectl");
    first.args(["gitops", "sync", "--timeout", "20s"]).current_dir(place.repo.path());
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the first has begun", Duration::from_secs(20), || place.has("deployment web").then_some(()));
    let ran = place.gitops("sync").code(6);
    assert!(ran.stderr.contains("is being synced by") && ran.stderr.contains("process"), "{}", ran.stderr);
    assert_eq!(first.wait().unwrap().code(), Some(8));
    let lease = place.get("lease gitops-sync-web").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], Value::Null, "it is given back");
}

#[test]
fn without_a_lease_it_says_so_and_goes_on() {
    let place = Place::new(&[("app/a.yaml", config("web", &json!({})))]);
    place.kubectl("create role writer --verb=get,list,create,patch --resource=configmaps").ok();
    place.kubectl("create rolebinding writer --role=writer --user=writer").ok();
    cluster()
        .kubectl_args(&[
            "create",
            "clusterrole",
            &place.namespace.name,
            "--verb=get",
            "--resource=namespaces",
        ])
        .ok();
    cluster()
        .kubectl_args(&[
            "create",
            "clusterrolebinding",
            &place.namespace.name,
            &format!("--clusterrole={}", place.namespace.name),
            "--user=writer",
        ])
        .ok();
    let ran = place.gitops("sync --as writer").ok();
    cluster().kubectl(&format!("delete clusterrole,clusterrolebinding {}", place.namespace.name)).ok();
    assert!(ran.stderr.contains("without a Lease") && ran.stderr.contains("forbidden"), "{}", ran.stderr);
    assert!(place.has("configmap web"));
}

/// The webhook lets go what a hook's delete policy lets go, and nothing else.
#[test]
fn hooks_are_run_under_full_enforcement() {
    let hooked = json!({"argocd.argoproj.io/hook": "PreSync"});
    let helm = json!({"helm.sh/hook": "post-install", "helm.sh/hook-delete-policy": "hook-succeeded"});
    let generated = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-", "annotations": hooked}});
    let shop = Shop::with(&[
        ("app/config.yaml", CONFIG),
        ("app/a.yaml", &config("before", &hooked)),
        ("app/b.yaml", &config("after", &helm)),
        ("app/c.yaml", &generated.to_string()),
    ]);
    assert_ne!(shop.kubectl("get configmap after").code, 0);
    let uid = || shop.kubectl("get configmap before -o jsonpath={.metadata.uid}").ok().stdout;
    let first = uid();
    shop.repo.commit("change", &[("app/config.yaml", &CONFIG.replace("hello", "moin"))]);
    shop.sync().ok();
    assert_ne!(uid(), first);
    let names = shop.kubectl("get configmap -o name").stdout;
    assert_eq!(names.matches("/run-").count(), 2, "{names}");
    shop.kubectl("delete configmap web").refused(&["web"]);
}

/// What a small sync writes: a hook, a change, a wave, a prune.
fn turn(place: &Place, number: usize) {
    if number > 0 {
        std::fs::remove_file(place.repo.file(&format!("app/n{}.yaml", number - 1))).unwrap();
    }
    let text = object("ConfigMap", "web", &json!({}), &json!({"data": {"a": number.to_string()}}));
    let hooked = json!({"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": "HookSucceeded"});
    place.commit(&[
        ("app/a.yaml", text),
        ("app/h.yaml", config("hooked", &hooked)),
        (&format!("app/n{number}.yaml"), config(&format!("n{number}"), &wave(1))),
    ]);
}

fn converges(place: &Place, number: usize, case: &str) {
    let again = place.gitops("sync --prune -o json");
    assert_eq!(again.code, 0, "{case}: {}{}", again.stdout, again.stderr);
    let list = place.kubectl("get configmap -o json").json();
    let held: Vec<(&str, &str)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (item["metadata"]["name"].as_str().unwrap(), item["data"]["a"].as_str().unwrap_or_default())
        })
        .filter(|(name, _)| *name != "kube-root-ca.crt")
        .collect();
    let (last, value) = (format!("n{number}"), number.to_string());
    assert_eq!(held, [(last.as_str(), "1"), ("web", value.as_str())], "{case}");
    assert_eq!(place.gitops("diff").code, 0, "{case}");
}

fn every_request_meets(faults: &[Fault]) {
    let place = Place::new(&[]);
    turn(&place, 0);
    let proxy = FaultyProxy::start(cluster());
    let broken = proxy.cluster();
    let sync = |cluster: &TestCluster| {
        cluster.gitops(place.repo.path(), "sync --prune -o json --request-timeout 1s")
    };
    sync(&broken).ok();
    turn(&place, 1);
    proxy.disarm();
    sync(&broken).ok();
    let requests = proxy.requests();
    assert!((10..60).contains(&requests), "{requests} requests");
    let mut number = 1;
    for fault in faults {
        for request in 1..=requests {
            number += 1;
            turn(&place, number);
            proxy.arm(request, *fault);
            let ran = sync(&broken);
            let case = format!("{fault:?} at request {request} of {requests}");
            assert!([0, 1, 3, 5, 6, 7, 8].contains(&ran.code), "{case}: {}{}", ran.stdout, ran.stderr);
            // Either it says what it did, or why it could not begin.
            assert!(ran.stdout.contains("\"counts\"") || ran.stderr.contains("error:"), "{case}");
            proxy.disarm();
            converges(&place, number, &case);
        }
    }
}

#[test]
fn a_connection_cut_anywhere_is_mended_by_the_next_sync() {
    every_request_meets(&[Fault::CutBefore, Fault::CutAfter]);
}

#[test]
fn an_api_server_that_fails_anywhere_is_mended_by_the_next_sync() {
    every_request_meets(&[Fault::Status(429), Fault::Status(500)]);
}

#[test]
fn expired_tokens_and_late_answers_are_mended_by_the_next_sync() {
    every_request_meets(&[Fault::Status(401), Fault::Delay(Duration::from_millis(1300))]);
}

#[test]
fn a_killed_sync_is_mended_by_the_next() {
    let place = Place::new(&[]);
    turn(&place, 0);
    let proxy = FaultyProxy::start(cluster());
    let broken = proxy.cluster();
    broken.gitops(place.repo.path(), "sync --prune").ok();
    for (number, request) in [(1, 14), (2, 20)] {
        turn(&place, number);
        proxy.arm(request, Fault::Hang);
        let mut sync = std::process::Command::new(gitops_tests::binary("kubectl-gitops"));
        sync.args(["sync", "--prune", "--kubeconfig"])
            .arg(broken.kubeconfig())
            .current_dir(place.repo.path());
        let mut sync = sync.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while proxy.requests() < request && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        sync.kill().unwrap();
        sync.wait().unwrap();
        proxy.disarm();
        converges(&place, number, &format!("killed at request {request}"));
    }
}
