//! Where an Argo CD Application comes from. Out: our sources.

use serde_json::{Map as Object, Value, json};

use super::{helm, namespace};
use crate::convert::field::{Field, Map, Resource, Weight};
use crate::convert::home::{Folder, Holds};
use crate::convert::overlay::{self, is_said};
use crate::convert::place::{Base, base, is_range};
use crate::convert::{Surroundings, delivery, put, some};

/// What a source is of.
pub(super) struct Of<'a, 'r, 'h> {
    pub resource: &'r Resource,
    pub destination: &'a Object<String, Value>,
    pub around: &'a Surroundings<'r, 'h>,
}

/// All sources, without those that gitops.yaml stands for; none, and told, where
/// one of them cannot be said.
pub(super) fn all<'r>(
    spec: &mut Map<'r>,
    resource: &'r Resource,
    destination: &Object<String, Value>,
    around: &Surroundings<'r, '_>,
) -> Option<Vec<Value>> {
    let several = spec.items("sources");
    let single = spec.take("source");
    if let Some(hydrator) = spec.take("sourceHydrator").filter(Field::is_said) {
        hydrator.tell(Weight::What, "nothing is hydrated here: name the branch and the folder that it fills as source.revision and source.path");
    }
    let given = match (several.is_empty(), single) {
        (true, Some(single)) => vec![single],
        (_, single) => {
            if let Some(single) = single.filter(|single| !several.is_empty() && single.is_said()) {
                single.tell(Weight::How, "sources count, as with Argo CD: left out");
            }
            several
        }
    };
    if given.is_empty() {
        spec.field.tell(Weight::What, "it has no source: the Application is left out");
        return None;
    }
    let of = Of { resource, destination, around };
    let mut sources = Vec::new();
    for field in given {
        sources.extend(one(field, &of)?.map(Value::from));
    }
    let is_empty = sources.iter().all(|source| source.get("ref").is_some() && source.get("path").is_none());
    let renders = |source: &Value| source.get("helm").is_some() || source.get("plain").is_some();
    if is_empty && !sources.iter().any(renders) {
        sources.clear();
    }
    Some(sources)
}

/// A source; none in it where gitops.yaml says the same.
fn one(field: Field<'_>, of: &Of<'_, '_, '_>) -> Option<Option<Object<String, Value>>> {
    let mut given = field.map();
    let Some(url) = given.take("repoURL").filter(Field::is_said) else {
        given.field.tell(Weight::What, "it names no repoURL: the Application is left out");
        return None;
    };
    if let Some(plugin) = given.take("plugin").filter(|plugin| plugin.value.is_object()) {
        plugin.tell(Weight::What, "no plugin is ever run, and the Application is left out: commit what it makes, and name that folder; secrets may be SOPS files (docs/sources.md)");
        return None;
    }
    given.leave(Weight::How, &[("name", "sources have no names here, but for their ref")]);
    let (chart, revision) = (given.text("chart"), given.take("targetRevision"));
    let written = url.text()?;
    let is_bare = chart.is_some() && !written.contains("://");
    let written = if is_bare { format!("oci://{written}") } else { written };
    let mut base = base(&url, &written, of.around)?;
    let has_path = given.field.value.get("path").is_some_and(|path| path != "");
    put(&mut base.source, "ref", given.text("ref").map(Value::from));
    let Some(chart) = chart else {
        let revision = revision.and_then(|field| Some((field.text()?, field)));
        let ranges = revision.as_ref().is_some_and(|(text, _)| is_range(text));
        base.at(revision, ranges, of.around);
        let reads = has_path || !base.source.contains_key("ref");
        let is_kept = if reads { folder(&mut given, &mut base, of) } else { true };
        given.end();
        return Some(is_kept.then_some(base.source));
    };
    let mut options = helm::options(&mut given, None, of);
    options.insert("chart".into(), chart.into());
    let version = revision.and_then(|field| field.text());
    put(&mut options, "version", version.filter(|version| version != "HEAD").map(Value::from));
    base.source.insert("helm".into(), options.into());
    given.end();
    Some(Some(base.source))
}

/// A folder of a repository; false where it is left out.
fn folder(given: &mut Map<'_>, base: &mut Base, of: &Of<'_, '_, '_>) -> bool {
    let path = given.take("path");
    let place = path.as_ref().unwrap_or(&given.field).clone();
    let path = base.inside(&path.and_then(|path| path.text()).unwrap_or_default());
    let said = |name: &str| is_said(given.field.value.get(name));
    let (helm, kustomize, directory) = (said("helm"), said("kustomize"), said("directory"));
    let recurses = given.field.value.pointer("/directory/recurse") == Some(&Value::Bool(true));
    let looked = base.is_seen.then(|| of.around.home.tree.look(&path, recurses));
    let folder = looked.flatten();
    if base.is_seen && folder.is_none() && !path.ends_with(".jsonnet") {
        place.tell(
            Weight::What,
            format!("{path} is not there in this repository: commit it, or mend source.path"),
        );
    }
    if let Some(folder) = &folder
        && delivery::is_only_delivery(folder, &path, &place, of.around)
    {
        given.pass(&["helm", "kustomize", "directory"]);
        return false;
    }
    let holds = folder.as_ref().map(|folder| folder.holds);
    let is_chart = helm || !kustomize && !directory && matches!(holds, Some(Holds::Chart));
    let is_kustomize = kustomize || !helm && !directory && matches!(holds, Some(Holds::Kustomize));
    let forced = match (holds, helm, kustomize, directory) {
        (Some(Holds::Both), true, _, _) => Some("Helm"),
        (Some(Holds::Both), _, true, _) => Some("Kustomize"),
        (Some(Holds::Plain), ..) => None,
        (_, _, _, true) if !helm && !kustomize => Some("Plain"),
        (Some(Holds::Chart), ..) if base.source.contains_key("ref") && path == "." => Some("Helm"),
        (Some(Holds::Kustomize), ..) if base.source.contains_key("ref") && path == "." => Some("Kustomize"),
        _ => None,
    };
    put(&mut base.source, "type", forced.map(Value::from));
    if helm {
        let options = helm::options(given, Some((&path, base.is_seen)), of);
        put(&mut base.source, "helm", (!options.is_empty()).then(|| options.into()));
    }
    if is_kustomize {
        let options = on_top(given, &path, base.is_seen, folder.as_ref(), of);
        put(&mut base.source, "kustomize", (!options.is_empty()).then(|| options.into()));
    }
    if !is_chart && !is_kustomize {
        base.source.insert("plain".into(), plain(given, recurses, folder.as_ref()));
    }
    given.pass(&["helm", "kustomize", "directory"]);
    true
}

fn plain(given: &mut Map<'_>, recurses: bool, folder: Option<&Folder>) -> Value {
    let mut ours = Object::new();
    put(&mut ours, "recurse", (!recurses).then(|| false.into()));
    let mut words =
        "only files that end in .jsonnet are evaluated, each as a source of its own: name it as source.path";
    if let Some(mut directory) = given.map("directory") {
        directory.pass(&["recurse"]);
        for name in ["include", "exclude"] {
            put(&mut ours, name, directory.text(name).map(|glob| json!([glob])));
        }
        if let Some(jsonnet) = directory.take("jsonnet").filter(|field| is_said(Some(field.value))) {
            words = "variables, arguments and libraries of jsonnet cannot be said: write them into a .jsonnet file, and name it as source.path";
            jsonnet.tell(Weight::What, words);
        }
        directory.end();
    }
    if folder.is_some_and(|folder| folder.has_jsonnet) {
        given.field.tell(Weight::What, words);
    }
    ours.into()
}

/// What is put on top of a kustomization.
fn on_top(
    given: &mut Map<'_>,
    path: &str,
    is_seen: bool,
    folder: Option<&Folder>,
    of: &Of<'_, '_, '_>,
) -> Object<String, Value> {
    let mut ours = Object::new();
    put(&mut ours, "enableHelm", folder.is_some_and(|folder| folder.inflates).then(|| true.into()));
    let Some(mut theirs) = given.map("kustomize") else { return ours };
    if let Some(images) = theirs.take("images").filter(Field::is_said) {
        let texts = images.items().iter().filter_map(Field::text).collect();
        put(&mut ours, "images", some(overlay::renamed(&images, texts, folder)));
    }
    put(&mut ours, "components", some(overlay::components(&mut theirs, path, (is_seen, folder), of.around)));
    overlay::belongs(&mut theirs, path, of.resource.name());
    if let Some(field) = theirs.take("namespace").filter(Field::is_said) {
        let wanted = field.text().unwrap_or_default();
        if wanted == namespace(of.destination) {
            overlay::moved(&field, &wanted, (path, of.resource.name()), folder);
        } else {
            field.tell(Weight::What, format!("it is another one than destination.namespace: say `namespace: {wanted}` in {path}/kustomization.yaml"));
        }
    }
    let with = "it belongs to commonLabels and commonAnnotations, and goes with them";
    theirs.leave(
        Weight::How,
        &[
            ("version", "the kustomize on your PATH is run: 5.0 or newer"),
            ("kubeVersion", "charts are told the version of the cluster that they go to"),
            ("apiVersions", "charts are told what the cluster that they go to serves"),
            ("forceCommonLabels", with),
            ("forceCommonAnnotations", with),
            ("commonAnnotationsEnvsubst", with),
            ("labelWithoutSelector", with),
            ("labelIncludeTemplates", with),
        ],
    );
    theirs.end();
    ours
}
