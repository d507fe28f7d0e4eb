//! Repositories that stay open: a thousand Applications of one need not read
//! its configuration a thousand times. Objects and references that come later
//! are seen all the same.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Repositories that are kept open.
const MOST: usize = 32;

/// Device and inode: another repository at the same path is another one. And when
/// packs last came or went: gix has room for as many as there were at the opening,
/// and few more.
type Identity = (u64, u64, i64, i64);

static OPENED: LazyLock<Mutex<HashMap<PathBuf, (Identity, gix::ThreadSafeRepository)>>> =
    LazyLock::new(Mutex::default);

fn all() -> MutexGuard<'static, HashMap<PathBuf, (Identity, gix::ThreadSafeRepository)>> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(place: &Path) -> Option<Identity> {
    let (found, packs) = (place.metadata().ok()?, place.join("objects/pack").metadata().ok()?);
    Some((found.dev(), found.ino(), packs.mtime(), packs.mtime_nsec()))
}

/// One that has been opened before.
pub(super) fn known(place: &Path) -> Option<gix::Repository> {
    let known = all().get(place)?.clone();
    (Some(known.0) == identity(place)).then(|| known.1.to_thread_local())
}

/// Keeps one open.
pub(super) fn keep(place: &Path, repository: &gix::Repository) {
    let Some(identity) = identity(place) else { return };
    let mut all = all();
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(place.to_owned(), (identity, repository.clone().into_sync()));
}
