#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::order::ORDER;
use super::*;
use crate::desired::{AppRef, DesiredObject};
use crate::fixture::declared;

fn object(kind: &str, name: &str) -> DesiredObject {
    let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"a": "1"}});
    declared(value)
}

fn set(objects: &[(&str, &str)]) -> DesiredSet {
    let objects: BTreeMap<_, _> =
        objects.iter().map(|(kind, name)| object(kind, name)).map(|o| (o.key.clone(), o)).collect();
    DesiredSet {
        application: AppRef { namespace: "n".into(), name: "a".into() },
        revision: "c".into(),
        objects,
    }
}

fn run(desired: &DesiredSet, live: &[Value], earlier: &[(&str, &str)]) -> Plan {
    let live: BTreeMap<ObjectKey, Value> =
        live.iter().map(|v| (ObjectKey::of(v).unwrap(), v.clone())).collect();
    let earlier: Vec<_> =
        earlier.iter().map(|(kind, name)| object(kind, name)).map(|o| (o.key, o.gvk)).collect();
    plan(
        desired,
        |key| live.get(key),
        &earlier,
        &Schemas::builtin(),
        &Policy::default(),
        &Options::default(),
        |_| false,
    )
    .unwrap()
}

#[test]
fn what_is_known_to_be_the_same_is_not_compared() {
    let desired = set(&[("ConfigMap", "a"), ("ConfigMap", "b")]);
    let mut live = object("ConfigMap", "a").value;
    live["data"]["a"] = json!("2");
    let same = |key: &ObjectKey| key.name == "a";
    let (schemas, policy) = (Schemas::builtin(), Policy::default());
    let plan = plan(&desired, |_| Some(&live), &[], &schemas, &policy, &Options::default(), same).unwrap();
    let actions: Vec<_> = plan.steps.iter().map(|s| (s.key.name.as_str(), s.action)).collect();
    assert_eq!(actions, [("a", Action::Unchanged), ("b", Action::Update)]);
}

#[test]
fn each_object_gets_its_action() {
    let desired = set(&[("ConfigMap", "new"), ("ConfigMap", "same"), ("ConfigMap", "other")]);
    let mut other = object("ConfigMap", "other").value.into_value();
    other["data"]["a"] = json!("2");
    let plan = run(
        &desired,
        &[object("ConfigMap", "same").value.into_value(), other],
        &[("ConfigMap", "gone"), ("ConfigMap", "same")],
    );
    let actions: Vec<_> = plan.steps.iter().map(|s| (s.key.name.as_str(), s.action)).collect();
    assert_eq!(
        actions,
        [
            ("new", Action::Create),
            ("other", Action::Update),
            ("same", Action::Unchanged),
            ("gone", Action::Prune)
        ]
    );
    assert!(!plan.is_settled());
}

#[test]
fn kinds_come_in_the_order_they_are_needed() {
    let desired = set(&[
        ("Deployment", "d"),
        ("Widget", "w"),
        ("Namespace", "n"),
        ("ValidatingWebhookConfiguration", "v"),
        ("Service", "s"),
        ("CustomResourceDefinition", "c"),
    ]);
    let plan = run(&desired, &[], &[("Service", "old"), ("Deployment", "old"), ("Namespace", "old")]);
    let kinds: Vec<_> = plan.steps.iter().map(|s| s.key.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "Namespace",
            "CustomResourceDefinition",
            "Service",
            "Widget",
            "Deployment",
            "ValidatingWebhookConfiguration",
            "Deployment",
            "Service",
            "Namespace"
        ]
    );
}

proptest! {
    #[test]
    fn groups_never_go_back(kinds in proptest::collection::vec(proptest::sample::select(ORDER), 1..20), old in proptest::collection::vec(proptest::sample::select(ORDER), 0..9)) {
        let desired: Vec<(&str, String)> = kinds.iter().enumerate().map(|(i, k)| (*k, format!("o{i}"))).collect();
        let desired: Vec<(&str, &str)> = desired.iter().map(|(k, n)| (*k, n.as_str())).collect();
        let old: Vec<(&str, &str)> = old.iter().map(|kind| (*kind, "old")).collect();
        let plan = run(&set(&desired), &[], &old);
        prop_assert!(plan.steps.windows(2).all(|pair| pair[0].group <= pair[1].group));
        prop_assert!(plan.steps.iter().skip_while(|s| s.action != Action::Prune).all(|s| s.action == Action::Prune));
    }
}

fn annotated(kind: &str, name: &str, annotations: Value) -> DesiredObject {
    let api = if kind == "Job" { "batch/v1" } else { "v1" };
    let value =
        json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "annotations": annotations}});
    declared(value)
}

fn of(objects: Vec<DesiredObject>) -> DesiredSet {
    DesiredSet { objects: objects.into_iter().map(|o| (o.key.clone(), o)).collect(), ..set(&[]) }
}

/// What is done with one object under these annotations, in a word or two.
fn told(annotations: Value) -> String {
    let options = Options::default();
    let plan = match plan(
        &of(vec![annotated("Job", "j", annotations)]),
        |_| None,
        &[],
        &Schemas::builtin(),
        &Policy::default(),
        &options,
        |_| false,
    ) {
        Ok(plan) => plan,
        Err(errors) => return errors.iter().map(ToString::to_string).collect(),
    };
    let steps = plan.steps.iter().map(|step| format!("apply at {}", step.wave));
    let hooks = plan.hooks.iter().map(|hook| format!("{:?} at {}, {:?}", hook.phase, hook.wave, hook.delete));
    let told: Vec<String> = steps.chain(hooks).collect();
    if told.is_empty() { "nothing".into() } else { told.join("; ").replace(['{', '}'], "") }
}

/// Argo CD's documentation (user-guide/sync-waves.md, helm.md), case by case.
#[test]
fn annotations_mean_what_argo_cd_says() {
    let before = "BeforeHookCreation";
    let cases: Vec<(Value, String)> = vec![
        (json!({}), "apply at 0".into()),
        (json!({"argocd.argoproj.io/sync-wave": "5"}), "apply at 5".into()),
        (json!({"argocd.argoproj.io/sync-wave": "-5"}), "apply at -5".into()),
        (json!({"argocd.argoproj.io/sync-wave": "5", "kubectl-gitops.dev/sync-wave": "1"}), "apply at 1".into()),
        (json!({"argocd.argoproj.io/hook": "PreSync"}), format!("PreSync at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "Sync", "argocd.argoproj.io/sync-wave": "2"}), format!("Sync at 2, {before}")),
        (json!({"argocd.argoproj.io/hook": "PostSync"}), format!("PostSync at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "SyncFail"}), format!("SyncFail at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "PreDelete,PostDelete"}), format!("PreDelete at 0, {before}; PostDelete at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "Skip"}), "nothing".into()),
        (json!({"argocd.argoproj.io/hook": "PreSync, PostSync"}), format!("PreSync at 0, {before}; PostSync at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "PreSync", "kubectl-gitops.dev/hook": "PostSync"}), format!("PostSync at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "PreSync", "helm.sh/hook": "post-install"}), format!("PreSync at 0, {before}")),
        (json!({"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": "HookSucceeded,HookFailed"}), "PreSync at 0, HookSucceeded, HookFailed".into()),
        (json!({"argocd.argoproj.io/hook-delete-policy": "HookSucceeded"}), "apply at 0".into()),
        (json!({"helm.sh/hook": "crd-install"}), "apply at 0".into()),
        (json!({"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "-3"}), format!("PreSync at -3, {before}")),
        (json!({"helm.sh/hook": "post-install"}), format!("PostSync at 0, {before}")),
        (json!({"helm.sh/hook": "post-upgrade"}), format!("PostSync at 0, {before}")),
        (json!({"helm.sh/hook": "pre-delete"}), format!("PreDelete at 0, {before}")),
        (json!({"helm.sh/hook": "post-delete"}), format!("PostDelete at 0, {before}")),
        (json!({"helm.sh/hook": "test"}), "nothing".into()),
        (json!({"helm.sh/hook": "pre-rollback"}), "nothing".into()),
        (json!({"helm.sh/hook": "pre-install", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}), "PreSync at 0, BeforeHookCreation, HookSucceeded".into()),
        (json!({"helm.sh/hook": "pre-install", "helm.sh/hook-weight": "1", "argocd.argoproj.io/sync-wave": "4"}), format!("PreSync at 4, {before}")),
        (json!({"argocd.argoproj.io/sync-wave": "first"}), "f:1: batch/v1 Job j: annotation argocd.argoproj.io/sync-wave is \"first\": it takes a whole number, such as -1".into()),
        (json!({"argocd.argoproj.io/hook": "BeforeSync"}), "f:1: batch/v1 Job j: annotation argocd.argoproj.io/hook is \"BeforeSync\": it takes PreSync, Sync, PostSync, SyncFail, PreDelete, PostDelete, Skip".into()),
        (json!({"argocd.argoproj.io/hook": "Sync", "argocd.argoproj.io/hook-delete-policy": "Never"}), "f:1: batch/v1 Job j: annotation argocd.argoproj.io/hook-delete-policy is \"Never\": it takes BeforeHookCreation, HookSucceeded, HookFailed".into()),
        (json!({"argocd.argoproj.io/sync-options": "Prune=false,Magic=true"}), "f:1: batch/v1 Job j: annotation argocd.argoproj.io/sync-options is \"Prune=false,Magic=true\": sync option Magic is unknown".into()),
        (json!({"argocd.argoproj.io/sync-options": "CreateNamespace=true"}), "f:1: batch/v1 Job j: annotation argocd.argoproj.io/sync-options is \"CreateNamespace=true\": sync option CreateNamespace is an Application's, not an object's".into()),
    ];
    for (annotations, expected) in cases {
        assert_eq!(told(annotations.clone()), expected, "{annotations}");
    }
}

#[test]
fn a_mistake_quotes_nothing_that_git_keeps_encrypted() {
    let mut job = annotated("Job", "j", json!({"argocd.argoproj.io/sync-wave": "hunter2"}));
    job.origin.confidential = ["hunter2".to_owned()].into();
    let errors = plan(
        &of(vec![job]),
        |_| None,
        &[],
        &Schemas::builtin(),
        &Policy::default(),
        &Options::default(),
        |_| false,
    )
    .unwrap_err();
    let told = errors[0].to_string();
    assert!(told.contains("sync-wave is \"***\"") && !told.contains("hunter2"), "{told}");
}

#[test]
fn an_objects_options_go_before_its_applications() {
    let application =
        Options::read(["Prune=false", "PruneLast=true", "PrunePropagationPolicy=orphan"], false).unwrap();
    let own = |text: &str| {
        let object = annotated("Job", "j", json!({"argocd.argoproj.io/sync-options": text}));
        annotations::options(&object.value).unwrap().over(&application)
    };
    assert_eq!(own("Prune=true").prune, Some(Pruning::Allowed));
    assert_eq!((own("Force=true").prune, own("Force=true").force), (Some(Pruning::Never), Some(true)));
    assert_eq!(own("Delete=confirm").propagation, Some(Propagation::Orphan));
    let keeps = Options::read(["Conflicts=keep"], false).unwrap();
    let conflicts = |text: &str| Options::read([text], true).unwrap().over(&keeps).conflicts;
    assert_eq!(
        [conflicts("Conflicts=take"), conflicts("Prune=true")],
        [Some(Conflicts::Take), Some(Conflicts::Keep)]
    );
    let kept = annotated("Job", "j", json!({"helm.sh/resource-policy": "keep"}));
    let kept = annotations::options(&kept.value).unwrap();
    assert_eq!((kept.prune, kept.delete), (Some(Pruning::Never), Some(Pruning::Never)));
    for (word, part) in [
        ("Prune", "written Name=value"),
        ("Prune=maybe", "true, false or confirm"),
        ("Sorcery=true", "Sorcery is unknown"),
        ("RespectIgnoreDifferences=false", "not supported"),
        ("PrunePropagationPolicy=slow", "background, foreground or orphan"),
        ("Conflicts=force", "take, keep or fail"),
    ] {
        assert!(Options::read([word], false).unwrap_err().contains(part), "{word}");
    }
}

#[test]
fn what_is_pruned_goes_in_reverse_and_hooks_stay() {
    let live: Vec<Value> = [
        ("ConfigMap", "a", json!({"argocd.argoproj.io/sync-wave": "1"})),
        ("ConfigMap", "b", json!({"argocd.argoproj.io/sync-wave": "2"})),
        ("Deployment", "c", json!({"argocd.argoproj.io/sync-wave": "1"})),
        (
            "ConfigMap",
            "last",
            json!({"argocd.argoproj.io/sync-wave": "3", "argocd.argoproj.io/sync-options": "PruneLast=true"}),
        ),
        ("ConfigMap", "kept", json!({"argocd.argoproj.io/sync-options": "Prune=false"})),
        ("ConfigMap", "unread", json!({"argocd.argoproj.io/sync-options": "Prume=true"})),
        ("Job", "hook", json!({"argocd.argoproj.io/hook": "PreSync"})),
        ("ConfigMap", "extra", json!({"argocd.argoproj.io/compare-options": "IgnoreExtraneous"})),
    ]
    .into_iter()
    .map(|(kind, name, annotations)| annotated(kind, name, annotations).value.into_value())
    .collect();
    let earlier: Vec<_> = live.iter().map(|v| (ObjectKey::of(v).unwrap(), Gvk::of(v).unwrap())).collect();
    let find = |key: &ObjectKey| live.iter().find(|value| ObjectKey::of(value).as_ref() == Ok(key));
    let plan =
        plan(&set(&[]), find, &earlier, &Schemas::builtin(), &Policy::default(), &Options::default(), |_| {
            false
        })
        .unwrap();
    let names: Vec<_> = plan.steps.iter().map(|step| (step.key.name.as_str(), step.is_kept())).collect();
    assert_eq!(
        names,
        [("b", false), ("c", false), ("a", false), ("unread", true), ("kept", true), ("last", false)]
    );
    assert_eq!(Budget { count: 20, percent: 30 }.doubt(&plan, false), Some(Doubt::Empty { pruned: 4 }));
    assert_eq!(Budget { count: 20, percent: 30 }.doubt(&plan, true), None);
}

#[test]
fn what_asks_to_be_confirmed_is_named() {
    let live = annotated("ConfigMap", "a", json!({"argocd.argoproj.io/sync-options": "Prune=confirm"})).value;
    let plan = plan(
        &set(&[("ConfigMap", "b")]),
        |key| (key.name == "a").then_some(&live),
        &[(ObjectKey::of(&live).unwrap(), Gvk::of(&live).unwrap())],
        &Schemas::builtin(),
        &Policy::default(),
        &Options::default(),
        |_| false,
    )
    .unwrap();
    let doubt = Budget { count: 20, percent: 30 }.doubt(&plan, false).unwrap();
    assert_eq!(doubt.to_string(), "pruning is to be confirmed (Prune=confirm): ConfigMap a");
}

#[test]
fn a_hook_ends_as_its_kind_does() {
    let state = |api: &str, kind: &str, spec: Value, status: Value| {
        hook_state(
            &json!({"apiVersion": api, "kind": kind, "metadata": {"name": "h"}, "spec": spec, "status": status}),
        )
    };
    let job = |status: Value| state("batch/v1", "Job", json!({}), status);
    let ended = |kind: &str| job(json!({"conditions": [{"type": kind, "status": "True", "message": "why"}]}));
    assert_eq!(ended("Complete"), HookState::Succeeded);
    assert_eq!(ended("Failed"), HookState::Failed("it has failed: why (0 Pods failed)".into()));
    assert!(matches!(job(json!({"active": 1})), HookState::Running(_)));
    let pod = |policy: &str, phase: &str| {
        state(
            "v1",
            "Pod",
            json!({"restartPolicy": policy}),
            json!({"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}),
        )
    };
    assert_eq!(pod("Never", "Succeeded"), HookState::Succeeded);
    assert!(matches!(pod("Never", "Failed"), HookState::Failed(_)));
    assert!(matches!(pod("Never", "Running"), HookState::Running(_)));
    assert_eq!(pod("Always", "Running"), HookState::Succeeded);
    assert_eq!(state("v1", "ConfigMap", json!({}), json!({})), HookState::Succeeded);
    let flow = |phase: &str| state("argoproj.io/v1alpha1", "Workflow", json!({}), json!({"phase": phase}));
    assert_eq!(flow("Succeeded"), HookState::Succeeded);
    assert!(matches!((flow("Error"), flow("Running")), (HookState::Failed(_), HookState::Running(_))));
}

proptest! {
    #[test]
    fn order_is_by_wave_kind_and_name(objects in proptest::collection::vec((proptest::sample::select(ORDER), -3..4_i32), 1..30)) {
        let objects = objects.iter().enumerate().map(|(at, (kind, wave))| annotated(kind, &format!("o{at}"), json!({"argocd.argoproj.io/sync-wave": wave.to_string()})));
        let plan = plan(&of(objects.collect()), |_| None, &[], &Schemas::builtin(), &Policy::default(), &Options::default(), |_| false).unwrap();
        let place = |step: &Step| (step.wave, order_of(&step.key.kind), step.key.kind.clone(), step.key.name.clone());
        prop_assert!(plan.steps.windows(2).all(|pair| place(&pair[0]) <= place(&pair[1])));
        // One group holds one wave.
        prop_assert!(plan.steps.windows(2).all(|pair| pair[0].group != pair[1].group || pair[0].wave == pair[1].wave));
    }

    #[test]
    fn no_more_goes_than_the_budget_allows(stay in 1..60_usize, go in 0..60_usize, count in 0..40_usize, percent in 0..=100_usize) {
        let names: Vec<String> = (0..stay.max(go)).map(|at| format!("o{at}")).collect();
        let desired: Vec<(&str, &str)> = names.iter().take(stay).map(|name| ("ConfigMap", name.as_str())).collect();
        let live: Vec<Value> = names.iter().take(stay).map(|name| object("ConfigMap", name).value.into_value()).collect();
        let earlier: Vec<(&str, &str)> = names.iter().take(go).map(|name| ("Secret", name.as_str())).collect();
        let plan = run(&set(&desired), &live, &earlier);
        let budget = Budget { count, percent };
        let confirmed = budget.doubt(&plan, false).is_none();
        prop_assert_eq!(confirmed, go <= budget.allows(stay + go) || go == 0);
        if confirmed && go > 1 {
            prop_assert!(go <= count && go * 100 <= percent * (stay + go));
        }
    }
}
