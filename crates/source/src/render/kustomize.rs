//! Kustomizations, built by the real kustomize. Where an object comes from is
//! its own mark (`buildMetadata: [originAnnotations]`), asked for in a layer
//! put on top and taken out again.

use std::path::Path;
use std::sync::Arc;

use gitops_core::desired::Rendered;
use serde_json::{Value, json};

use super::checkout::{Checkout, REPOSITORY};
use super::closure::Closure;
use super::confine::Reach;
use super::helm::same_twice;
use super::steady::{is_steady, shows_address};
use super::{RenderRequest, charts, clock, join, objects, tools};
use crate::error::SourceError;
use crate::git::Snapshot;
use crate::sops::Report;
use crate::yaml;

const ORIGIN: &str = "config.kubernetes.io/origin";
/// The layer on top, beside the repository.
const LAYER: &str = "layer";

pub(super) fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    closure: &Closure,
    tools: &tools::Tools,
    known_steady: bool,
) -> Result<(Vec<Rendered>, Report), SourceError> {
    let mut checkout = Checkout::new(snapshot, closure, &request.keys)?;
    charts::unpack(&checkout, &request.charts)?;
    let file = checkout.put(&format!("{LAYER}/kustomization.yaml"), overlay(request)?.to_string())?;
    let layer = file.parent().unwrap_or(&file);
    let helm = which::which(&tools.helm).unwrap_or_else(|_| tools.helm.clone());
    let arguments = arguments(request, &helm);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let inflates = request.kustomize.enable_helm;
    let programs = [helm.as_path()];
    let reach = Reach {
        read: &[checkout.folder()],
        write: checkout.home(),
        run: if inflates { &programs } else { &[] },
    };
    let run = || {
        let output = tools::run("kustomize", &tools.kustomize, &arguments, layer, &reach);
        objects_of(snapshot, request, &output.map_err(|error| named(error, &request.path))?)
    };
    let first = match run() {
        Ok(first) => first,
        Err(error) => return Err(checkout.sops.explain(error)),
    };
    let charts = || is_steady(checkout.folder(), std::iter::empty()) && !shows_address(&first);
    let steady = || known_steady || !closure.is_whole() && charts();
    if inflates && !steady() {
        clock::shift(&checkout.root())?;
        let again = run().map_err(|error| checkout.sops.explain(error))?;
        same_twice("kustomize", &request.path, &first, &again)?;
    }
    Ok((first, checkout.sops))
}

fn arguments(request: &RenderRequest, helm: &Path) -> Vec<String> {
    let mut arguments =
        ["build", "--load-restrictor", "LoadRestrictionsRootOnly"].map(str::to_owned).to_vec();
    if request.kustomize.enable_helm {
        arguments.extend(["--enable-helm".into(), "--helm-command".into(), helm.display().to_string()]);
        if !request.kube_version.is_empty() {
            arguments.extend(["--helm-kube-version".into(), request.kube_version.clone()]);
        }
        for version in &request.api_versions {
            arguments.extend(["--helm-api-versions".into(), version.clone()]);
        }
    }
    arguments.push(".".into());
    arguments
}

fn objects_of(
    snapshot: &Snapshot,
    request: &RenderRequest,
    output: &str,
) -> Result<Vec<Rendered>, SourceError> {
    let mut rendered = Vec::new();
    for document in yaml::documents(&request.path, output)? {
        let mut value = document.value.clone();
        let file: Arc<str> =
            take_origin(&mut value).map_or_else(|| fallback(snapshot, request), |path| resolve(&path)).into();
        rendered.extend(objects(&file, vec![yaml::Document { value, ..document }], false)?);
    }
    Ok(rendered)
}

/// The kustomization that stands on top of the source's own.
fn overlay(request: &RenderRequest) -> Result<Value, SourceError> {
    let up = |path: &str| format!("../{REPOSITORY}/{}", join(&request.path, path));
    let images: Result<Vec<Value>, SourceError> =
        request.kustomize.images.iter().map(|image| image_override(image)).collect();
    let mut overlay = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [up("").trim_end_matches('/')],
        "buildMetadata": ["originAnnotations"],
        "images": images?,
    });
    if !request.kustomize.components.is_empty() {
        overlay["components"] = request.kustomize.components.iter().map(|component| up(component)).collect();
    }
    Ok(overlay)
}

/// `name=new:tag`, `name:tag` or `name@digest`.
pub(crate) fn image_override(text: &str) -> Result<Value, SourceError> {
    let (name, target) = text.split_once('=').map_or((None, text), |(name, target)| (Some(name), target));
    let (image, tag, digest) = match target.split_once('@') {
        Some((image, digest)) => (image, "", digest),
        None => match target.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((image, tag)) => (image, tag, ""),
            None => (target, "", ""),
        },
    };
    if image.is_empty() || (tag.is_empty() && digest.is_empty() && name.is_none()) {
        return Err(SourceError::Unsupported {
            path: text.to_owned(),
            reason: "it is no image override: write name=new:tag".into(),
        });
    }
    let mut change = json!({"name": name.unwrap_or(image), "newName": image});
    if !tag.is_empty() {
        change["newTag"] = tag.into();
    }
    if !digest.is_empty() {
        change["digest"] = digest.into();
    }
    Ok(change)
}

/// Takes kustomize's mark out of an object; returns the path it names.
fn take_origin(value: &mut Value) -> Option<String> {
    let annotations = value.pointer_mut("/metadata/annotations")?.as_object_mut()?;
    let mark = annotations.remove(ORIGIN)?;
    let empty = annotations.is_empty();
    if empty {
        value.pointer_mut("/metadata")?.as_object_mut()?.remove("annotations");
    }
    let mark = yaml::documents("origin", mark.as_str()?).ok()?.into_iter().next()?.value;
    mark.get("path").or_else(|| mark.get("configuredIn")).and_then(Value::as_str).map(str::to_owned)
}

/// The mark's path is seen from the layer.
fn resolve(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    if parts.first() == Some(&REPOSITORY) {
        parts.remove(0);
    }
    parts.join("/")
}

fn fallback(snapshot: &Snapshot, request: &RenderRequest) -> String {
    super::KUSTOMIZATIONS
        .iter()
        .map(|name| join(&request.path, name))
        .find(|path| snapshot.is_file(path))
        .unwrap_or_else(|| request.path.clone())
}

/// Names the source in a tool's complaint.
pub(super) fn named(error: SourceError, source: &str) -> SourceError {
    match error {
        SourceError::Render { tool, reason, .. } => {
            let reason =
                reason.replace(&format!("../{REPOSITORY}/"), "").replace(&format!("{REPOSITORY}/"), "");
            // What a tool says that was kept from the network.
            let away = ["'git' program", "dial tcp", "dial udp", "socket: ", "exec: \"git\"", "--untardir"];
            if reason.contains("must specify --enable-helm") {
                return SourceError::Unsupported {
                    path: source.to_owned(),
                    reason: "it inflates charts, which the Application has to allow: spec.source.kustomize.enableHelm: true".into(),
                };
            }
            let reason = if away.iter().any(|sign| reason.contains(sign)) {
                format!(
                    "it refers to something outside of this repository, which a render never fetches: {reason}"
                )
            } else {
                reason
            };
            SourceError::Render {
                tool,
                path: if source.is_empty() { ".".into() } else { source.to_owned() },
                reason,
            }
        }
        other => other,
    }
}
