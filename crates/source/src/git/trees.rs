//! Folders of commits, looked up by name. In: a tree's id. Out: its entries. A
//! folder of a thousand Applications is read for each of them, so those looked
//! at last stay in memory; an id always means the same entries.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use gix::objs::tree::EntryKind;

/// Entries that are kept, of all folders: some megabytes.
const MOST: usize = 50_000;

/// A folder's entries by name; of two of one name the first counts.
pub(super) type Tree = HashMap<Vec<u8>, (gix::ObjectId, EntryKind)>;

#[derive(Default)]
struct Kept {
    trees: HashMap<gix::ObjectId, Arc<Tree>>,
    entries: usize,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder by its id.
pub(super) fn tree(
    repository: &gix::ThreadSafeRepository,
    id: gix::ObjectId,
) -> Result<Arc<Tree>, gix::Error> {
    if let Some(tree) = kept().trees.get(&id) {
        return Ok(tree.clone());
    }
    let repository = repository.to_thread_local();
    let mut tree = Tree::new();
    for entry in repository.find_tree(id)?.iter() {
        let entry = entry?;
        let found = (entry.object_id(), entry.mode().kind());
        tree.entry(entry.filename().to_vec()).or_insert(found);
    }
    let tree = Arc::new(tree);
    let mut kept = kept();
    if kept.entries + tree.len() > MOST {
        *kept = Kept::default();
    }
    // One that is larger than all that is kept is not.
    if tree.len() <= MOST && kept.trees.insert(id, tree.clone()).is_none() {
        kept.entries += tree.len();
    }
    Ok(tree)
}
