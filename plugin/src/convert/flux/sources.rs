//! Flux's sources. In: a reference to one. Out: repository and revision of ours.

use serde_json::Value;

use super::super::Surroundings;
use super::super::field::{Field, Map, Resource, Weight};
use super::super::place::{Base, base};
use crate::convert::FLUX;

const CREDENTIALS: &str = "the plugin uses what git and helm use; for webhook and controller, name a Secret of the Application's namespace as source.secretRef (README.md)";
const TIMES: &str = "repositories are looked at as the controller is set (controller.pollInterval), and at every push that is announced";
/// The branch of a GitRepository that names none.
const BRANCH: &str = "master";

/// The resource that a reference names, of those that were read.
pub fn named<'r>(
    reference: &Field<'r>,
    from: &Resource,
    around: &Surroundings<'r, '_>,
) -> Option<&'r Resource> {
    let mut map = reference.clone().map();
    let (kind, name) = (map.text("kind")?, map.text("name")?);
    let namespace = map.text("namespace").unwrap_or_else(|| from.namespace().to_owned());
    map.pass(&["apiVersion"]);
    map.end();
    let called = |one: &&Resource| one.group().ends_with(FLUX) && one.kind() == kind && one.name() == name;
    let candidates: Vec<&Resource> = around.all.iter().filter(called).collect();
    let exact = candidates.iter().find(|one| one.namespace() == namespace);
    // Where a kustomization sets the namespace, files leave it out.
    let near = || candidates.iter().find(|one| one.namespace().is_empty() || namespace.is_empty());
    let found = exact.or_else(near).copied();
    if found.is_none() {
        reference.tell(Weight::What, format!("{kind} {namespace}/{name} is not among the files, so that the Application is left out: name its file as well, by another --from"));
    }
    found
}

/// What can be read without a word of how.
fn begin<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Map<'r>> {
    let mut fields = resource.top(around.findings).map("spec")?;
    if fields.is("suspend") {
        resource.tell(
            around.findings,
            Weight::How,
            "a source cannot be suspended: suspend the Application (spec.suspend)",
        );
    }
    Some(fields)
}

/// What is left out of any source.
fn end(mut fields: Map<'_>, is_own: bool) {
    if !is_own {
        let secrets = ["secretRef", "certSecretRef", "proxySecretRef", "serviceAccountName"];
        fields.leave(Weight::How, &secrets.map(|name| (name, CREDENTIALS)));
    }
    fields.pass(&["secretRef", "certSecretRef", "proxySecretRef", "serviceAccountName", "gitImplementation"]);
    fields.leave(
        Weight::How,
        &[
            ("interval", TIMES),
            ("timeout", "a fetch has two minutes"),
            ("provider", CREDENTIALS),
            ("passCredentials", "credentials go to the host that they are for, and to no other"),
            ("insecure", "say http:// in the URL, where it is meant"),
            ("verify", "signatures of commits are checked as a Project's repositories[].signers says"),
            ("sparseCheckout", "what a render reads is fetched alone, where the host allows it"),
            ("accessFrom", "a Project says who may read what"),
        ],
    );
    fields.leave(
        Weight::What,
        &[
            ("ignore", "files of a source cannot be left out: name those that count in a kustomization, or by source.plain.exclude"),
            ("include", "a source holds one repository: name the other one by spec.sources"),
            ("recurseSubmodules", "submodules are not fetched: name their repository by spec.sources"),
            ("layerSelector", "a layer cannot be chosen: artifacts are read as flux push artifact makes them"),
        ],
    );
    fields.end();
}

/// A GitRepository.
pub fn git<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Base> {
    let mut fields = begin(resource, around)?;
    let url = fields.take("url")?;
    let mut base = base(&url, &url.text()?, around)?;
    let (mut revision, mut is_range) = (Some((BRANCH.to_owned(), url)), false);
    if let Some(mut reference) = fields.map("ref") {
        // The first that is there counts.
        let mut found = None;
        for name in ["commit", "name", "semver", "tag", "branch"] {
            let Some(field) = reference.take(name).filter(Field::is_said) else { continue };
            let Some(text) = field.text().filter(|_| found.is_none()) else { continue };
            let text = match (name, text.strip_prefix("refs/heads/"), text.strip_prefix("refs/tags/")) {
                ("name", Some(short), _) | ("name", _, Some(short)) => short.to_owned(),
                _ => text,
            };
            is_range = name == "semver";
            found = Some((text, field));
        }
        reference.end();
        revision = found.or(revision);
    }
    base.at(revision, is_range, around);
    end(fields, base.is_own);
    Some(base)
}

/// An OCIRepository: its URL, and what of it is meant.
pub struct Artifact<'r> {
    pub url: Field<'r>,
    pub tag: Option<String>,
    pub digest: Option<String>,
    pub semver: Option<Field<'r>>,
}

pub fn artifact<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Artifact<'r>> {
    let mut fields = begin(resource, around)?;
    let url = fields.take("url")?;
    let mut artifact = Artifact { url, tag: None, digest: None, semver: None };
    if let Some(mut reference) = fields.map("ref") {
        artifact.tag = reference.text("tag");
        artifact.digest = reference.text("digest");
        artifact.semver = reference.take("semver").filter(Field::is_said);
        reference.leave(
            Weight::What,
            &[("semverFilter", "versions are not filtered: name the one that is meant")],
        );
        reference.end();
    }
    end(fields, false);
    Some(artifact)
}

/// A HelmRepository's URL.
pub fn charts<'r>(resource: &'r Resource, around: &Surroundings<'r, '_>) -> Option<Base> {
    let mut fields = begin(resource, around)?;
    let url = fields.take("url")?;
    fields.pass(&["type"]);
    let base = base(&url, &url.text()?, around)?;
    end(fields, base.is_own);
    Some(base)
}

/// Tells that a source is none of ours.
pub fn unknown(reference: &Field<'_>) {
    let kind = reference.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    reference.tell(Weight::What, format!("a {kind} is no source here, and the Application is left out: keep the files in Git, or push them as an artifact to a registry"));
}
