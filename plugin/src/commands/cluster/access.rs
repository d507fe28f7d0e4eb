//! What a hub may do in a cluster that it syncs. In: the account's name, and the
//! namespaces that it may fill. Out: the objects that give it these rights, in
//! the order in which they are made.

use gitops_core::names::{GROUP, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

/// Label of what is made for a hub: its account's name.
pub const LABEL_ACCESS: &str = "kubectl-gitops.dev/hub-access";
const RBAC: &str = "rbac.authorization.k8s.io";
const WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

/// How far a hub's account reaches.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    pub account: &'a str,
    /// Where it may write.
    pub namespaces: &'a [String],
    /// Everything, everywhere.
    pub cluster_admin: bool,
}

impl Access<'_> {
    fn labels(&self) -> Value {
        json!({LABEL_ACCESS: self.account, "app.kubernetes.io/managed-by": "kubectl-gitops"})
    }

    /// The name of the Secret with the account's token.
    pub fn token(&self) -> String {
        format!("{}-token", self.account)
    }

    /// The namespaces that have to be there.
    pub fn needed(&self) -> Vec<String> {
        let own = [SYSTEM_NAMESPACE.to_owned()];
        own.into_iter().chain(self.namespaces.iter().cloned()).collect()
    }

    /// The account, its token and its rights.
    pub fn objects(&self) -> Vec<Value> {
        let (account, labels) = (self.account, self.labels());
        let here = json!({"name": account, "namespace": SYSTEM_NAMESPACE, "labels": labels});
        let token = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": {"name": self.token(), "namespace": SYSTEM_NAMESPACE, "labels": labels,
                "annotations": {"kubernetes.io/service-account.name": account}}});
        let mut objects = vec![
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here}),
            token,
            self.cluster_role(account, &reading()),
            self.cluster_binding(account, account),
        ];
        if self.cluster_admin {
            objects.push(self.cluster_binding(&format!("{account}-cluster-admin"), "cluster-admin"));
            return objects;
        }
        let apply = format!("{account}-apply");
        objects.push(self.cluster_role(&apply, &writing()));
        for namespace in self.namespaces {
            objects.push(json!({"apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
                "metadata": {"name": apply, "namespace": namespace, "labels": labels},
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": apply}, "subjects": [self.subject()]}));
        }
        objects
    }

    fn subject(&self) -> Value {
        json!({"kind": "ServiceAccount", "name": self.account, "namespace": SYSTEM_NAMESPACE})
    }

    fn cluster_role(&self, name: &str, rules: &Value) -> Value {
        json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole",
            "metadata": {"name": name, "labels": self.labels()}, "rules": rules})
    }

    fn cluster_binding(&self, name: &str, role: &str) -> Value {
        json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": name, "labels": self.labels()},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, "subjects": [self.subject()]})
    }
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": groups, "resources": resources, "verbs": verbs})
}

/// Everywhere: what is there, for drift and health. Secrets are read only where
/// they may be written.
fn reading() -> Value {
    const READ: &[&str] = &["get", "list", "watch"];
    let groups = [
        "apps",
        "batch",
        "autoscaling",
        "policy",
        "networking.k8s.io",
        "discovery.k8s.io",
        "gateway.networking.k8s.io",
        RBAC,
        "apiextensions.k8s.io",
        "admissionregistration.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    let core = [
        "namespaces",
        "nodes",
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ];
    json!([
        rule(&[GROUP], &["applications", "projects", "rollouts", "analysistemplates", "overrides"], READ),
        rule(&[""], &core, READ),
        rule(&groups, &["*"], READ),
    ])
}

/// In the namespaces of Applications and their objects: the kinds that
/// applications are made of, as the chart's controller may. With `manage`,
/// Applications are mirrored; what they may say, Projects of that cluster say.
fn writing() -> Value {
    let core = [
        "configmaps",
        "endpoints",
        "limitranges",
        "persistentvolumeclaims",
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "serviceaccounts",
        "services",
    ];
    json!([
        rule(&[""], &core, WRITE),
        rule(&["apps"], &["daemonsets", "deployments", "replicasets", "statefulsets"], WRITE),
        rule(&["batch"], &["cronjobs", "jobs"], WRITE),
        rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
        rule(&["policy"], &["poddisruptionbudgets"], WRITE),
        rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
        rule(&["discovery.k8s.io"], &["endpointslices"], WRITE),
        rule(
            &["gateway.networking.k8s.io"],
            &["gateways", "grpcroutes", "httproutes", "referencegrants"],
            WRITE
        ),
        rule(&[RBAC], &["roles", "rolebindings"], WRITE),
        rule(&[GROUP], &["applications", "rollouts", "analysistemplates"], WRITE),
        rule(&[GROUP], &["applications"], &["manage"]),
        // Where a rollout stands.
        rule(&[GROUP], &["rollouts/status"], &["get", "patch", "update"]),
        // No two syncs of an Application at once.
        rule(&["coordination.k8s.io"], &["leases"], WRITE),
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What the chart's controller may write, a hub may write elsewhere.
    #[test]
    fn a_hub_writes_what_the_charts_controller_writes() {
        let chart = include_str!("../../../../charts/gitops/templates/controller-rbac.yaml");
        let kinds =
            chart.split("name: gitops-controller-kinds").nth(1).unwrap().split("{{- range").next().unwrap();
        let mut listed: Vec<String> = Vec::new();
        for line in kinds.lines().filter_map(|line| line.trim().strip_prefix("resources: [")) {
            listed.extend(line.trim_end_matches(']').split(", ").map(str::to_owned));
        }
        listed.sort();
        let writing = writing();
        let rules = writing.as_array().unwrap().iter().filter(|rule| rule["verbs"] == json!(WRITE));
        let mut ours: Vec<String> = rules
            .flat_map(|rule| rule["resources"].as_array().unwrap())
            .map(|resource| resource.as_str().unwrap().to_owned())
            .collect();
        ours.sort();
        assert!(listed.len() > 20);
        assert_eq!(ours, listed);
    }

    #[test]
    fn the_least_is_given_unless_more_is_asked_for() {
        let namespaces = ["shop".to_owned()];
        let names = |cluster_admin| -> Vec<String> {
            let access = Access { account: "gitops-hub", namespaces: &namespaces, cluster_admin };
            let name = |object: &Value| {
                format!(
                    "{} {}",
                    object["kind"].as_str().unwrap(),
                    object["metadata"]["name"].as_str().unwrap()
                )
            };
            access.objects().iter().map(name).collect()
        };
        let least = names(false);
        assert!(least.contains(&"RoleBinding gitops-hub-apply".to_owned()), "{least:?}");
        assert!(!least.iter().any(|name| name.contains("admin")), "{least:?}");
        assert!(names(true).contains(&"ClusterRoleBinding gitops-hub-cluster-admin".to_owned()));
        let reads_secrets = reading().to_string().contains("secrets");
        assert!(!reads_secrets);
    }
}
