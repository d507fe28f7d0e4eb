//! What Git keeps encrypted, in kinds other than Secret: nobody finds it in a
//! copy, on a disk, in a log or in a message, and it is held all the same.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::CONFIG;
use gitops_tests::{Replica, Shop};
use serde_json::{Value, json};

use super::{LIMIT, Stage, cluster};

/// What `tests/data/sops/values.yaml` says of `password`.
const PASSWORD: &str = "hunter2";

const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: hiddens.time.test}
spec:
  group: time.test
  scope: Namespaced
  names: {kind: Hidden, plural: hiddens, singular: hidden}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
";

const OBJECTS: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: web:1
          args: ["--url=db:{{ .Values.password }}@db"]
          env: [{name: PASSWORD, value: {{ .Values.password | quote }}}]
---
apiVersion: time.test/v1
kind: Hidden
metadata: {name: db}
spec:
  packed: {{ .Values.password | b64enc | quote }}
  login: [{user: ada, password: {{ .Values.password | quote }}, port: {{ .Values.port }}}]
"#;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sops");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn has_nothing(what: &str, text: &str) {
    for hidden in [PASSWORD, &STANDARD.encode(PASSWORD), "saltedSha256"] {
        assert!(!text.contains(hidden), "{what} holds {hidden}: {text}");
    }
}

fn tells_nothing(ran: Ran) -> Ran {
    has_nothing("what is printed", &ran.stdout);
    has_nothing("what is told", &ran.stderr);
    ran
}

/// The Application's copy in the cluster, unpacked.
fn copy(shop: &Shop) -> Option<String> {
    let list = cluster().kubectl("get secrets --namespace gitops-system -o json").ok().json();
    let note = |secret: &Value, name: &str| secret["metadata"]["annotations"][name].clone();
    let secret = list["items"].as_array()?.iter().find(|secret| {
        note(secret, "kubectl-gitops.dev/copy-of") == format!("{}/web", shop.name())
            && note(secret, "kubectl-gitops.dev/copy-revision") == shop.repo.head()
    })?;
    assert_eq!(note(secret, "kubectl-gitops.dev/copy-parts"), "1");
    let packed = STANDARD.decode(secret["data"]["part"].as_str()?).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    Some(text)
}

fn db(shop: &Shop, password: &str) -> Ran {
    let patch = json!([{"op": "replace", "path": "/spec/login/0/password", "value": password}]).to_string();
    shop.kubectl_args(&["patch", "hidden", "db", "--type=json", "-p", &patch])
}

pub fn what_git_keeps_encrypted_is_nowhere_in_clear() {
    let stage = Stage::of(&[
        ("app/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("app/crds/hidden.yaml", DEFINITION),
        ("app/templates/objects.yaml", OBJECTS),
        ("app/templates/config.yaml", CONFIG),
        ("app/values.yaml", &fixture("values.yaml")),
    ]);
    let shop = &stage.shop;
    let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"age": fixture("age.key")}});
    shop.kubectl_stdin("apply -f -", &keys.to_string()).ok();
    let server = stage.server("127.0.0.1:0");
    let webhook = stage.replica("warm", &Replica::default());
    shop.hold(json!({"source": {
        "repo": server.url("shop.git"), "revision": "main", "path": "app",
        "helm": {"valueFiles": ["values.yaml"]}, "secretRef": {"name": "keys"}}}));
    tells_nothing(shop.sync()).ok();
    assert_eq!(shop.get("hidden", "db").unwrap()["spec"]["login"][0]["password"], PASSWORD);
    let copy = eventually("a copy is kept", LIMIT, || copy(shop));
    for hidden in [PASSWORD, &STANDARD.encode(PASSWORD)] {
        assert!(!copy.contains(hidden), "{copy}");
    }
    assert_eq!(copy.matches("saltedSha256").count(), 5, "{copy}");
    // From the copy alone: all of it is held, and nothing of it told.
    drop(server);
    webhook.kill();
    let _webhook = stage.replica("cold", &Replica::default());
    let set = |value: &str| tells_nothing(shop.kubectl(&format!("set env deployment/web PASSWORD={value}")));
    eventually("the cold replica is asked", LIMIT, || {
        set("a").stderr.contains("is kept as Git says").then_some(())
    });
    set("guessed").refused(&["containers[name=web].env[name=PASSWORD].value", "***"]);
    tells_nothing(db(shop, "guessed")).refused(&["spec.login", "***"]);
    shop.kubectl("label hidden db note=fine").ok();
    db(shop, PASSWORD).ok();
    shop.kubectl("rollout restart deployment web").ok();
    let pod = shop.get("deployment", "web").unwrap()["spec"]["template"].clone();
    let set_of = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": pod}});
    shop.kubectl_stdin("apply --server-side --force-conflicts --dry-run=server -f -", &set_of.to_string())
        .ok();
    drifted(&stage);
}

/// While nothing is held, it differs: whoever says so shows nothing.
fn drifted(stage: &Stage) {
    let shop = &stage.shop;
    let server = stage.server("127.0.0.1:0");
    shop.change(&json!({"source": {"repo": server.url("shop.git")}}));
    shop.hold_off();
    eventually("nothing is held any more", LIMIT, || (db(shop, "hunter2-drift").code == 0).then_some(()));
    shop.kubectl("set env deployment/web PASSWORD=hunter2-drift").ok();
    let gitops = |arguments: &str| {
        let arguments = format!("{arguments} --namespace {}", shop.name());
        tells_nothing(cluster().gitops(Path::new("/"), &arguments))
    };
    for arguments in ["diff web", "diff web -o json", "diff web -o yaml", "render web", "render web -o json"]
    {
        assert!(gitops(arguments).stdout.contains("***"), "{arguments}");
    }
    for arguments in [
        "status web",
        "status web -o json",
        "tree web",
        "why deployment/web",
        "why hidden/db -o json",
        "check web",
    ] {
        gitops(arguments);
    }
    // What the API server refuses, it quotes.
    let refused = "image: web:1\n          imagePullPolicy: {{ .Values.password }}";
    let broken = OBJECTS.replace("image: web:1", refused);
    stage.commit("broken", &[("app/templates/objects.yaml", &broken)]);
    let ran = gitops("sync web --local");
    assert!(ran.code == 7 || ran.code == 3 || ran.code == 1, "{}{}", ran.stdout, ran.stderr);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("***"), "{}{}", ran.stdout, ran.stderr);
    // A template that fails with it.
    let failing = "{{ fail (printf \"no login for %s\" .Values.password) }}\n";
    stage.commit("failing", &[("app/templates/fail.yaml", failing)]);
    let ran = gitops("diff web");
    assert_eq!((ran.code, ran.stderr.contains("no login for ***")), (4, true), "{}", ran.stderr);
    for kind in ["events", "applications"] {
        has_nothing(kind, &shop.kubectl(&format!("get {kind} -o json")).ok().stdout);
    }
    let kept =
        cluster().command("sh").arg("-c").arg(format!("grep -rlF {PASSWORD} \"$HOME\"")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "", "the plugin keeps it");
    // The logs and caches of both replicas.
    let kept = cluster().command("grep").args(["-rlF", PASSWORD]).arg(stage.caches.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&kept.stdout), "", "a replica keeps it");
}
