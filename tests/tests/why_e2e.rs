//! `kubectl gitops why` through the real kubectl: offline on files, and on the
//! real API server.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::cluster::{eventually, ran};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Place, Ran, cluster};
use serde_json::{Value, json};

/// Runs `kubectl gitops why` on files in a folder, without any cluster.
fn offline(files: &[(&str, &str)], arguments: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let plugin = gitops_tests::binary("kubectl-gitops");
    let path = format!("{}:{}", plugin.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = std::process::Command::new("kubectl");
    command.args(["gitops", "why"]).args(arguments.split_whitespace()).current_dir(folder.path());
    command.env("PATH", path).env("HOME", folder.path()).env("KUBECONFIG", "/dev/null").env("NO_COLOR", "1");
    ran(&mut command, None)
}

fn tried() -> String {
    DEPLOYMENT
        .replace("replicas: 2", "replicas: 5")
        .replace("    spec:\n      containers:", "    spec:\n      hostNetwork: true\n      containers:")
        .replace("image: web:1", "image: web:2")
}

#[test]
fn a_write_on_files_is_judged_without_a_cluster() {
    let files = [("want.yaml", DEPLOYMENT), ("live.yaml", DEPLOYMENT), ("tried.yaml", &tried())];
    let told = offline(&files, "--want want.yaml --old live.yaml --new tried.yaml -n shop").code(1);
    insta::assert_snapshot!(told.stdout, @"
    Deployment shop/web: UPDATE: denied by rule toward-git
      field:  spec.template.spec.hostNetwork
        git:   (not declared)  (want.yaml:13)
        tried: true
      field:  spec.template.spec.containers[name=web].image
        git:   web:1  (want.yaml:16)
        tried: web:2
      field:  spec.replicas
        git:   2  (want.yaml:7)
        tried: 5
      source: want.yaml:1
      not asked: earlier commits that the object may still be at; whether an Override is in force
      hint:   change want.yaml:13
    ");
    offline(&files, "--want want.yaml --new live.yaml").ok();
    offline(&files, "--want want.yaml --old tried.yaml --new live.yaml").ok();
}

#[test]
fn json_has_the_fixed_shape() {
    let files = [("want.yaml", DEPLOYMENT), ("tried.yaml", &tried())];
    let told = offline(&files, "--want want.yaml --old want.yaml --new tried.yaml -o json").code(1);
    insta::assert_snapshot!(serde_json::to_string_pretty(&told.json()).unwrap(), @r#"
    {
      "apiVersion": "output.kubectl-gitops.dev/v1alpha1",
      "differences": [
        {
          "file": "want.yaml",
          "line": 13,
          "op": "add",
          "path": "spec.template.spec.hostNetwork",
          "tried": true
        },
        {
          "file": "want.yaml",
          "git": "web:1",
          "line": 16,
          "op": "change",
          "path": "spec.template.spec.containers[name=web].image",
          "tried": "web:2"
        },
        {
          "file": "want.yaml",
          "git": 2,
          "line": 7,
          "op": "change",
          "path": "spec.replicas",
          "tried": 5
        }
      ],
      "hint": "change want.yaml:13",
      "kind": "Verdict",
      "notAsked": [
        "earlier commits that the object may still be at",
        "whether an Override is in force"
      ],
      "object": {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "default"
      },
      "omitted": 0,
      "rule": "toward-git",
      "verdict": "deny"
    }
    "#);
    let yaml = offline(&files, "--want want.yaml --old want.yaml --new tried.yaml -o yaml").code(1);
    assert!(yaml.stdout.contains("verdict: deny"), "{}", yaml.stdout);
}

#[test]
fn what_is_left_out_says_what_the_write_does() {
    let files = [("want.yaml", DEPLOYMENT), ("other.yaml", CONFIG)];
    let rule = |arguments: &str, code: i32| {
        offline(&files, &format!("{arguments} -o json")).code(code).json()["rule"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(rule("--want want.yaml --old want.yaml", 1), "delete-declared");
    assert_eq!(rule("--want want.yaml --new other.yaml", 0), "");
    assert_eq!(rule("--want want.yaml --new other.yaml --untracked deny", 1), "untracked");
    assert_eq!(rule("--want want.yaml --new other.yaml --untracked warn", 0), "untracked");
    assert_eq!(rule("--want want.yaml --old want.yaml --mode warn", 0), "delete-declared");
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 7}});
    let files = [("want.yaml", DEPLOYMENT), ("scale.json", &scale.to_string())];
    let told =
        offline(&files, "--want want.yaml --old want.yaml --new scale.json --subresource scale -o json");
    assert_eq!(told.code(1).json()["rule"], "scale");
}

#[test]
fn an_autoscaler_beside_leaves_the_replicas_between_its_bounds() {
    let unscaled = DEPLOYMENT.replace("  replicas: 2\n", "");
    let autoscaler = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 2\n  maxReplicas: 4\n";
    for (replicas, code) in [(3, 0), (9, 1)] {
        let tried = DEPLOYMENT.replace("replicas: 2", &format!("replicas: {replicas}"));
        let want = format!("{unscaled}{autoscaler}");
        let files = [("want.yaml", want.as_str()), ("old.yaml", &unscaled), ("tried.yaml", &tried)];
        offline(&files, "--want want.yaml --old old.yaml --new tried.yaml").code(code);
    }
}

#[test]
fn policies_come_from_applications_and_projects() {
    let delegate = "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {name: web, namespace: shop}\nspec:\n  source: {path: app}\n  enforcement: {delegate: [{group: apps, kind: Deployment, name: web, path: spec.replicas, min: 1, max: 9}]}\n";
    let unscaled = DEPLOYMENT.replace("  replicas: 2\n", "");
    let files = [
        ("want.yaml", unscaled.as_str()),
        ("tried.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 20")),
        ("policy.yaml", delegate),
    ];
    let told =
        offline(&files, "--want want.yaml --old want.yaml --new tried.yaml --policy policy.yaml -o json")
            .code(1);
    let told = told.json();
    assert_eq!(told["application"], "shop/web", "{told}");
    assert_eq!(told["differences"][0]["git"], "1 to 9, set by enforcement.delegate", "{told}");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2, other: hunter3}\n";
    let files = [
        ("want.yaml", secret),
        ("tried.yaml", &secret.replace("hunter2", "hunter4").replace("other", "another")),
    ];
    for format in ["text", "wide", "json", "yaml", "jsonl"] {
        let told = offline(&files, &format!("--want want.yaml --old want.yaml --new tried.yaml -o {format}"))
            .code(1);
        assert!(told.stdout.contains("data.password") && told.stdout.contains("***"), "{}", told.stdout);
        for value in ["hunter", "aHVudGVy"] {
            assert!(
                !told.stdout.contains(value) && !told.stderr.contains(value),
                "{}{}",
                told.stdout,
                told.stderr
            );
        }
    }
}

#[test]
fn custom_kinds_are_read_from_openapi() {
    let document = json!({"components": {"schemas": {"io.ex.v1.Db": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "ex.io", "version": "v1", "kind": "Db"}],
        "properties": {"spec": {"type": "object", "properties": {"users": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}}}}}}}});
    let db = |users: &str| {
        format!("apiVersion: ex.io/v1\nkind: Db\nmetadata: {{name: d}}\nspec: {{users: {users}}}\n")
    };
    let (want, tried) = (db("[a, b]"), db("[b, a]"));
    let files = [
        ("want.yaml", want.as_str()),
        ("tried.yaml", tried.as_str()),
        ("openapi/ex.json", &document.to_string()),
    ];
    offline(&files, "--want want.yaml --new tried.yaml --openapi openapi").ok();
    let told = offline(&files, "--want want.yaml --new tried.yaml").code(1);
    assert!(told.stdout.contains("give --openapi"), "{}", told.stdout);
}

#[test]
fn mistakes_are_named_with_the_way_out() {
    let files = [("want.yaml", DEPLOYMENT), ("broken.yaml", "a: [")];
    for (arguments, part) in [
        ("--want want.yaml", "neither --old nor --new"),
        ("--want want.yaml --new broken.yaml", "broken.yaml"),
        ("--want absent.yaml --new want.yaml", "absent.yaml"),
        ("--want want.yaml --new want.yaml --operation update", "it needs both --old and --new"),
        ("--want want.yaml --new want.yaml --openapi absent", "absent"),
        ("", "required"),
    ] {
        let told = offline(&files, arguments).code(2);
        assert!(told.stderr.contains(part), "{arguments}: {}", told.stderr);
    }
    offline(&files, "deployment/web").code(5);
}

/// A Deployment and a ConfigMap, as Git says.
fn synced() -> Place {
    let place = Place::new(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    place.gitops("sync").ok();
    place
}

fn why(place: &Place, arguments: &str) -> Ran {
    place.gitops(&format!("why --namespace {} {arguments}", place.namespace.name))
}

#[test]
fn a_live_object_is_as_git_says_or_names_who_changed_it() {
    let place = synced();
    for name in ["deployment/web", "deploy/web", "deployments.apps/web", "deployments.v1.apps/web"] {
        assert!(why(&place, name).ok().stdout.contains("it is as Git says"));
    }
    place.kubectl("scale deployment web --replicas=5").ok();
    let told = why(&place, "deploy/web").code(1).stdout;
    for part in [
        "spec.replicas",
        "git:   2  (app/web.yaml:7)",
        "tried: 5  (written by kubectl",
        "kubectl gitops sync",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = why(&place, "deploy/web -o json").code(1).json();
    assert_eq!(
        (&told["verdict"], &told["rule"], &told["differences"][0]["line"]),
        (&json!("deny"), &json!("toward-git"), &json!(7)),
        "{told}"
    );
    assert_eq!(told["revision"], place.repo.head());
}

#[test]
fn an_object_that_nobody_declares_is_told_with_its_maker() {
    let place = synced();
    let told = why(&place, "configmap/kube-root-ca.crt").ok().stdout;
    assert!(told.contains("no Application that was asked declares it"), "{told}");
    let sets = eventually("a ReplicaSet", Duration::from_secs(20), || {
        let name = place.kubectl("get replicasets -o jsonpath={.items[0].metadata.name}").stdout;
        (!name.is_empty()).then_some(name)
    });
    let told = why(&place, &format!("rs/{sets}")).ok().stdout;
    assert!(told.contains("Deployment web made it") && told.contains("why deployment/web"), "{told}");
    let told = why(&place, "widget/x").code(2).stderr;
    assert!(told.contains("no kind \"widget\""), "{told}");
    let told = why(&place, "configmap/absent").code(3).stderr;
    assert!(told.contains("absent"), "{told}");
    place.kubectl("delete configmap web").ok();
    assert!(why(&place, "cm/web").code(3).stderr.contains("app/config.yaml:1"));
}

#[test]
fn a_file_is_judged_as_the_api_server_would_write_it() {
    let place = synced();
    let file = |text: &str| {
        let path = place.repo.file("tried.yaml");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // Git's own manifest, and one that spells it otherwise.
    why(&place, &file(DEPLOYMENT)).ok();
    why(
        &place,
        &file(&DEPLOYMENT.replace("image: web:1", "image: web:1\n          imagePullPolicy: IfNotPresent")),
    )
    .ok();
    let told = why(&place, &file(&tried())).code(1).stdout;
    assert!(told.contains("UPDATE: denied by rule toward-git") && told.contains("hostNetwork"), "{told}");
    let told = why(&place, &file(&format!("{CONFIG}---\n{}", CONFIG.replace("name: web", "name: other"))))
        .ok()
        .stdout;
    assert!(told.contains("takes objects that nobody declares"), "{told}");
    // Nothing was written.
    assert!(place.gitops("diff").ok().stdout.is_empty());
    assert!(!place.kubectl("get configmap other").stderr.is_empty());
    let input = tried();
    let mut command = cluster().command("kubectl");
    command.args(["gitops", "why", "-", "-o", "json"]).current_dir(place.repo.path());
    let told: Value = ran(&mut command, Some(&input)).code(1).json();
    assert_eq!(told["object"]["namespace"], place.namespace.name);
}
