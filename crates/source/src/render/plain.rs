//! Directories of YAML and JSON. Their files are read and kept in groups, so that
//! a commit that changes one file reads its group anew, and no other.

use std::path::Path;
use std::sync::Arc;

use gitops_core::desired::{Given, Rendered};
use gix::objs::tree::EntryKind;
use globset::{Glob, GlobSet, GlobSetBuilder};
use rayon::prelude::*;

use sha2::{Digest, Sha256};

use super::cache::{Entry, count};
use super::{RenderRequest, objects};
use crate::error::SourceError;
use crate::git::{FileEntry, Snapshot};
use crate::{sops, yaml};

/// The file that describes Applications; it is no object to apply.
const DESCRIPTION: &str = "gitops.yaml";

/// Groups that are read side by side.
const AT_ONCE: usize = 4;
/// So many files are one group: to read them all anew takes no longer than to keep
/// them in several places, and they are read sooner than shared out among threads.
const FEW: usize = 20;
/// Files of a group, about.
const GROUP: u8 = 4;
/// Part of the key: what reading means. Raise it when that changes.
const VERSION: &str = "plain 2";

/// Gives the objects away, from the cache under `cache` where their files are what
/// they were.
pub(super) fn render(
    snapshot: &Snapshot,
    request: &RenderRequest,
    cache: &Path,
    take: &mut dyn FnMut(Given),
) -> Result<(), SourceError> {
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
    let mut kept = true;
    let is_small = files.len() <= FEW;
    let groups: Vec<&[FileEntry]> = files.chunk_by(|_, next| is_small || !begins_group(&next.path)).collect();
    for some in groups.chunks(AT_ONCE) {
        let read = |group: &&[FileEntry]| read_group(snapshot, request, group, cache);
        let read: Result<Vec<Group>, SourceError> = match some {
            [group] => read(group).map(|group| vec![group]),
            _ => some.par_iter().map(read).collect(),
        };
        for group in read? {
            kept &= group.kept;
            group.objects.into_iter().for_each(&mut *take);
        }
    }
    count(kept);
    Ok(())
}

/// Whether a group of files begins with this one: by its name alone, so that a
/// file that comes or goes moves none between other groups.
fn begins_group(path: &str) -> bool {
    Sha256::digest(path)[0] % GROUP == 0
}

/// The objects of some files, and whether they were in the cache.
struct Group {
    objects: Vec<Given>,
    kept: bool,
}

fn read_group(
    snapshot: &Snapshot,
    request: &RenderRequest,
    group: &[FileEntry],
    cache: &Path,
) -> Result<Group, SourceError> {
    let ids: Vec<(&str, String)> =
        group.iter().map(|file| (file.path.as_str(), file.id.to_string())).collect();
    // What a link leads to may change while it stays the same.
    let is_link = group.iter().any(|file| file.kind == EntryKind::Link);
    let entry = Entry::new(cache, &(VERSION, ids));
    if let Some(objects) = (!is_link).then(|| entry.objects()).flatten() {
        return Ok(Group { objects, kept: true });
    }
    let (mut all, mut clear) = (Vec::new(), false);
    for file in group {
        let (objects, decrypted) = read(snapshot, request, file)?;
        all.extend(objects.into_iter().map(Given::ready));
        clear |= decrypted;
    }
    if !is_link && !clear && !all.iter().any(Given::is_secret) {
        let mut writer = entry.writer();
        all.iter().for_each(|object| writer.add(object));
        writer.finish();
    }
    Ok(Group { objects: all, kept: false })
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
