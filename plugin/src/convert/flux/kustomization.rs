//! A Kustomization. Out: a draft of an Application.

use serde_json::{Map as Object, Value};

use super::sources::{self, Artifact};
use crate::convert::field::{Field, Map, Resource, Weight};
use crate::convert::home::{Folder, Holds};
use crate::convert::order::Group;
use crate::convert::place::{Base, base};
use crate::convert::{Draft, Made, Surroundings, delivery, key, overlay, put, some};

/// A folder by its path, the resource's name, and what it holds.
type Place<'a> = (&'a str, &'a str, Option<&'a Folder>);

const BUILD: &str = "commit a kustomization.yaml, as Flux makes one by itself";

pub(super) fn application<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Made<'r>> {
    let (mut fields, labels) = super::begin(resource, around)?;
    let mut spec = Object::new();
    let after = super::common(&mut fields, &mut spec, (resource, "Kustomization"));
    let source = source(&mut fields, resource, around);
    let path = fields.take("path");
    let place = path.as_ref().unwrap_or(&fields.field).clone();
    let mut base = source?;
    let path = base.inside(&path.and_then(|path| path.text()).unwrap_or_default());
    let folder = base.is_seen.then(|| around.home.tree.look(&path, true)).flatten();
    if base.is_seen && folder.is_none() {
        place.tell(
            Weight::What,
            format!("{path} is not there in this repository: commit it, or mend source.path"),
        );
    }
    if let Some(folder) = &folder {
        let group = Group { of: key(resource), holds: delivery::held(folder, around), after: after.clone() };
        around.groups.borrow_mut().push(group);
        if delivery::is_only_delivery(folder, &path, &place, around) {
            return Some(Made::Left);
        }
    }
    namespace(&mut fields, &mut spec, (&path, resource.name(), folder.as_ref()), around);
    render(&mut fields, &mut base, (&path, resource.name(), folder.as_ref()), &place, around);
    let mut sync = super::automatic();
    put(&mut sync, "prune", fields.is("prune").then(|| true.into()));
    put(&mut sync, "options", fields.is("force").then(|| vec!["Force=true"].into()));
    spec.insert("sync".into(), sync.into());
    put(&mut spec, "ignore", super::ignored(&fields.items("driftIgnoreRules")));
    rest(&mut fields);
    fields.end();
    spec.insert("source".into(), base.source.into());
    let draft = Draft { of: resource, labels, spec, after, may_release: false };
    Some(Made::Application(Box::new(draft)))
}

fn source<'r>(fields: &mut Map<'r>, resource: &Resource, around: &Surroundings<'r, '_>) -> Option<Base> {
    let Some(reference) = fields.take("sourceRef") else {
        fields.field.tell(Weight::What, "it names no sourceRef: the Application is left out");
        return None;
    };
    match reference.value.get("kind").and_then(Value::as_str) {
        Some("GitRepository") => sources::git(sources::named(&reference, resource, around)?, around),
        Some("OCIRepository") => {
            let Artifact { url, tag, digest, semver } =
                sources::artifact(sources::named(&reference, resource, around)?, around)?;
            let mut base = base(&url, &url.text()?, around)?;
            if let Some(semver) = semver.as_ref().filter(|_| digest.is_none()) {
                semver.tell(Weight::What, "an artifact is named by one tag or digest: write the one that is meant as source.revision");
            }
            let revision = digest.or(tag).unwrap_or_else(|| "latest".into());
            base.source.insert("revision".into(), revision.into());
            Some(base)
        }
        _ => {
            sources::unknown(&reference);
            None
        }
    }
}

fn namespace(
    fields: &mut Map<'_>,
    spec: &mut Object<String, Value>,
    (path, name, folder): Place<'_>,
    around: &Surroundings<'_, '_>,
) {
    if let Some(field) = fields.take("targetNamespace").filter(Field::is_said) {
        let Some(namespace) = field.text() else { return };
        overlay::moved(&field, &namespace, (path, name), folder);
        super::goes(spec, "namespace", namespace.into());
    } else if let Some(namespace) = around.namespace {
        super::goes(spec, "namespace", namespace.into());
    }
}

/// What is put on top of the folder. Flux makes a kustomization of one that has
/// none: with all files below it, and kustomizations among them.
fn render(
    fields: &mut Map<'_>,
    base: &mut Base,
    (path, name, folder): Place<'_>,
    place: &Field<'_>,
    around: &Surroundings<'_, '_>,
) {
    let mut kustomize = Object::new();
    if let Some(images) = fields.take("images").filter(Field::is_said) {
        let texts = images.items().iter().filter_map(overlay::image).collect();
        put(&mut kustomize, "images", some(overlay::renamed(&images, texts, folder)));
    }
    put(
        &mut kustomize,
        "components",
        some(overlay::components(fields, path, (base.is_seen, folder), around)),
    );
    overlay::belongs(fields, path, name);
    let is_plain = folder.is_some_and(|folder| matches!(folder.holds, Holds::Plain | Holds::Chart));
    let inner = folder.and_then(|folder| folder.inner.first()).filter(|_| is_plain);
    if let Some(inner) = inner {
        place.tell(Weight::What, format!("{path} is no kustomization, but {inner} below it is: {BUILD}: cd {path} && kustomize create --autodetect --recursive"));
    } else if is_plain && !kustomize.is_empty() {
        place.tell(Weight::What, format!("{path} is no kustomization, so that images and components have nothing to work on: {BUILD}: cd {path} && kustomize create --autodetect --recursive"));
    }
    let is_both = folder.is_some_and(|folder| folder.holds == Holds::Both);
    put(&mut base.source, "type", is_both.then(|| "Kustomize".into()));
    put(&mut base.source, "kustomize", (!kustomize.is_empty()).then(|| kustomize.into()));
}

fn rest(fields: &mut Map<'_>) {
    if let Some(mut build) = fields.map("postBuild") {
        let words = "nothing is substituted here, so that ${...} stays as it is in the files: write the values into them, or by replacements of a kustomization";
        build.leave(Weight::What, &[("substitute", words), ("substituteFrom", words)]);
        build.pass(&["substituteStrategy"]);
        build.end();
    }
    if let Some(decryption) = fields.take("decryption").filter(Field::is_said) {
        decryption.tell(Weight::How, "SOPS files are decrypted with keys of yours, or with age in the Secret of source.secretRef (docs/sources.md)");
    }
    // Waves and those that depend on it wait for the health of all objects.
    fields.pass(&["wait"]);
    fields.leave(
        Weight::How,
        &[
            ("healthChecks", "all objects are waited for, not these alone"),
            ("deletionPolicy", "deleting an Application of the cluster leaves its objects: kubectl gitops delete, or app delete --cascade, takes them along"),
            ("validation", "the API server validates everything"),
        ],
    );
}
