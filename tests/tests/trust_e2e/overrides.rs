//! An Override opens for whom and what it names, and ends.

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::{eventually, webhook_cluster};
use serde_json::{Value, json};

use super::{API, gitops, metric};

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
    let ended = gitops(&shop, &format!("override end {incident} --as ada -o json")).ok().json();
    assert_eq!((&ended["kind"], &ended["metadata"]["name"]), (&json!("Override"), &json!(incident)));
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
