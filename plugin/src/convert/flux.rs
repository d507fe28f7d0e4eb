//! Flux's Kustomizations and HelmReleases. In: one of them, among the sources
//! that they name. Out: a draft of an Application.

mod kustomization;
mod release;
mod sources;

use gitops_api::application::HealthRule;
use gitops_engine::Rules;
use serde_json::{Map as Object, Value, json};

use super::field::{Field, Map, Resource, Weight};
use super::{Key, Made, Surroundings, cel, ignoring, put, some};

/// Every how often is asked, and how long is waited.
const TIMES: [(&str, &str); 3] = [
    (
        "interval",
        "repositories are looked at as the controller is set (controller.pollInterval), and at every push that is announced",
    ),
    ("retryInterval", "a sync that failed is tried again as spec.sync.retry says"),
    ("timeout", "how long objects may take to become healthy is asked by kubectl gitops sync --timeout"),
];

pub(super) fn application<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Made<'r>> {
    let group = resource.group().split('.').next().unwrap_or_default();
    let (weight, words) = match (group, resource.kind()) {
        ("kustomize", "Kustomization") => return kustomization::application(resource, around),
        ("helm", "HelmRelease") => return release::application(resource, around),
        // Read where they are named.
        ("source", "GitRepository" | "HelmRepository" | "OCIRepository" | "HelmChart" | "Bucket") => {
            return Some(Made::Left);
        }
        ("notification", "Receiver") => {
            (Weight::How, "it is not read: pushes are announced to the controller (docs/controller.md)")
        }
        ("notification", _) => (Weight::How, "it is not read: alerts come from metrics and Events"),
        ("image", _) => (
            Weight::How,
            "it is not read: no image is updated by itself; kubectl gitops rollout set-image commits one",
        ),
        _ => (
            Weight::What,
            "it is not read: take what it makes: kubectl get kustomizations,helmreleases,gitrepositories -A -o yaml | kubectl gitops init --from -",
        ),
    };
    resource.tell(around.findings, weight, words);
    Some(Made::Left)
}

/// The spec of a resource, and its labels.
fn begin<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<(Map<'r>, Option<Value>)> {
    let mut top = resource.top(around.findings);
    let labels = top.map("metadata").and_then(|mut metadata| metadata.take("labels")).filter(Field::is_said);
    // What the labels of Flux's own objects say is not so here.
    let labels = labels.and_then(|labels| {
        let own = |(name, _): &(&String, &Value)| !name.contains("fluxcd.io/");
        let kept: Object<String, Value> = labels
            .value
            .as_object()?
            .iter()
            .filter(own)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        (!kept.is_empty()).then(|| kept.into())
    });
    Some((top.map("spec")?, labels))
}

/// What Kustomizations and HelmReleases share.
fn common<'r>(
    fields: &mut Map<'r>,
    spec: &mut Object<String, Value>,
    (resource, kind): (&'r Resource, &str),
) -> Vec<(Key, Field<'r>)> {
    put(spec, "suspend", fields.is("suspend").then(|| true.into()));
    put(spec, "serviceAccountName", fields.text("serviceAccountName").map(Value::from));
    put(spec, "health", some(health(fields)));
    if let Some(field) = fields.take("kubeConfig").filter(Field::is_said) {
        let reference =
            field.value.pointer("/secretRef/name").or_else(|| field.value.pointer("/configMapRef/name"));
        let name = reference.and_then(Value::as_str).unwrap_or("elsewhere").trim_end_matches("-kubeconfig");
        field.tell(Weight::What, format!("it goes to another cluster, which has to be known by the name {name} here: kubectl gitops cluster add CONTEXT --name {name}"));
        let destination = spec.entry("destination").or_insert_with(|| json!({}));
        destination["cluster"] = name.into();
    }
    fields.leave(Weight::How, &TIMES);
    let mut after = Vec::new();
    for field in fields.items("dependsOn") {
        let mut on = field.clone().map();
        let Some(name) = on.text("name") else {
            field.tell(Weight::How, "it names nothing: left out");
            continue;
        };
        let namespace = on.text("namespace").unwrap_or_else(|| resource.namespace().to_owned());
        on.leave(
            Weight::How,
            &[("readyExpr", "the other one has to be healthy; spec.health says when that is")],
        );
        on.end();
        after.push(((resource.group().to_owned(), kind.to_owned(), namespace, name), field));
    }
    after
}

fn health(fields: &mut Map<'_>) -> Vec<Value> {
    let mut rules = Vec::new();
    for field in fields.items("healthCheckExprs") {
        let mut rule = field.clone().map();
        let (version, kind) = (rule.text("apiVersion").unwrap_or_default(), rule.text("kind"));
        let [current, progress, failed] = ["current", "inProgress", "failed"].map(|name| rule.text(name));
        rule.end();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let (Some(kind), Some(current)) = (kind, current) else {
            field.tell(Weight::How, "kind and current are needed: left out");
            continue;
        };
        let cel = cel::joined(&current, progress.as_deref(), failed.as_deref());
        let ours = HealthRule { group: group.to_owned(), kind, cel };
        match Rules::compile("", "spec.health", std::slice::from_ref(&ours)) {
            Ok(_) => rules.push(json!(ours)),
            Err(error) => field.tell(
                Weight::How,
                format!("it cannot be read here, and is left out: {error}; write it anew as spec.health (README.md)"),
            ),
        }
    }
    rules
}

/// Where Flux syncs by itself.
fn automatic() -> Object<String, Value> {
    [("mode".to_owned(), "Automatic".into())].into_iter().collect()
}

/// Adds to the destination.
fn goes(spec: &mut Object<String, Value>, field: &str, value: Value) {
    let destination = spec.entry("destination").or_insert_with(|| json!({}));
    destination[field] = value;
}

/// Differences that do not count.
fn ignored(rules: &[Field<'_>]) -> Option<Value> {
    some(ignoring::drift(rules))
}
