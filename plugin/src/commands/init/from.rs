//! `kubectl gitops init --from`: what Argo CD and Flux deploy, as Applications.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gitops_engine::load;
use gitops_source::{RepoUrl, git};
use serde_json::Value;

use super::disk::{self, Disk};
use crate::convert::{Converted, Finding, Home, Weight, convert};
use crate::error::{Failure, code};
use crate::output;
use crate::printer::Printer;
use crate::settings::Settings;

/// Places that a note names; the others are counted.
const NAMED: usize = 3;

/// The Applications, and whether all of what is deployed is in them.
pub struct Taken {
    pub applications: Vec<Value>,
    pub text: String,
    pub is_all: bool,
}

/// Reads resources of Argo CD and Flux, and tells what cannot be taken over.
pub fn run(from: &[PathBuf], root: &Path, settings: &Settings, printer: &Printer) -> Result<Taken, Failure> {
    let read = disk::read(from, &settings.folder)?;
    let mut urls = git::remotes(root);
    urls.push(RepoUrl::local(root).to_string());
    let tree = Disk { root };
    let home = Home::new(&urls, git::checked_out(root), &tree);
    let Converted { applications, mut findings, read: number } =
        convert(&read.resources, &home, settings.namespace.as_deref());
    findings.extend(read.templates.into_iter().map(template));
    if number == 0 && findings.is_empty() {
        return Err(nothing(from));
    }
    tell(&findings, printer);
    let is_all = !findings.iter().any(|finding| finding.weight == Weight::What);
    if applications.is_empty() {
        return Err(Failure::other("none of these resources became an Application; nothing was written")
            .hint("the lines above say why; name more files by --from, or read what the cluster has: kubectl get applications.argoproj.io -A -o yaml | kubectl gitops init --from -"));
    }
    let is_own = |source: &Value| source.is_object() && source.get("repo").is_none();
    let stands_here = |application: &Value| {
        let spec = &application["spec"];
        is_own(&spec["source"]) || spec["sources"].as_array().is_some_and(|all| all.iter().any(is_own))
    };
    if !applications.iter().any(stands_here) {
        let remotes: Vec<String> =
            urls.iter().filter_map(|url| Some(url.parse::<RepoUrl>().ok()?.to_string())).collect();
        printer.talk(&format!(
            "note: no source is the repository that you stand in ({}): each keeps its URL, and none was looked into",
            remotes.join(", ")
        ));
    }
    let texts: Result<Vec<String>, Failure> = applications.iter().map(output::yaml).collect();
    let text = texts?.join("---\n");
    // What is written is what the other commands read.
    load::read_text(load::FILE, &text, Some(root), "default", &settings.credentials).map_err(|error| {
        Failure::other(format!("what would be written cannot be read: {error}"))
            .hint("leave that resource out, and describe its Application by hand")
    })?;
    Ok(Taken { applications, text, is_all })
}

/// Exit code.
pub fn code(is_all: bool) -> u8 {
    if is_all { code::YES } else { code::NO }
}

fn nothing(from: &[PathBuf]) -> Failure {
    let shown: Vec<String> = from.iter().map(|path| path.display().to_string()).collect();
    Failure::usage(format!(
        "no Application of Argo CD and no Kustomization or HelmRelease of Flux is in {}",
        shown.join(", ")
    ))
    .hint("name the files or folders that hold them; what a cluster has: kubectl get applications.argoproj.io -A -o yaml | kubectl gitops init --from -")
}

fn template(chart: String) -> Finding {
    let chart = if chart.is_empty() { ".".to_owned() } else { chart };
    Finding {
        weight: Weight::What,
        place: chart.clone(),
        field: String::new(),
        resource: "its templates".into(),
        words: format!(
            "a chart has to be rendered first: helm template {chart} | kubectl gitops init --from -"
        ),
    }
}

/// What changes what is deployed by itself, each; the rest once for all that it
/// is said of.
fn tell(findings: &[Finding], printer: &Printer) {
    let (what, how): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.weight == Weight::What);
    what.iter().for_each(|finding| printer.warning(&finding.to_string()));
    let mut notes: BTreeMap<(&str, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in how {
        notes.entry((&finding.field, &finding.words)).or_default().push(finding);
    }
    for ((field, words), findings) in notes {
        let [one] = findings.as_slice() else {
            let places: Vec<&str> =
                findings.iter().take(NAMED).map(|finding| finding.place.as_str()).collect();
            let more = findings.len() - places.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
            printer.talk(&format!("note: {}{more}: {field}{words}", places.join(", ")));
            continue;
        };
        printer.talk(&format!("note: {one}"));
    }
}
