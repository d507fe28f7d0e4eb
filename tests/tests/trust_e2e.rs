//! Who may say what is true: principals with real RBAC try to widen their own
//! reach; Projects limit branches, signers and children; an Override opens for
//! a while; the guard and what it guards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually, webhook_cluster};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{Repo, Shop, TestCluster};
use serde_json::{Value, json};

/// The guard's objects have fixed names.
static ONE: Mutex<()> = Mutex::new(());

const API: &str = "kubectl-gitops.dev/v1alpha1";

/// Whoever asks, as the API server knows them.
fn account(name: &str) -> String {
    format!(
        "--as=system:serviceaccount:gitops-system:{name} --as-group=system:serviceaccounts --as-group=system:authenticated"
    )
}

/// The chart's roles and guard, as helm renders them.
fn installed(cluster: &TestCluster) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut helm = cluster.command("helm");
    helm.current_dir(root).args([
        "template",
        "gitops",
        "charts/gitops",
        "--namespace",
        "gitops-system",
        "--show-only",
        "templates/rbac.yaml",
        "--show-only",
        "templates/access.yaml",
        "--show-only",
        "templates/guard.yaml",
    ]);
    let rendered = gitops_tests::cluster::ran(&mut helm, None).ok().stdout;
    cluster.kubectl_stdin("apply --server-side --force-conflicts -f -", &rendered).ok();
}

/// Which principals there are, each with the RBAC that it has in earnest.
fn principals(shop: &Shop) -> Vec<(&'static str, String)> {
    installed(shop.cluster);
    for role in ["edit", "admin"] {
        shop.kubectl(&format!("create rolebinding {role} --clusterrole={role} --user=ns-{role}")).ok();
    }
    // A controller that syncs everything, and may do nothing of its own.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "trust-controller"}, "rules": [
        {"apiGroups": ["", "apps"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": ["kubectl-gitops.dev"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]},
        {"apiGroups": ["rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io"], "resources": ["*"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "bind", "escalate"]}]});
    shop.cluster.kubectl_stdin("apply -f -", &role.to_string()).ok();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "trust-controller"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "trust-controller"},
        "subjects": [{"kind": "ServiceAccount", "name": "gitops-controller", "namespace": "gitops-system"}]});
    shop.cluster.kubectl_stdin("apply -f -", &binding.to_string()).ok();
    vec![
        ("a namespace editor", "--as=ns-edit --as-group=system:authenticated".into()),
        ("a namespace admin", "--as=ns-admin --as-group=system:authenticated".into()),
        ("the webhook", account("gitops-webhook")),
        ("a controller", account("gitops-controller")),
    ]
}

/// The guard takes seconds until it is in force.
fn guarded(cluster: &TestCluster) {
    eventually("the guard is in force", Duration::from_secs(60), || {
        let tried = cluster.kubectl(&format!(
            "{} annotate --overwrite --dry-run=server clusterrole gitops-viewer tried=now",
            account("gitops-controller")
        ));
        tried.stderr.contains("guards this object").then_some(())
    });
}

/// Refused by RBAC, by the webhook, or by the guard: never done.
#[track_caller]
fn not_done(who: &str, what: &str, ran: &Ran) {
    let why = ["denied", "is forbidden", "forbidden:", "cannot"];
    assert!(
        ran.code != 0 && why.iter().any(|part| ran.stderr.contains(part)),
        "{who}, {what}: {}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn nobody_widens_their_own_reach() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shop = Shop::open();
    let principals = principals(&shop);
    guarded(shop.cluster);
    shop.cluster.kubectl("create namespace gitops-system");
    let name = shop.name().to_owned();
    let own = |kind: &str, name: &str, namespace: Option<&str>, spec: Value| {
        let mut object = json!({"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        object.to_string()
    };
    let elsewhere = json!({"project": name, "source": {"repo": "https://evil.example/x"}});
    let wide = json!({"applicationNamespaces": ["**"], "repositories": [{"url": "**"}], "destinations": [{"namespaces": ["*"]}]});
    let open = json!({"reason": "mine", "expiresAt": "2099-01-01T00:00:00Z"});
    let grant = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "gitops-viewer"}, "rules": [{"apiGroups": ["kubectl-gitops.dev"], "resources": ["*"], "verbs": ["*"]}]});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gitops-index-mine", "namespace": "gitops-system"}});
    for (who, flags) in &principals {
        let run = |arguments: &str| shop.cluster.kubectl(&format!("{flags} {arguments}"));
        let patch = |what: &str, patch: &str| {
            let mut all: Vec<&str> = flags.split_whitespace().collect();
            all.extend(["patch"]);
            all.extend(what.split_whitespace());
            all.extend(["--type=merge", "-p", patch]);
            shop.cluster.kubectl_args(&all)
        };
        let create = |object: &str| shop.cluster.kubectl_stdin(&format!("{flags} create -f -"), object);
        let application = format!("application web -n {name}");
        let tries: Vec<(&str, Ran)> = vec![
            (
                "points an Application elsewhere",
                patch(&application, r#"{"spec":{"source":{"repo":"https://evil.example/x"}}}"#),
            ),
            ("makes an Application", create(&own("Application", "mine", Some(&name), elsewhere.clone()))),
            (
                "keeps an Application from going",
                patch(&application, r#"{"metadata":{"finalizers":["evil.example.com/stay"]}}"#),
            ),
            (
                "gives an Application an owner",
                patch(
                    &application,
                    r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"web","uid":"1"}]}}"#,
                ),
            ),
            ("deletes an Application", run(&format!("delete {application}"))),
            ("makes a Project", create(&own("Project", "mine", None, wide.clone()))),
            ("widens a Project", patch(&format!("project {name}"), &json!({"spec": wide}).to_string())),
            ("opens an Override", create(&own("Override", "mine", None, open.clone()))),
            (
                "widens a role of ours",
                patch("clusterrole gitops-viewer", &json!({"rules": grant["rules"]}).to_string()),
            ),
            (
                "binds itself",
                run(
                    "create clusterrolebinding mine --clusterrole=gitops-admin --user=ns-admin --dry-run=server",
                ),
            ),
            ("disarms the webhook", patch("validatingwebhookconfiguration gitops", r#"{"webhooks":[]}"#)),
            (
                "deletes the configuration",
                run("delete validatingwebhookconfiguration gitops --dry-run=server"),
            ),
            (
                "opens the namespace",
                run(&format!("label namespace {name} pod-security.kubernetes.io/enforce=privileged")),
            ),
            ("deletes the namespace", run(&format!("delete namespace {name} --dry-run=server"))),
            ("drifts", patch(&format!("deployment web -n {name}"), r#"{"spec":{"replicas":7}}"#)),
        ];
        for (what, ran) in &tries {
            // Binding is RBAC's own matter: who has `bind` on everything may.
            if *what == "binds itself" && *who == "a controller" {
                continue;
            }
            not_done(who, what, ran);
        }
        if *who != "the webhook" {
            not_done(who, "writes the webhook's Secret", &create(&secret.to_string()));
        }
    }
    let live = shop.get("application", "web").unwrap();
    assert_eq!(live["spec"]["source"]["repo"], shop.repo.url());
}

#[test]
fn the_webhooks_account_changes_only_what_is_its_own() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = webhook_cluster();
    installed(cluster);
    guarded(cluster);
    // A stand-in as the chart renders it: the real one has a URL here.
    let live = |kind: &str| cluster.kubectl(&format!("get {kind} gitops -o json")).ok().json();
    let before = live("validatingwebhookconfiguration");
    let flags = account("gitops-webhook");
    let tried = |change: &dyn Fn(&mut Value)| {
        let mut object = live("validatingwebhookconfiguration");
        change(&mut object);
        cluster.kubectl_stdin(&format!("{flags} replace --dry-run=server -f -"), &object.to_string())
    };
    tried(&|object| object["webhooks"][0]["rules"] = json!([])).ok();
    let own = before["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .position(|entry| entry["name"] == "own.kubectl-gitops.dev")
        .unwrap();
    type Change = Box<dyn Fn(&mut Value)>;
    let refused: Vec<(&str, Change)> = vec![
        ("fails open", Box::new(|object| object["webhooks"][0]["failurePolicy"] = json!("Ignore"))),
        (
            "has conditions",
            Box::new(|object| {
                object["webhooks"][0]["matchConditions"] = json!([{"name": "never", "expression": "false"}])
            }),
        ),
        (
            "selects objects",
            Box::new(|object| object["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}})),
        ),
        ("matches exactly", Box::new(|object| object["webhooks"][0]["matchPolicy"] = json!("Exact"))),
        (
            "drops an entry",
            Box::new(|object| {
                object["webhooks"].as_array_mut().unwrap().pop();
            }),
        ),
        (
            "renames an entry",
            Box::new(|object| object["webhooks"][1]["name"] = json!("x.kubectl-gitops.dev")),
        ),
        ("does not look at our kinds", Box::new(move |object| object["webhooks"][own]["rules"] = json!([]))),
        (
            "goes elsewhere",
            Box::new(|object| {
                object["webhooks"][0]["clientConfig"] =
                    json!({"service": {"name": "evil", "namespace": "default"}})
            }),
        ),
    ];
    for (what, change) in &refused {
        let ran = tried(change);
        assert!(
            ran.code != 0 && ran.stderr.contains("and nothing else"),
            "{what}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

#[test]
fn the_guard_knows_each_kind_of_principal() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = webhook_cluster();
    installed(cluster);
    guarded(cluster);
    // With every right but the verb `override`; and the same with it.
    let role = |name: &str, verbs: &[&str]| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
            {"apiGroups": ["", "apps", "rbac.authorization.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["kubectl-gitops.dev"], "resources": ["overrides"], "verbs": verbs}]});
        cluster.kubectl_stdin("apply -f -", &role.to_string()).ok();
        cluster.kubectl(&format!("create clusterrolebinding {name} --clusterrole={name} --user={name}"));
    };
    role("trust-without", &["get"]);
    role("trust-with", &["override"]);
    let all = [
        "annotate --overwrite clusterrole gitops-admin tried=x",
        "annotate --overwrite clusterrolebinding gitops-webhook tried=x",
        "annotate --overwrite crd projects.kubectl-gitops.dev tried=x",
        "annotate --overwrite validatingwebhookconfiguration gitops tried=x",
        "annotate --overwrite role gitops-webhook -n gitops-system tried=x",
        "annotate --overwrite secret gitops-webhook-tls -n gitops-system tried=x",
        "delete secret gitops-webhook-tls -n gitops-system",
        "create secret generic gitops-index-x -n gitops-system",
        "delete crd applications.kubectl-gitops.dev",
        "delete clusterrole gitops-viewer",
    ];
    for arguments in all {
        let ran = |flags: &str| cluster.kubectl(&format!("{arguments} --dry-run=server {flags}"));
        ran("--as=trust-without").refused_by_guard();
        ran("--as=trust-with").ok();
        // A cluster-admin has every verb, this one included.
        ran("--as=root --as-group=system:masters").ok();
    }
    // A deletecollection names nothing in its request.
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=app.kubernetes.io/name%3Dgitops&dryRun=All";
    let options = r#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}"#;
    cluster
        .kubectl_stdin(&format!("delete --as=trust-without --raw {path} -f -"), options)
        .refused_by_guard();
    // Other objects of these kinds are nobody's business.
    cluster
        .kubectl(
            "create clusterrole trust-other --verb=get --resource=pods --as=trust-without --dry-run=server",
        )
        .ok();
    // The namespace controller ends a namespace; it may not change what is in it.
    let controller = "--as=system:serviceaccount:kube-system:namespace-controller --as-group=system:serviceaccounts:kube-system";
    cluster
        .kubectl(&format!("delete role gitops-webhook -n gitops-system --dry-run=server {controller}"))
        .ok();
}

trait Guarded {
    fn refused_by_guard(self) -> Self;
}

impl Guarded for Ran {
    #[track_caller]
    fn refused_by_guard(self) -> Self {
        assert!(
            self.code != 0 && self.stderr.contains("kubectl-gitops guards this object"),
            "{}{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

fn metric(name: &str) -> f64 {
    let url = format!("{}/metrics", std::env::var("GITOPS_TEST_WEBHOOK_HTTP").unwrap());
    let text = std::process::Command::new("curl").args(["-s", &url]).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn whoever_touches_the_guard_is_noticed() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = webhook_cluster();
    installed(cluster);
    let becomes = |value: f64| {
        eventually(&format!("the guard is {value}"), Duration::from_secs(20), || {
            (metric("gitops_guard_intact") == value).then_some(())
        });
    };
    becomes(1.0);
    cluster
        .kubectl_args(&[
            "patch",
            "validatingadmissionpolicybinding",
            "gitops-guard",
            "--type=merge",
            "-p",
            r#"{"spec":{"validationActions":["Audit"]}}"#,
        ])
        .ok();
    becomes(0.0);
    // validationActions is a set, to which an apply only adds.
    cluster.kubectl("delete validatingadmissionpolicybinding gitops-guard").ok();
    installed(cluster);
    becomes(1.0);
    cluster.kubectl("delete validatingadmissionpolicy gitops-guard").ok();
    becomes(0.0);
    eventually("an Event tells", Duration::from_secs(20), || {
        let events = cluster.kubectl("get events -n default -o json").json();
        events["items"].as_array()?.iter().any(|event| event["reason"] == "GuardBroken").then_some(())
    });
    installed(cluster);
    becomes(1.0);
}

#[test]
fn a_changed_configuration_is_put_right_at_once() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let shop = Shop::open();
    let patches = [
        r#"[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]"#,
        r#"[{"op":"replace","path":"/webhooks/0/rules","value":[]}]"#,
        r#"[{"op":"add","path":"/webhooks/0/matchConditions","value":[{"name":"never","expression":"false"}]}]"#,
        r#"[{"op":"replace","path":"/webhooks/0/objectSelector","value":{"matchLabels":{"no":"body"}}}]"#,
    ];
    for patch in patches {
        shop.cluster
            .kubectl_args(&["patch", "validatingwebhookconfiguration", "gitops", "--type=json", "-p", patch])
            .ok();
        eventually(&format!("put right: {patch}"), Duration::from_secs(8), || {
            let live = shop.cluster.kubectl("get validatingwebhookconfiguration gitops -o json").json();
            let entry = &live["webhooks"][0];
            let right = entry["failurePolicy"] == "Fail"
                && entry["rules"].as_array().is_some_and(|rules| !rules.is_empty())
                && entry["matchConditions"].as_array().is_none_or(Vec::is_empty)
                && entry["objectSelector"] == json!({});
            right.then_some(())
        });
    }
    eventually("drift is refused again", Duration::from_secs(20), || {
        let ran = shop.kubectl("scale deployment web --replicas=7 --dry-run=server");
        ran.stderr.contains("denied the request").then_some(())
    });
}

/// `kubectl gitops` as somebody.
fn gitops(shop: &Shop, arguments: &str) -> Ran {
    shop.cluster.gitops(Path::new("/"), arguments)
}

#[test]
fn an_override_opens_for_whom_and_what_it_names_and_ends() {
    let shop = Shop::open();
    let name = shop.name();
    let incident = format!("inc-{name}");
    shop.kubectl("create rolebinding ada --clusterrole=admin --user=ada").ok();
    shop.kubectl("create rolebinding eve --clusterrole=admin --user=eve").ok();
    let used = metric("gitops_overrides_used_total");
    let scale =
        |who: &str, count: u32| shop.kubectl(&format!("--as={who} scale deployment web --replicas={count}"));
    scale("ada", 5).refused(&["spec.replicas"]);
    // Who may not open one: by RBAC; and by the webhook where RBAC lets create.
    let role = format!("overrides-{name}");
    shop.cluster.kubectl(&format!("create clusterrole {role} --verb=get,list,create,patch,update --resource=overrides.kubectl-gitops.dev")).ok();
    shop.cluster
        .kubectl(&format!("create clusterrolebinding {role} --clusterrole={role} --user=eve --user=ada"))
        .ok();
    let open =
        format!("override create {incident} --reason INC-12 --for 30m -n {name} --kind Deployment --as");
    let refused = eventually("RBAC is known", Duration::from_secs(10), || {
        Some(gitops(&shop, &format!("{open} eve"))).filter(|ran| ran.stderr.contains("override"))
    });
    assert!(
        refused.code == 3 && refused.stderr.contains("verb `override`"),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    let verb = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": format!("{role}-verb")}, "rules": [{"apiGroups": ["kubectl-gitops.dev"], "resources": ["overrides"], "verbs": ["override"]}]});
    shop.cluster.kubectl_stdin("apply -f -", &verb.to_string()).ok();
    shop.cluster
        .kubectl(&format!("create clusterrolebinding {role}-verb --clusterrole={role}-verb --user=ada"))
        .ok();
    let opened = eventually("ada may", Duration::from_secs(10), || {
        Some(gitops(&shop, &format!("{open} ada"))).filter(|ran| ran.code == 0)
    });
    assert!(
        opened.stdout.contains("is open until") && opened.stdout.contains("for ada"),
        "{}",
        opened.stdout
    );
    let live = shop.cluster.kubectl(&format!("get override {incident} -o json")).json();
    assert_eq!(live["metadata"]["annotations"]["kubectl-gitops.dev/requested-by"], "ada");
    // Neither its scope nor who asked for it changes, nor does it last longer.
    for patch in [
        r#"{"spec":{"namespaces":[]}}"#,
        r#"{"spec":{"expiresAt":"2099-01-01T00:00:00Z"}}"#,
        r#"{"spec":{"users":["eve"]}}"#,
    ] {
        let ran = shop.cluster.kubectl_args(&["patch", "override", &incident, "--type=merge", "-p", patch]);
        assert_ne!(ran.code, 0, "{patch}");
    }
    shop.cluster
        .kubectl(&format!("annotate --overwrite override {incident} kubectl-gitops.dev/requested-by=eve"))
        .refused(&["does not change"]);
    let passed = eventually("ada writes past Git", Duration::from_secs(10), || {
        Some(scale("ada", 5)).filter(|ran| ran.code == 0)
    });
    assert!(passed.stderr.contains("Warning") && passed.stderr.contains(&incident), "{}", passed.stderr);
    scale("eve", 6).refused(&["spec.replicas"]);
    shop.kubectl_args(&[
        "--as=ada",
        "patch",
        "configmap",
        "web",
        "--type=merge",
        "-p",
        r#"{"data":{"greeting":"x"}}"#,
    ])
    .refused(&["data.greeting"]);
    shop.kubectl("--as=ada annotate --overwrite deployment web kubectl-gitops.dev/owner=x/y")
        .refused(&["kubectl-gitops.dev/owner"]);
    assert!(metric("gitops_overrides_used_total") > used);
    for reason in ["Overridden", "Used"] {
        eventually(&format!("Event {reason}"), Duration::from_secs(20), || {
            let events = shop.cluster.kubectl("get events -A -o json").json();
            let tells = |event: &Value| {
                event["reason"] == reason
                    && event["message"].as_str().is_some_and(|text| text.contains(&incident))
            };
            events["items"].as_array()?.iter().any(tells).then_some(())
        });
    }
    let list = gitops(&shop, "override list");
    assert!(
        list.code == 1 && list.stdout.contains(&incident) && list.stdout.contains("INC-12"),
        "{}",
        list.stdout
    );
    gitops(&shop, &format!("override end {incident} --as ada")).ok();
    // What it left behind is drift: shown, refused to grow, repaired.
    scale("ada", 6).refused(&["spec.replicas"]);
    let diff = gitops(&shop, &format!("diff web -n {name}"));
    assert!(diff.code == 1 && diff.stdout.contains("spec.replicas"), "{}", diff.stdout);
    shop.sync().ok();
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 2);
    for object in [
        format!("override {incident}"),
        format!("clusterrole {role} {role}-verb"),
        format!("clusterrolebinding {role} {role}-verb"),
    ] {
        shop.cluster.kubectl(&format!("delete {object}"));
    }
}

#[test]
fn overrides_end_within_four_hours_and_say_who_asked() {
    let cluster = webhook_cluster();
    let shop = Shop::open();
    let in_hours = |hours: i64| {
        (jiff::Timestamp::now() + Duration::from_secs(hours.unsigned_abs() * 3600))
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    };
    let object = |expires: &str, by: Option<&str>| {
        let annotations = by.map(|by| json!({"kubectl-gitops.dev/requested-by": by}));
        json!({"apiVersion": API, "kind": "Override", "metadata": {"name": format!("window-{}", shop.name()), "annotations": annotations},
            "spec": {"reason": "x", "expiresAt": expires}}).to_string()
    };
    let create = |object: &str| cluster.kubectl_stdin("create --dry-run=server -o yaml -f -", object);
    create(&object(&in_hours(5), None)).refused(&["more than four hours"]);
    create(&object("2020-01-01T00:00:00Z", None)).refused(&["has passed"]);
    // Whatever is claimed, the stamp says who it was.
    let made = create(&object(&in_hours(3), Some("somebody-else"))).ok();
    assert!(!made.stdout.contains("somebody-else"), "{}", made.stdout);
}

#[test]
fn unsigned_commits_do_not_count() {
    let keys = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let path = keys.path().join(name);
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        (path.display().to_string(), std::fs::read_to_string(path.with_extension("pub")).unwrap())
    };
    let ((private, public), (foreign, _)) = (key("ada"), key("eve"));
    let sign = |repo: &Repo, key: &str| {
        repo.git(&["config", "gpg.format", "ssh"]);
        repo.git(&["config", "user.signingkey", key]);
        repo.git(&["commit", "--quiet", "--allow-empty", "-S", "-m", "signed"]);
        repo.head()
    };
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    let signed = sign(&shop.repo, &private);
    shop.hold_under(
        json!({"repositories": [{"url": "file:///**", "branches": ["main"], "signers": [public]}]}),
        json!({}),
    );
    shop.sync().ok();
    // Not signed, then signed by somebody else: the last good one stays in force.
    let unsigned =
        shop.repo.commit("evil", &[("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 7"))]);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains(&unsigned[..12]) && message.contains("not signed"), "{message}");
    let sync = shop.sync();
    assert!(
        sync.code == 4 && sync.stderr.contains("not signed") && sync.stderr.contains("hint:"),
        "{}{}",
        sync.stdout,
        sync.stderr
    );
    shop.kubectl("scale deployment web --replicas=7").refused(&["spec.replicas"]);
    sign(&shop.repo, &foreign);
    eventually("a foreign key is named", Duration::from_secs(20), || {
        shop.wait_for("Rendered", "False").contains("none of the Project's").then_some(())
    });
    assert_eq!(shop.get("application", "web").unwrap()["status"]["revision"], signed);
    let head = sign(&shop.repo, &private);
    eventually("it counts again", Duration::from_secs(20), || {
        (shop.get("application", "web")?["status"]["revision"] == head).then_some(())
    });
}

#[test]
fn openpgp_signatures_count_by_the_keys_that_are_named() {
    let home = tempfile::tempdir().unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = std::process::Command::new("gpg");
        command
            .env("GNUPGHOME", home.path())
            .args(["--batch", "--quiet", "--passphrase", ""])
            .args(arguments);
        gitops_tests::cluster::ran(&mut command, None).ok().stdout
    };
    let key = |name: &str| {
        gpg(&["--quick-generate-key", name, "ed25519", "sign", "never"]);
        gpg(&["--armor", "--export", name])
    };
    let (ada, eve) = (key("Ada <ada@example.com>"), key("Eve <eve@example.com>"));
    let repo = Repo::with(&[("app/config.yaml", CONFIG)]);
    let sign = "git commit --quiet --allow-empty -S -m signed";
    let mut commit = std::process::Command::new("sh");
    commit.args(["-c", sign]).current_dir(repo.path()).env("GNUPGHOME", home.path());
    commit.envs([("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "ada@example.com")]);
    commit.envs([("GIT_COMMITTER_NAME", "Ada"), ("GIT_COMMITTER_EMAIL", "ada@example.com")]);
    gitops_tests::cluster::ran(&mut commit, None).ok();
    let cache = tempfile::tempdir().unwrap();
    let verify = |keys: &[String]| {
        let git = gitops_source::GitCache::open(cache.path());
        git.verify(&repo.url().parse().unwrap(), &repo.head(), keys).map_err(|error| error.to_string())
    };
    assert_eq!(verify(&[eve.clone(), ada]), Ok(()));
    assert!(verify(&[eve]).unwrap_err().contains("none of the Project's keys"));
    assert!(
        verify(&["SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU".into()])
            .unwrap_err()
            .contains("names no OpenPGP key")
    );
    let _ = std::process::Command::new("gpgconf")
        .env("GNUPGHOME", home.path())
        .args(["--kill", "gpg-agent"])
        .status();
}

#[test]
fn a_commit_counts_only_on_a_branch_that_counts() {
    let shop = Shop::unheld(&[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    shop.repo.git(&["checkout", "--quiet", "-b", "dev"]);
    let dev = shop.repo.commit("dev", &[("app/web.yaml", &DEPLOYMENT.replace("web:1", "web:dev"))]);
    shop.repo.git(&["checkout", "--quiet", "main"]);
    shop.hold_under(json!({"repositories": [{"url": "file:///**", "branches": ["main"]}]}), json!({}));
    shop.sync().ok();
    let point = |revision: &str| {
        let patch = json!({"spec": {"source": {"revision": revision}}}).to_string();
        shop.kubectl_args(&["patch", "application", "web", "--type=merge", "-p", &patch]).ok();
    };
    point(&dev);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains("no branch") && message.contains("main"), "{message}");
    point(&shop.repo.head());
    shop.wait_for("Rendered", "True");
    // The same, asked of the plugin.
    let ran = gitops(&shop, &format!("sync web -n {} --revision {dev}", shop.name()));
    assert!(ran.code == 3 && ran.stderr.contains("no branch"), "{}{}", ran.stdout, ran.stderr);
}

/// A child Application, as a file.
fn child(shop: &Shop, project: &str) -> String {
    json!({"apiVersion": API, "kind": "Application", "metadata": {"name": "child", "namespace": shop.name()}, "spec": {
        "project": project, "source": {"repo": shop.repo.url(), "revision": "main", "path": "child"}, "destination": {"namespace": shop.name()}}})
    .to_string()
}

#[test]
fn a_declared_application_changes_through_git_alone() {
    let shop = Shop::unheld(&[
        ("app/config.yaml", CONFIG),
        ("child/x.yaml", &CONFIG.replace("name: web", "name: child")),
    ]);
    shop.repo.commit("child", &[("app/child.yaml", &child(&shop, shop.name()))]);
    shop.hold_under(json!({"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]}), json!({}));
    shop.sync().ok();
    let patch =
        |patch: &str| shop.kubectl_args(&["patch", "application", "child", "--type=merge", "-p", patch]);
    // Even an administrator: Git says it.
    patch(r#"{"spec":{"source":{"repo":"https://evil.example/x"}}}"#).refused(&["spec.source.repo"]);
    patch(r#"{"spec":{"suspend":true}}"#).refused(&["spec.suspend"]);
    patch(
        r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"web","uid":"1"}]}}"#,
    )
    .refused(&["ownerReferences"]);
    patch(r#"{"metadata":{"annotations":{"kubectl-gitops.dev/owner":"x/y"}}}"#)
        .refused(&["kubectl-gitops.dev/owner"]);
    patch(r#"{"metadata":{"annotations":{"note":"fine"}}}"#).ok();
    shop.kubectl("delete application child").refused(&["app/child.yaml"]);
    shop.repo.remove("no child", &["app/child.yaml"]);
    shop.sync().ok();
    assert!(shop.get("application", "child").is_none());
}

#[test]
fn a_parent_declares_children_of_its_own_project_only() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    shop.hold(json!({}));
    let good = shop.repo.head();
    // The kind has to be named.
    shop.repo.commit("child", &[("app/child.yaml", &child(&shop, shop.name()))]);
    let message = shop.wait_for("Rendered", "False");
    assert!(message.contains("names the group itself"), "{message}");
    let kinds = json!({"spec": {"kinds": [{"group": "*", "kind": "*"}, {"group": "kubectl-gitops.dev", "kind": "Application"}]}}).to_string();
    shop.cluster.kubectl_args(&["patch", "project", shop.name(), "--type=merge", "-p", &kinds]).ok();
    shop.wait_for("Rendered", "True");
    // Another Project's child is an escalation.
    shop.repo.commit("escalate", &[("app/child.yaml", &child(&shop, "somebody-elses"))]);
    let message = eventually("it is refused", Duration::from_secs(20), || {
        Some(shop.wait_for("Rendered", "False")).filter(|message| message.contains("childProjects"))
    });
    assert!(message.contains("somebody-elses") && message.contains("child"), "{message}");
    assert_ne!(shop.get("application", "web").unwrap()["status"]["revision"], shop.repo.head());
    assert_ne!(good, shop.repo.head());
}

#[test]
fn what_two_applications_declare_is_written_by_the_older_alone_in_both_orders() {
    for younger_first in [false, true] {
        let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
        let other = Repo::with(&[("app/config.yaml", &CONFIG.replace("hello", "mine"))]);
        shop.hold(json!({}));
        let second = json!({"apiVersion": API, "kind": "Application", "metadata": {"name": "second"}, "spec": {
            "project": shop.name(), "source": {"repo": other.url(), "revision": "main", "path": "app"}, "destination": {"namespace": shop.name()}}});
        // Creation times have seconds.
        std::thread::sleep(Duration::from_millis(1100));
        shop.kubectl_stdin("apply -f -", &second.to_string()).ok();
        let told = |name: &str| {
            eventually(&format!("{name} is told"), Duration::from_secs(30), || {
                let conditions = shop.get("application", name)?["status"]["conditions"].as_array()?.clone();
                conditions
                    .iter()
                    .find(|known| known["reason"] == "Conflicts")
                    .map(|known| known["message"].clone())
            })
        };
        told("second");
        told("web");
        let younger = || gitops(&shop, &format!("sync second -n {}", shop.name()));
        if younger_first {
            // Nothing says whose it is yet; the webhook does.
            assert_ne!(younger().code, 0);
        }
        shop.sync().ok();
        let ran = younger();
        assert_eq!(ran.code, 6, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(&format!("{}/web owns it", shop.name())), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(shop.get("configmap", "web").unwrap()["data"]["greeting"], "hello");
    }
}

#[test]
fn who_fights_over_a_field_is_named() {
    let shop = Shop::open();
    for _ in 0..6 {
        shop.kubectl("--as=fighter --as-group=system:masters scale deployment web --replicas=9")
            .refused(&["spec.replicas"]);
    }
    let message = eventually("the condition names them", Duration::from_secs(20), || {
        let conditions = shop.get("application", "web")?["status"]["conditions"].as_array()?.clone();
        conditions
            .iter()
            .find(|known| known["reason"] == "Contended")
            .and_then(|known| known["message"].as_str().map(str::to_owned))
    });
    assert!(
        message.contains("fighter") && message.contains("spec.replicas") && message.contains("Deployment"),
        "{message}"
    );
    let contended = || -> Vec<Value> {
        let events = shop.kubectl("get events -o json").json();
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["reason"] == "Contended")
            .cloned()
            .collect()
    };
    eventually("an Event", Duration::from_secs(20), || (contended().len() == 1).then_some(()));
}

#[test]
fn an_enforced_namespace_still_ends() {
    let shop = Shop::open();
    shop.cluster.kubectl(&format!("delete namespace {} --wait=false", shop.name())).refused(&["objects"]);
    shop.kubectl("delete application web").ok();
    eventually("nothing is held", Duration::from_secs(20), || {
        (shop.cluster.kubectl(&format!("delete namespace {} --wait=false", shop.name())).code == 0)
            .then_some(())
    });
    shop.cluster.kubectl(&format!("wait --for=delete namespace {} --timeout=60s", shop.name())).ok();
}

#[test]
fn a_namespace_with_nothing_but_an_application_ends() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let application = json!({"apiVersion": API, "kind": "Application", "metadata": {"name": "web"}, "spec": {"project": "nowhere", "source": {"repo": shop.repo.url()}}});
    shop.kubectl_stdin("create -f -", &application.to_string()).ok();
    shop.cluster.kubectl(&format!("delete namespace {} --timeout=60s", shop.name())).ok();
}
