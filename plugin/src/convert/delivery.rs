//! Folders that hold Argo CD's or Flux's resources themselves: an app of apps,
//! a cluster's folder. gitops.yaml says what these say.

use super::field::{Field, Weight};
use super::home::{Folder, Seen};
use super::{Surroundings, is_delivery};

/// Whether a source is left out, as it declares nothing beside what is read
/// here. What it holds of others stays, and is told.
pub fn is_only_delivery(folder: &Folder, field: &Field<'_>, around: &Surroundings<'_, '_>) -> bool {
    let delivers = |seen: &Seen| is_delivery(&seen.group, &seen.kind);
    let Some(first) = folder.objects.iter().find(|seen| delivers(seen)) else { return false };
    let is_read = |seen: &Seen| {
        let same = |other: &(&str, &str, &str)| *other == (&*seen.group, &*seen.kind, &*seen.name);
        around.all.iter().any(|one| same(&(one.group(), one.kind(), one.name())))
    };
    let mut unread = folder.objects.iter().filter(|seen| delivers(seen) && !is_read(seen));
    if let Some(seen) = unread.next() {
        let (file, kind, name) = (&seen.file, &seen.kind, &seen.name);
        field.tell(Weight::What, format!("{file} holds {kind} {name}, which is not read: add --from {file}"));
    }
    let is_other = |seen: &Seen| !delivers(seen) && !seen.is_tool;
    if folder.is_whole && !folder.objects.iter().any(is_other) {
        field.tell(
            Weight::How,
            "left out: it holds nothing but what says what is deployed, and gitops.yaml says that now",
        );
        return true;
    }
    let (file, kind, name) = (&first.file, &first.kind, &first.name);
    field.tell(
        Weight::How,
        format!("{file} holds {kind} {name}, which would be applied as it is: take it out of this folder, now that an Application stands for it"),
    );
    false
}
