//! What the API server is asked about beside declared kinds. In: the kinds
//! there are, and how Applications are held. Out: rules for children of
//! declared objects, for work in running Pods, and for what nobody declares.
//! No resource is named twice, and each in one version.

use std::collections::BTreeSet;

use gitops_cluster::{Discovery, Kind};
use gitops_core::children::is_record;
use gitops_core::names::GROUP;
use gitops_core::verdict::{Interactive, Policy, Untracked};
use serde_json::{Value, json};

/// Children that may be anything their owner is not, and where an orphaning
/// delete leaves something behind: resources by group and version.
const OWNING: &[(&str, &str, &[&str])] = &[
    ("", "v1", &["replicationcontrollers", "replicationcontrollers/status", "replicationcontrollers/scale"]),
    ("apps", "v1", &["replicasets", "replicasets/status", "replicasets/scale"]),
    ("batch", "v1", &["jobs", "jobs/status"]),
];

/// Children that own nothing: their deletes are not asked about.
const LEAVES: &[(&str, &str, &[&str])] = &[
    ("", "v1", &["pods", "pods/status", "endpoints"]),
    ("apps", "v1", &["controllerrevisions"]),
    ("discovery.k8s.io", "v1", &["endpointslices"]),
];

/// How much is asked about beside declared kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Work in running Pods matters to some Application.
    pub interactive: bool,
    /// What nobody declares matters to some Application.
    pub untracked: bool,
}

impl Beside {
    /// Asks about what matters to one more Application.
    pub fn widen(&mut self, policy: &Policy) {
        self.interactive |= policy.interactive != Interactive::Allow;
        self.untracked |= policy.untracked != Untracked::Allow;
    }
}

/// The rules for all of these; `declared` kinds are asked about already.
pub fn rules(declared: &[&Kind], discovery: &Discovery, beside: Beside) -> Vec<Value> {
    let named = |group: &str, resource: &str| {
        let main = resource.split('/').next().unwrap_or(resource);
        declared.iter().any(|kind| kind.gvk.group == group && kind.plural == main)
    };
    let mut rules = Vec::new();
    for (table, operations) in
        [(OWNING, &["CREATE", "UPDATE", "DELETE"][..]), (LEAVES, &["CREATE", "UPDATE"])]
    {
        for (group, version, resources) in table {
            let resources = resources.iter().copied().filter(|resource| !named(group, resource)).collect();
            rules.extend(rule(group, version, resources, operations));
        }
    }
    if beside.interactive {
        rules.extend(rule("", "v1", vec!["pods/ephemeralcontainers", "pods/resize"], &["UPDATE"]));
        let connected = vec!["pods/attach", "pods/exec", "pods/portforward", "pods/proxy"];
        rules.extend(rule("", "v1", connected, &["CONNECT"]));
    }
    if beside.untracked {
        rules.extend(everything(discovery, |group, plural| {
            let children = [OWNING, LEAVES].into_iter().flatten();
            let mut children = children.filter(|(of, ..)| *of == group);
            named(group, plural) || children.any(|(_, _, resources)| resources.contains(&plural))
        }));
    }
    rules
}

fn rule(group: &str, version: &str, resources: Vec<&str>, operations: &[&str]) -> Option<Value> {
    (!resources.is_empty()).then(|| {
        json!({"apiGroups": [group], "apiVersions": [version], "resources": resources, "operations": operations, "scope": "Namespaced"})
    })
}

/// Every other namespaced kind, when it is made.
fn everything(discovery: &Discovery, is_named: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let mut by_version: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for kind in discovery.kinds() {
        let (group, plural) = (kind.gvk.group.as_str(), kind.plural.as_str());
        let made = kind.namespaced && kind.verbs.iter().any(|verb| verb == "create");
        // Our own kinds have an entry of their own.
        if !made || group == GROUP || is_record(group, &kind.gvk.kind) || is_named(group, plural) {
            continue;
        }
        if seen.insert((group, plural)) {
            let version = (group, kind.gvk.version.as_str());
            match by_version.iter_mut().find(|(known, _)| *known == version) {
                Some((_, resources)) => resources.push(plural),
                None => by_version.push((version, vec![plural])),
            }
        }
    }
    let rules = by_version.into_iter();
    rules.filter_map(|((group, version), resources)| rule(group, version, resources, &["CREATE"])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gitops_core::object::Gvk;

    use super::*;

    fn kind(api_version: &str, name: &str, plural: &str) -> Kind {
        Kind {
            gvk: Gvk::new(api_version, name),
            plural: plural.into(),
            namespaced: true,
            verbs: vec!["create".into()],
            subresources: Vec::new(),
        }
    }

    #[test]
    fn no_resource_is_named_twice_and_records_are_not_asked_about() {
        let kinds = vec![
            kind("v1", "Pod", "pods"),
            kind("v1", "ConfigMap", "configmaps"),
            kind("v1", "Event", "events"),
            kind("events.k8s.io/v1", "Event", "events"),
            kind("coordination.k8s.io/v1", "Lease", "leases"),
            kind("batch/v1", "Job", "jobs"),
            kind("batch/v1", "CronJob", "cronjobs"),
            kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
            kind("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
            kind("kubectl-gitops.dev/v1alpha1", "Application", "applications"),
        ];
        let discovery: Discovery =
            serde_json::from_value(json!({"kinds": kinds})).expect("as it is kept on disk");
        let declared = kind("batch/v1", "Job", "jobs");
        let beside = Beside { interactive: true, untracked: true };
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rule in rules(&[&declared], &discovery, beside) {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                let name = format!("{} {resource}", rule["apiGroups"][0]);
                named.entry(name).or_default().push(rule["apiVersions"].to_string());
            }
        }
        let has = |group: &str, resource: &str| named.contains_key(&format!("{group:?} {resource:?}"));
        assert!(named.values().all(|versions| versions.len() == 1), "{named:?}");
        assert!(has("", "pods") && has("", "configmaps") && has("batch", "cronjobs") && has("", "pods/exec"));
        assert!(!has("batch", "jobs"), "declared already");
        assert!(
            !has("", "events") && !has("events.k8s.io", "events") && !has("coordination.k8s.io", "leases")
        );
        assert!(!has("kubectl-gitops.dev", "applications"));
        let few = rules(&[], &discovery, Beside::default());
        assert!(
            few.iter()
                .all(|rule| !rule.to_string().contains("configmaps") && !rule.to_string().contains("exec"))
        );
    }
}
