//! Directories of YAML and JSON.

use std::sync::Arc;

use gitops_core::desired::Rendered;
use gix::objs::tree::EntryKind;
use globset::{Glob, GlobSet, GlobSetBuilder};
use rayon::prelude::*;

use super::{RenderRequest, objects};
use crate::error::SourceError;
use crate::git::{FileEntry, Snapshot};
use crate::{sops, yaml};

/// The file that describes Applications; it is no object to apply.
const DESCRIPTION: &str = "gitops.yaml";

/// Files that are read side by side.
const AT_ONCE: usize = 8;

/// True when something was decrypted.
pub(super) fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    take: &mut impl FnMut(Rendered),
) -> Result<bool, SourceError> {
    let include = globs(&request.plain.include)?;
    let exclude = globs(&request.plain.exclude)?;
    let folder = &request.path;
    let below = |path: &str| -> String {
        if folder.is_empty() { path.to_owned() } else { path[folder.len() + 1..].to_owned() }
    };
    let files: Vec<FileEntry> = snapshot
        .files(&request.path, request.plain.recurse)?
        .into_iter()
        .filter(|file| is_manifest(file, &below(&file.path)))
        .filter(|file| request.plain.include.is_empty() || include.is_match(below(&file.path)))
        .filter(|file| !exclude.is_match(below(&file.path)))
        .collect();
    let mut clear = false;
    for some in files.chunks(AT_ONCE) {
        let read: Result<Vec<(Vec<Rendered>, bool)>, SourceError> =
            some.par_iter().map(|file| read(snapshot, request, file)).collect();
        for (objects, decrypted) in read? {
            clear |= decrypted;
            objects.into_iter().for_each(&mut *take);
        }
    }
    Ok(clear)
}

fn globs(patterns: &[String]) -> Result<GlobSet, SourceError> {
    let bad = |pattern: &str, error: globset::Error| SourceError::Unsupported {
        path: pattern.to_owned(),
        reason: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|error| bad(pattern, error))?);
    }
    set.build().map_err(|error| bad("", error))
}

fn is_manifest(file: &FileEntry, below: &str) -> bool {
    let hidden = below.split('/').any(|part| part.starts_with('.'));
    let named = [".yaml", ".yml", ".json"].iter().any(|ending| below.ends_with(ending));
    named
        && !hidden
        && below != DESCRIPTION
        && matches!(file.kind, EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link)
}

fn read(
    snapshot: &Snapshot,
    request: &RenderRequest,
    file: &FileEntry,
) -> Result<(Vec<Rendered>, bool), SourceError> {
    let bytes = snapshot.read_file(file, &request.path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| SourceError::BadYaml {
        file: file.path.clone(),
        line: bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1,
        column: 1,
        document: 1,
        reason: "it is not UTF-8".into(),
    })?;
    let mut documents = yaml::documents(&file.path, text)?;
    let mut report = sops::Report::default();
    let decrypted = report.open(&file.path, text, &mut documents, &request.keys)?;
    let objects = objects(&Arc::from(file.path.as_str()), documents, true)?;
    objects.iter().try_for_each(|object| report.check(&file.path, &object.value))?;
    Ok((objects.into_iter().map(|object| report.marked(object)).collect(), decrypted))
}
