//! The chart of a HelmRelease: of a chart repository, a registry, or a folder in
//! Git. Out: a source of ours.

use serde_json::{Map as Object, Value};

use super::super::sources::{self, Artifact};
use crate::convert::field::{Field, Map, Resource, Weight};
use crate::convert::home::{below, tidy};
use crate::convert::place::base;
use crate::convert::{Surroundings, put, some};

type Source = Object<String, Value>;

pub(super) fn source<'r>(
    fields: &mut Map<'r>,
    resource: &Resource,
    around: &Surroundings<'r, '_>,
) -> Option<Source> {
    if let Some(mut template) = fields.map("chart") {
        // Labels of an object that Flux makes.
        template.pass(&["metadata"]);
        let spec = template.map("spec");
        template.end();
        return templated(spec?, resource, around);
    }
    let reference = fields.take("chartRef")?;
    match reference.value.get("kind").and_then(Value::as_str) {
        Some("HelmChart") => {
            let chart = sources::named(&reference, resource, around)?;
            templated(chart.top(around.findings).map("spec")?, chart, around)
        }
        Some("OCIRepository") => artifact(&reference, resource, around),
        _ => {
            sources::unknown(&reference);
            None
        }
    }
}

/// A chart's template, or a HelmChart.
fn templated<'r>(mut spec: Map<'r>, from: &Resource, around: &Surroundings<'r, '_>) -> Option<Source> {
    let (chart, version) = (spec.text("chart")?, spec.take("version"));
    let reference = spec.take("sourceRef")?;
    let kind = reference.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "HelmRepository" | "GitRepository") {
        sources::unknown(&reference);
        return None;
    }
    let found = sources::named(&reference, from, around)?;
    let is_git = kind == "GitRepository";
    let mut base = if is_git { sources::git(found, around) } else { sources::charts(found, around) }?;
    let mut helm = Object::new();
    let folder = if is_git {
        base.inside(&chart);
        tidy(&chart)
    } else {
        helm.insert("chart".into(), chart.into());
        let version = version.and_then(|version| version.text()).unwrap_or_else(|| "*".into());
        helm.insert("version".into(), version.into());
        String::new()
    };
    let is_there = |path: &str| !base.is_seen || around.home.tree.has_file(path);
    if is_git && !is_there(&format!("{folder}/Chart.yaml")) {
        reference.tell(
            Weight::What,
            format!("{folder} holds no chart in this repository: commit it, or mend source.path"),
        );
    }
    put(&mut helm, "valueFiles", some(value_files(&mut spec, &folder, &is_there)));
    rest(spec);
    put(&mut base.source, "helm", (!helm.is_empty()).then(|| helm.into()));
    Some(base.source)
}

fn rest(mut spec: Map<'_>) {
    spec.leave(
        Weight::How,
        &[
            ("interval", "repositories are looked at as the controller is set (controller.pollInterval), and at every push that is announced"),
            ("verify", "signatures of charts are not checked: name the archive by its digest, as version@sha256:..."),
        ],
    );
    // A commit is a new version in any case.
    spec.pass(&["reconcileStrategy", "suspend"]);
    spec.end();
}

/// Values files of the chart, from the repository's root as Flux has them. They
/// stand for the chart's own, which helm always reads first here.
fn value_files(spec: &mut Map<'_>, folder: &str, is_there: &dyn Fn(&str) -> bool) -> Vec<String> {
    let may_be_missing = spec.is("ignoreMissingValuesFiles");
    let mut fields: Vec<Field<'_>> = spec.take("valuesFile").into_iter().collect();
    fields.extend(spec.items("valuesFiles"));
    let own = below(folder, "values.yaml").unwrap_or_default();
    let mut files = Vec::new();
    let begins_with_own = fields.first().and_then(Field::text).is_some_and(|first| tidy(&first) == own);
    if let Some(first) = fields.first().filter(|_| !begins_with_own) {
        first.tell(Weight::What, "the chart's own values.yaml counts, too, beneath these files: set in them what is not to be as it says there");
    }
    for field in fields.iter().skip(usize::from(begins_with_own)) {
        let Some(path) = field.text().map(|text| tidy(&text)) else { continue };
        if may_be_missing && !is_there(&path) {
            field.tell(Weight::How, "it is not there, and left out: name it once it is");
            continue;
        }
        // Of a chart from elsewhere, from its own folder.
        files.push(if folder.is_empty() { path } else { format!("/{path}") });
    }
    files
}

/// A chart of a registry.
fn artifact<'r>(reference: &Field<'r>, from: &Resource, around: &Surroundings<'r, '_>) -> Option<Source> {
    let found = sources::named(reference, from, around)?;
    let Artifact { url, tag, digest, semver } = sources::artifact(found, around)?;
    let text = url.text()?;
    let Some((repo, chart)) =
        text.trim_end_matches('/').rsplit_once('/').filter(|(repo, _)| repo.len() > "oci://".len())
    else {
        url.tell(Weight::What, "it names no chart of a registry, and the Application is left out");
        return None;
    };
    let mut base = base(&url, repo, around)?;
    let version = semver.and_then(|semver| semver.text()).or(tag);
    let version = match (version, digest) {
        (Some(version), Some(digest)) => format!("{version}@{digest}"),
        (None, Some(digest)) => {
            reference.tell(
                Weight::What,
                format!(
                    "a chart is named by its version: write it as helm.version, with @{digest} behind it"
                ),
            );
            format!("*@{digest}")
        }
        (version, None) => version.unwrap_or_else(|| "*".into()),
    };
    let helm: Source =
        [("chart".to_owned(), chart.into()), ("version".to_owned(), version.into())].into_iter().collect();
    base.source.insert("helm".into(), helm.into());
    Some(base.source)
}
