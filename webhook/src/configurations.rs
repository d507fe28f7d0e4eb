//! What the API server asks this program about. In: the index. Out: both
//! webhook configurations, whose rules, selectors and CA are owned here, by
//! server-side apply.

use std::collections::{BTreeMap, BTreeSet};

use gitops_cluster::{ApplyOptions, Cluster, Discovery, Kind};
use gitops_core::names::{FIELD_MANAGER_WEBHOOK, GROUP};
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::{Value, json};

use crate::asked::{self, Beside};
use crate::error::Error;
use crate::settings::Settings;

const OPERATIONS: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];

/// The kinds and namespaces that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub kinds: BTreeSet<Gvk>,
    /// Kinds that Git itself defines: their first objects are asked about, too.
    pub defined: Vec<Kind>,
    pub namespaces: BTreeSet<String>,
    pub beside: Beside,
}

/// Both configurations.
pub fn build(settings: &Settings, ca_bundle: &str, discovery: &Discovery, scope: &Scope) -> [Value; 2] {
    let defined = |gvk: &Gvk| scope.defined.iter().find(|kind| kind.gvk == *gvk);
    let kinds: Vec<&Kind> =
        scope.kinds.iter().filter_map(|gvk| discovery.kind(gvk).or_else(|| defined(gvk))).collect();
    let namespaced: Vec<&Kind> = kinds.iter().copied().filter(|kind| kind.namespaced).collect();
    let cluster: Vec<&Kind> =
        kinds.iter().copied().filter(|kind| !kind.namespaced && kind.gvk.kind != "Namespace").collect();
    let entry = |name: &str, path: &str, policy: &str, rules: Vec<Value>| {
        json!({
            "name": format!("{name}.{GROUP}"),
            "clientConfig": client(settings, path, ca_bundle),
            "admissionReviewVersions": ["v1"],
            "failurePolicy": policy,
            "matchPolicy": "Equivalent",
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": 3,
            // Written, so that nobody else's stays.
            "objectSelector": {},
            "rules": rules,
        })
    };
    let namespaces: Vec<&String> = scope.namespaces.iter().collect();
    // No namespace matches the empty name, so nothing is asked about.
    let values = if namespaces.is_empty() { json!([""]) } else { json!(namespaces) };
    let selector = json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": values}]});

    let mut validate_rules = rules(&namespaced, true);
    validate_rules.extend(asked::rules(&namespaced, discovery, scope.beside));
    let mut validate = entry("validate", "/validate", "Fail", validate_rules);
    let mut mutate_rules = rules(&namespaced, false);
    mutate_rules.push(json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"], "scope": "Namespaced"}));
    let mut mutate = entry("mutate", "/mutate", "Ignore", mutate_rules);
    mutate["reinvocationPolicy"] = json!("IfNeeded");
    for held in [&mut validate, &mut mutate] {
        held["namespaceSelector"] = selector.clone();
        if scope.namespaces.is_empty() {
            held["rules"] = json!([]);
        }
    }
    // Who opens an Override or asks the controller for something is stamped on
    // it, in every namespace.
    let mut stamp = entry(
        "stamp",
        "/mutate",
        "Ignore",
        vec![
            json!({"apiGroups": [GROUP], "apiVersions": ["v1alpha1"], "resources": ["overrides"], "operations": ["CREATE"], "scope": "Cluster"}),
            json!({"apiGroups": [GROUP], "apiVersions": ["v1alpha1"], "resources": ["applications", "rollouts"], "operations": ["CREATE", "UPDATE"], "scope": "Namespaced"}),
        ],
    );
    stamp["reinvocationPolicy"] = json!("IfNeeded");
    let one = |group: &str, resources: &[&str], operations: &[&str]| json!({"apiGroups": [group], "apiVersions": ["*"], "resources": resources, "operations": operations, "scope": "*"});
    let namespaces = entry(
        "namespaces",
        "/validate",
        "Fail",
        vec![one("", &["namespaces", "namespaces/status", "namespaces/finalize"], &OPERATIONS)],
    );
    let mut cluster_rules = rules(&cluster, true);
    cluster_rules.push(json!({"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"], "resources": ["customresourcedefinitions"], "operations": ["DELETE"], "scope": "Cluster"}));
    let cluster = entry("cluster", "/validate", "Fail", cluster_rules);
    let own = entry(
        "own",
        "/validate",
        "Fail",
        vec![one(
            GROUP,
            &["applications", "projects", "overrides", "rollouts", "analysistemplates"],
            &OPERATIONS,
        )],
    );
    let configuration = |kind: &str, webhooks: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": settings.config_name}, "webhooks": webhooks});
    [
        configuration("ValidatingWebhookConfiguration", json!([validate, namespaces, cluster, own])),
        configuration("MutatingWebhookConfiguration", json!([mutate, stamp])),
    ]
}

fn client(settings: &Settings, path: &str, ca_bundle: &str) -> Value {
    match &settings.url {
        Some(url) => {
            json!({"url": format!("{}{path}", url.as_str().trim_end_matches('/')), "caBundle": ca_bundle})
        }
        None => {
            json!({"service": {"name": settings.service, "namespace": settings.namespace, "path": path, "port": 443}, "caBundle": ca_bundle})
        }
    }
}

/// One rule a kind, in exactly the version in which it is declared: others are
/// converted to it (matchPolicy Equivalent).
fn rules(kinds: &[&Kind], with_subresources: bool) -> Vec<Value> {
    let mut by_version: BTreeMap<(String, String, bool), Vec<String>> = BTreeMap::new();
    for kind in kinds {
        let resources = by_version
            .entry((kind.gvk.group.clone(), kind.gvk.version.clone(), kind.namespaced))
            .or_default();
        resources.push(kind.plural.clone());
        let subresources = kind
            .subresources
            .iter()
            .filter(|name| with_subresources && matches!(name.as_str(), "scale" | "status"));
        resources.extend(subresources.map(|name| format!("{}/{name}", kind.plural)));
    }
    let rule = |((group, version, namespaced), resources): ((String, String, bool), Vec<String>)| json!({"apiGroups": [group], "apiVersions": [version], "resources": resources, "operations": OPERATIONS, "scope": if namespaced { "Namespaced" } else { "Cluster" }});
    by_version.into_iter().map(rule).collect()
}

/// Writes both configurations.
pub async fn apply(cluster: &Cluster, discovery: &Discovery, configurations: &[Value]) -> Result<(), Error> {
    let options = ApplyOptions { field_manager: FIELD_MANAGER_WEBHOOK, ..ApplyOptions::default() };
    for configuration in configurations {
        let (Ok(gvk), Ok(key)) = (Gvk::of(configuration), ObjectKey::of(configuration)) else { continue };
        if let Some(kind) = discovery.kind(&gvk) {
            cluster.apply(kind, &key, configuration, &options).await?;
        }
    }
    Ok(())
}
