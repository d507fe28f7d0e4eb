//! Folders that hold Argo CD's or Flux's resources themselves: an app of apps,
//! a cluster's folder. gitops.yaml says what these say.

use super::field::{Field, Resource, STDIN, Weight};
use super::home::{Folder, Seen};
use super::{Key, Surroundings, is_delivery, key};

/// Whether a source is left out, as it declares nothing beside what is read
/// here. What it holds of others stays, and is told.
pub fn is_only_delivery(
    folder: &Folder,
    path: &str,
    field: &Field<'_>,
    around: &Surroundings<'_, '_>,
) -> bool {
    let delivers = |seen: &Seen| is_delivery(&seen.group, &seen.kind);
    let held: Vec<&Seen> = folder.objects.iter().filter(|seen| delivers(seen)).collect();
    let says_what = |seen: &&&Seen| !seen.group.starts_with("source.");
    let Some(first) = held.iter().find(says_what).or(held.first()) else { return false };
    for seen in &held {
        let (file, kind, name) = (&seen.file, &seen.kind, &seen.name);
        match read(seen, around) {
            None => {
                let words = format!("{file} holds {kind} {name}, which is not read: add --from {file}");
                field.tell(Weight::What, words);
                break;
            }
            Some(read) if folder.changes && read.file != STDIN && says_what(&seen) => {
                let words = format!(
                    "a kustomization changes what it gathers, so that {kind} {name} may be another one than {file} says: \
                     read what it makes of it: kustomize build {path} | kubectl gitops init --from - FILE"
                );
                field.tell(Weight::What, words);
                break;
            }
            Some(_) => {}
        }
    }
    if folder.is_whole && folder.objects.iter().all(|seen| delivers(seen) || seen.is_tool) {
        field.tell(
            Weight::How,
            "left out: it holds nothing but what says what is deployed, and gitops.yaml says that now",
        );
        return true;
    }
    let (file, kind, name) = (&first.file, &first.kind, &first.name);
    field.tell(
        Weight::How,
        format!("{file} holds {kind} {name}, which would be applied as it is: take it out of this folder, now that gitops.yaml says it"),
    );
    false
}

/// Those that were read of what a folder holds, but for sources.
pub fn held(folder: &Folder, around: &Surroundings<'_, '_>) -> Vec<Key> {
    let says_what = |seen: &&Seen| is_delivery(&seen.group, &seen.kind) && !seen.group.starts_with("source.");
    folder.objects.iter().filter(says_what).filter_map(|seen| read(seen, around)).map(key).collect()
}

/// The resource that was read of what a folder holds.
fn read<'r>(seen: &Seen, around: &Surroundings<'r, '_>) -> Option<&'r Resource> {
    let same = |one: &&Resource| {
        (one.group(), one.kind(), one.name()) == (seen.group.as_str(), seen.kind.as_str(), seen.name.as_str())
    };
    around.all.iter().find(same)
}
