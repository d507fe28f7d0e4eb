//! Argo CD's Applications. In: one of them. Out: a draft of ours.

mod helm;
mod source;
mod sync;

use gitops_core::names::IN_CLUSTER;
use serde_json::{Map as Object, Value};

use super::field::{Field, Map, Resource, Weight};
use super::{Draft, Made, Surroundings, ignoring, put, some};

/// The cluster that Argo CD runs in, as it calls it.
const HERE: [&str; 2] = ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"];

const RENDERED: &str = "what it makes is not read: kubectl get applications.argoproj.io -A -o yaml | \
     kubectl gitops init --from - takes what it has made (or: argocd appset generate FILE -o yaml)";
const PROJECT: &str = "it is not read: where the webhook or the controller is installed, write a Project, which says \
     which repositories may fill which namespaces (README.md)";

pub(super) fn application<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Made<'r>> {
    match resource.kind() {
        "Application" => {}
        "ApplicationSet" => {
            resource.tell(around.findings, Weight::What, RENDERED);
            return None;
        }
        _ => {
            resource.tell(around.findings, Weight::How, PROJECT);
            return Some(Made::Left);
        }
    }
    let mut top = resource.top(around.findings);
    let labels = metadata(&mut top);
    // What was asked for once, and what came of it.
    top.pass(&["apiVersion", "kind", "status", "operation"]);
    let fields = top.map("spec");
    top.end();
    let Some(mut fields) = fields else {
        resource.tell(around.findings, Weight::What, "it has no spec: left out");
        return None;
    };
    let mut spec = Object::new();
    if let Some(project) = fields.take("project").filter(|project| project.value != "default") {
        project.tell(
            Weight::How,
            "a Project of this name has to be there where the webhook or the controller is installed",
        );
        put(&mut spec, "project", project.text().map(Value::from));
    }
    let destination = destination(&mut fields, around);
    let sources = source::all(&mut fields, resource, &destination, around);
    put(&mut spec, "destination", (!destination.is_empty()).then(|| destination.into()));
    sync::policy(&mut fields, &mut spec);
    put(&mut spec, "ignore", some(ignoring::differences(&mut fields)));
    fields.leave(
        Weight::How,
        &[
            ("revisionHistoryLimit", "Git is the history: kubectl gitops history"),
            ("info", "it is nowhere shown here: keep it as a comment"),
        ],
    );
    fields.end();
    let sources = sources?;
    if sources.is_empty() {
        return Some(Made::Left);
    }
    match sources {
        mut sources if sources.len() == 1 => put(&mut spec, "source", sources.pop()),
        sources => put(&mut spec, "sources", some(sources)),
    }
    let draft = Draft { of: resource, labels, spec, after: Vec::new(), may_release: true };
    Some(Made::Application(Box::new(draft)))
}

/// Labels, which go along; and what else there is.
fn metadata(top: &mut Map<'_>) -> Option<Value> {
    let mut metadata = top.map("metadata")?;
    let labels = metadata.take("labels").filter(Field::is_said).map(|labels| labels.value.clone());
    if let Some(mut annotations) = metadata.map("annotations") {
        annotations.pass(&["kubectl.kubernetes.io/last-applied-configuration", "argocd.argoproj.io/refresh"]);
        annotations.leave(
            Weight::How,
            &[
                (
                    "argocd.argoproj.io/sync-wave",
                    "Applications have no waves: say by spec.dependsOn which come first",
                ),
                ("argocd.argoproj.io/manifest-generate-paths", "what a render reads is known here"),
            ],
        );
        annotations.rest(Weight::How, "annotations of an Application do nothing here");
    }
    if let Some(finalizers) = metadata.take("finalizers").filter(Field::is_said) {
        finalizers.tell(Weight::How, "deleting an Application of the cluster leaves its objects: kubectl gitops delete, or app delete --cascade, takes them along");
    }
    metadata.pass(&[
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ]);
    metadata.pass(&["ownerReferences", "selfLink"]);
    metadata.end();
    labels
}

fn destination(spec: &mut Map<'_>, around: &Surroundings<'_, '_>) -> Object<String, Value> {
    let mut ours = Object::new();
    let Some(mut destination) = spec.map("destination") else { return ours };
    match (destination.take("name").filter(Field::is_said), destination.take("server").filter(Field::is_said))
    {
        (Some(name), _) if name.value != IN_CLUSTER => {
            name.tell(Weight::How, "this cluster has to be known by its name: kubectl gitops cluster add, or Argo CD's Secret for it (docs/clusters.md)");
            put(&mut ours, "cluster", name.text().map(Value::from));
        }
        (None, Some(server)) if !HERE.iter().any(|here| server.value == here) => {
            let name = cluster_name(server.value.as_str().unwrap_or_default());
            server.tell(Weight::What, format!("clusters are named here, not addressed: register it as {name} (kubectl gitops cluster add CONTEXT --name {name}), or write the name that it has"));
            ours.insert("cluster".into(), name.into());
        }
        _ => {}
    }
    let namespace = destination.text("namespace").or_else(|| around.namespace.map(str::to_owned));
    put(&mut ours, "namespace", namespace.map(Value::from));
    destination.end();
    ours
}

/// A name for the cluster at an address.
fn cluster_name(server: &str) -> String {
    let host = server.split("://").last().unwrap_or_default();
    let host = host.split(['/', ':']).next().unwrap_or_default().to_lowercase();
    let name = host.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let name = name.trim_matches('-');
    if name.is_empty() { "elsewhere".to_owned() } else { name.to_owned() }
}

/// The namespace that a destination names.
fn namespace(destination: &Object<String, Value>) -> &str {
    destination.get("namespace").and_then(Value::as_str).unwrap_or_default()
}
