//! A HelmRelease. Out: a draft of an Application.

mod chart;
mod values;

use serde_json::{Map as Object, Value};

use crate::convert::field::{Field, Map, Resource, Weight};
use crate::convert::{Draft, Made, Surroundings, put};

/// Longest name of a release.
const LONGEST: usize = 53;

pub(super) fn application<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Made<'r>> {
    let (mut fields, labels) = super::begin(resource, around)?;
    if fields.field.value.get("chart").is_none() && fields.field.value.get("chartRef").is_none() {
        resource.tell(around.findings, Weight::What, "it names no chart, as patches do: read what its kustomization renders: kustomize build FOLDER | kubectl gitops init --from -");
        return None;
    }
    let mut spec = Object::new();
    let after = super::common(&mut fields, &mut spec, (resource, "HelmRelease"));
    let target = fields.text("targetNamespace");
    let namespace =
        target.clone().or_else(|| Some(resource.namespace().to_owned()).filter(|name| !name.is_empty()));
    if let Some(namespace) = namespace.or_else(|| around.namespace.map(str::to_owned)) {
        super::goes(&mut spec, "namespace", namespace.into());
    }
    let release = fields.take("releaseName").filter(Field::is_said).and_then(|name| name.text());
    let composed = target.map(|target| format!("{target}-{}", resource.name()));
    let release = release.or(composed).filter(|name| name != resource.name());
    let mut source = chart::source(&mut fields, resource, around)?;
    if release.as_ref().is_some_and(|name| name.len() > LONGEST) {
        fields.field.tell(Weight::What, "Flux shortens the release's name by a hash: write the one that it has as helm.releaseName (helm list -A)");
    }
    let values = values::of(&mut fields, resource, around);
    let helm = source.entry("helm").or_insert_with(|| Object::new().into());
    if let Value::Object(helm) = helm {
        put(helm, "releaseName", release.filter(|name| name.len() <= LONGEST).map(Value::from));
        put(helm, "values", values);
    }
    if source.get("helm").and_then(Value::as_object).is_some_and(Object::is_empty) {
        source.remove("helm");
    }
    let mut sync = super::automatic();
    put(&mut sync, "prune", Some(true.into()));
    drift(&mut fields, &mut sync, &mut spec);
    rest(&mut fields, &mut spec);
    fields.end();
    put(&mut spec, "sync", Some(sync.into()));
    put(&mut spec, "source", Some(source.into()));
    let draft = Draft { of: resource, labels, spec, after, may_release: true };
    Some(Made::Application(Box::new(draft)))
}

/// What was changed in the cluster is put right where Flux does so.
fn drift(fields: &mut Map<'_>, sync: &mut Object<String, Value>, spec: &mut Object<String, Value>) {
    let mut mode = None;
    if let Some(mut drift) = fields.map("driftDetection") {
        mode = drift.text("mode");
        put(spec, "ignore", super::ignored(&drift.items("ignore")));
        drift.end();
    }
    put(sync, "selfHeal", (mode.as_deref() != Some("enabled")).then(|| false.into()));
}

fn rest(fields: &mut Map<'_>, spec: &mut Object<String, Value>) {
    if let Some(mut install) = fields.map("install") {
        if install.is("createNamespace") {
            super::goes(spec, "createNamespace", true.into());
        }
        crds(&mut install);
        install.rest(Weight::How, "a sync is the same the first time and later");
    }
    if let Some(mut upgrade) = fields.map("upgrade") {
        crds(&mut upgrade);
        upgrade.leave(
            Weight::What,
            &[("preserveValues", "values are those of Git alone: write those of earlier releases into them")],
        );
        upgrade.rest(Weight::How, "a sync is the same the first time and later; what failed goes back by kubectl gitops rollback, or a Rollout");
    }
    fields.leave(
        Weight::What,
        &[(
            "postRenderers",
            "what helm renders is not changed afterwards: say it in the values, or inflate the chart by a kustomization (helmCharts, with kustomize.enableHelm)",
        )],
    );
    fields.leave(
        Weight::How,
        &[
            ("test", "tests of a chart are never run"),
            ("rollback", "kubectl gitops rollback commits what was before, and syncs"),
            ("uninstall", "kubectl gitops delete takes objects away"),
            ("storageNamespace", "nothing is kept of releases"),
            ("maxHistory", "Git is the history: kubectl gitops history"),
            ("releaseStrategy", "a sync writes what differs"),
            ("healthChecks", "all objects are waited for"),
            ("waitStrategy", "all objects are waited for"),
            ("commonMetadata", "labels of a release's objects are those of the chart"),
        ],
    );
    // Of helm's client alone.
    fields.pass(&["persistentClient"]);
}

fn crds(action: &mut Map<'_>) {
    let skips = action.take("crds").filter(|policy| policy.value == "Skip");
    for field in [skips, action.take("skipCRDs").filter(Field::is_said)].into_iter().flatten() {
        field.tell(Weight::What, "a chart's definitions go along: leave them out of the chart, or keep those that are there (kubectl gitops diff shows them)");
    }
}
