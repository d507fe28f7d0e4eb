#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;
use crate::compare::{CompareOptions, compare};
use crate::schema::Schemas;

/// What differs between a child and the likeliest that it may be, or nothing
/// where it is as one of them.
fn told(child: &Value, owner: &Value, surroundings: Option<&Surroundings>) -> Vec<String> {
    let (schemas, gvk) = (Schemas::builtin(), Gvk::of(child).unwrap());
    let all: Vec<Vec<String>> = expected(&gvk, child, owner, surroundings)
        .iter()
        .map(|want| {
            let live = view(&gvk, child);
            let found = compare(&schemas, &want.gvk, &want.value, &live, &CompareOptions::of(&want.gvk));
            found.iter().map(|difference| difference.path.to_string()).collect()
        })
        .collect();
    all.iter().find(|found| found.is_empty()).or(all.first()).cloned().unwrap_or(vec!["not judged".into()])
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}})
}

fn owner(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "shop", "uid": "u"}, "spec": spec})
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "c:1"}]}});
    change(&mut pod);
    pod
}

#[test]
fn pods_of_a_stateful_set_have_names_and_claims() {
    let set = owner(
        "apps/v1",
        "StatefulSet",
        json!({"serviceName": "peers", "template": template(), "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}),
    );
    let made = |name: &str, claim: &str| {
        pod(name, |pod| {
            pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = json!("1");
            pod["spec"]["hostname"] = json!(name);
            pod["spec"]["subdomain"] = json!("peers");
            pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
        })
    };
    assert!(told(&made("x-1", "data-x-1"), &set, None).is_empty());
    assert_eq!(
        told(&made("x-1", "data-y-1"), &set, None),
        ["spec.volumes[name=data].persistentVolumeClaim.claimName"]
    );
    assert!(told(&made("x-evil", "data-x-evil"), &set, None).contains(&"spec.hostname".to_owned()));
}

#[test]
fn old_revisions_come_back_while_a_set_rolls() {
    let set = owner("apps/v1", "StatefulSet", json!({"template": template()}));
    let old = pod("x-0", |pod| {
        pod["metadata"]["labels"]["controller-revision-hash"] = json!("x-1");
        pod["spec"]["containers"][0]["image"] = json!("c:0");
        pod["spec"]["hostname"] = json!("x-0");
    });
    let revision = |name: &str, uid: &str, image: &str| {
        let mut template = template();
        template["spec"]["containers"][0]["image"] = json!(image);
        template["$patch"] = json!("replace");
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": name, "namespace": "shop", "ownerReferences": [{"uid": uid, "controller": true}]},
            "data": {"spec": {"template": template}}})
    };
    for (revision, as_it_should) in [
        (revision("x-1", "u", "c:0"), true),
        (revision("x-1", "somebody", "c:0"), false),
        (revision("x-2", "u", "c:0"), false),
        (revision("x-1", "u", "c:2"), false),
    ] {
        let around = Surroundings { revisions: vec![revision.clone()], ..Surroundings::default() };
        assert_eq!(told(&old, &set, Some(&around)).is_empty(), as_it_should, "{revision}");
    }
    assert!(told(&revision("x-3", "u", "c:1"), &set, None).is_empty());
    assert_eq!(
        told(&revision("x-3", "u", "evil"), &set, None),
        ["spec.template.spec.containers[name=c].image"]
    );
}

#[test]
fn daemons_stay_on_their_node() {
    let set = owner("apps/v1", "DaemonSet", json!({"template": template()}));
    let made = |fields: Value| {
        pod("x-a", |pod| {
            pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}}});
            pod["spec"]["tolerations"] = json!([
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"}]);
        })
    };
    let on = |key: &str| json!([{"key": key, "operator": "In", "values": ["node-1"]}]);
    assert!(told(&made(on("metadata.name")), &set, None).is_empty());
    assert!(!told(&made(on("metadata.namespace")), &set, None).is_empty());
    let mut everywhere = made(on("metadata.name"));
    everywhere["spec"]["tolerations"][0] = json!({"operator": "Exists"});
    assert!(!told(&everywhere, &set, None).is_empty());
}

#[test]
fn indexed_jobs_tell_their_pods_which_they_are() {
    let job = owner("batch/v1", "Job", json!({"completionMode": "Indexed", "template": template()}));
    let made = |what: &str, host: &str| {
        pod("x-3-a", |pod| {
            pod["metadata"]["annotations"] = json!({INDEX: "3"});
            pod["metadata"]["labels"][INDEX] = json!("3");
            pod["spec"]["hostname"] = json!(host);
            pod["spec"]["containers"][0]["env"] = json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": format!("metadata.{what}['{INDEX}']")}}}]);
        })
    };
    assert!(told(&made("labels", "x-3"), &job, None).is_empty());
    assert!(told(&made("annotations", "x-3"), &job, None).is_empty());
    assert_eq!(told(&made("labels", "other"), &job, None), ["spec.hostname"]);
}

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

#[test]
fn admission_plugins_fill_what_the_cluster_says() {
    let set = owner("apps/v1", "ReplicaSet", json!({"template": template()}));
    let around = Surroundings {
        limit_ranges: vec![
            json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}]}}),
        ],
        priority_classes: vec![json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true})],
        ..Surroundings::default()
    };
    let made = |cpu: &str, class: &str| {
        pod("x-a", |pod| {
            pod["spec"]["containers"][0]["resources"] =
                json!({"limits": {"cpu": cpu}, "requests": {"cpu": "100m"}});
            pod["spec"]["priorityClassName"] = json!(class);
            pod["spec"]["priority"] = json!(7);
        })
    };
    assert!(told(&made("1", "usual"), &set, Some(&around)).is_empty());
    assert!(!told(&made("1", "usual"), &set, None).is_empty());
    assert!(!told(&made("8", "usual"), &set, Some(&around)).is_empty());
    assert!(!told(&made("1", "system-node-critical"), &set, Some(&around)).is_empty());
}

#[test]
fn gates_only_go_and_label_keys_are_worked_in() {
    let mut template = template();
    template["spec"]["schedulingGates"] = json!([{"name": "a"}, {"name": "b"}]);
    template["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}}, "matchLabelKeys": ["app"]}]);
    let set = owner("apps/v1", "ReplicaSet", json!({"template": template}));
    let made = |gates: Value| {
        pod("x-a", |pod| {
            pod["spec"]["schedulingGates"] = gates;
            pod["spec"]["topologySpreadConstraints"] = template["spec"]["topologySpreadConstraints"].clone();
            pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"] =
                json!([{"key": "app", "operator": "In", "values": ["x"]}]);
        })
    };
    assert!(told(&made(json!([{"name": "b"}])), &set, None).is_empty());
    assert!(!told(&made(json!([{"name": "c"}])), &set, None).is_empty());
}

#[test]
fn old_app_armor_annotations_become_fields() {
    let mut template = template();
    template["metadata"]["annotations"] =
        json!({"container.apparmor.security.beta.kubernetes.io/c": "localhost/mine"});
    let set = owner("apps/v1", "ReplicaSet", json!({"template": template}));
    let made = |profile: Value| {
        pod("x-a", |pod| {
            pod["metadata"]["annotations"] = template["metadata"]["annotations"].clone();
            if !profile.is_null() {
                pod["spec"]["containers"][0]["securityContext"] = json!({"appArmorProfile": profile});
            }
        })
    };
    assert!(told(&made(json!({"type": "Localhost", "localhostProfile": "mine"})), &set, None).is_empty());
    assert!(told(&made(Value::Null), &set, None).is_empty());
    assert!(!told(&made(json!({"type": "Unconfined"})), &set, None).is_empty());
}

#[test]
fn jobs_are_their_cron_jobs_template() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": template()}});
    let cron = owner("batch/v1", "CronJob", json!({"jobTemplate": template}));
    let made = |parallelism: u32| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x-1", "labels": {"a": "b"}},
        "spec": {"parallelism": parallelism, "completions": 1, "template": template["spec"]["template"]}})
    };
    assert!(told(&made(1), &cron, None).is_empty());
    assert_eq!(told(&made(9), &cron, None), ["spec.parallelism"]);
}

#[test]
fn selectors_select_as_kubernetes_does() {
    let labels = json!({"app": "x", "tier": "front"});
    for (selector, selected) in [
        (json!({"app": "x"}), true),
        (json!({"app": "y"}), false),
        (json!({}), false),
        (json!({"matchLabels": {"app": "x", "tier": "front"}}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}), true),
        (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}), false),
        (json!({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}), true),
        (
            json!({"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "zone", "operator": "Exists"}]}),
            false,
        ),
    ] {
        assert_eq!(selects_labels(&selector, Some(&labels)), selected, "{selector}");
    }
}

#[test]
fn claims_are_named_after_their_set() {
    for (claim, set) in [
        ("data-db-0", Some("db")),
        ("data-db-main-12", Some("db-main")),
        ("data-db-x", None),
        ("logs-db-0", None),
        ("data-0", None),
    ] {
        assert_eq!(claim_owner(claim, "data"), set, "{claim}");
    }
}

#[test]
fn a_node_evicts_what_does_not_tolerate_it() {
    let node = |effect: &str| json!({"spec": {"taints": [{"key": "node.kubernetes.io/unreachable", "effect": effect}]}});
    let pod = |toleration: Value| json!({"spec": {"tolerations": [toleration]}});
    let for_ever = json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists"});
    let for_a_while = json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    assert!(is_evicting(&node("NoExecute"), &pod(for_a_while)));
    assert!(!is_evicting(&node("NoExecute"), &pod(for_ever.clone())));
    assert!(!is_evicting(&node("NoSchedule"), &pod(json!({}))));
    assert!(!is_evicting(&node("NoExecute"), &pod(json!({"operator": "Exists"}))));
}

#[test]
fn most_replicas_are_the_own_and_the_surge() {
    for (surge, most) in [(json!(3), 13), (json!("25%"), 13), (json!(0), 11), (Value::Null, 11)] {
        let deployment =
            json!({"spec": {"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": surge}}}});
        assert_eq!(most_replicas(&deployment), Some(most), "{surge}");
    }
}

#[test]
fn a_rollouts_jobs_are_those_of_its_templates() {
    let rollout = owner("kubectl-gitops.dev/v1alpha1", "Rollout", json!({}));
    let job = |image: &str| {
        let pod = json!({"containers": [{"name": "c", "image": image}], "restartPolicy": "Never"});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x-1", "namespace": "shop",
            "labels": {"kubectl-gitops.dev/rollout": "u"}}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}})
    };
    let around = Surroundings { jobs: vec![job("other:1"), job("check:1")], ..Surroundings::default() };
    assert!(told(&job("check:1"), &rollout, Some(&around)).is_empty());
    let image = "spec.template.spec.containers[name=c].image";
    assert_eq!(told(&job("evil:1"), &rollout, Some(&around)), [image]);
    let mut another = job("check:1");
    another["metadata"]["labels"]["kubectl-gitops.dev/rollout"] = json!("v");
    assert!(!told(&another, &rollout, Some(&around)).is_empty(), "of another Rollout");
    assert!(!told(&job("check:1"), &rollout, None).is_empty(), "Git has no such template");
}
