//! What clusters of one machine must not both have: a name, ports, a link. In:
//! a folder. Out: a lock, held as long as the value lives; it goes with the
//! process, however that ends.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Error;

/// Makes the folder of a new cluster and locks it.
pub(crate) fn new(dir: &Path) -> Result<File, Error> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    loop {
        match std::fs::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let busy = File::open(dir).is_ok_and(|file| file.try_lock().is_err());
                let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Err(if busy {
                    Error::Busy { name }
                } else {
                    Error::Exists { name, dir: dir.to_owned() }
                });
            }
            Err(error) => return Err(Error::Io { path: dir.to_owned(), error }),
        }
        // Another may take it down before it is locked.
        if let Some(lock) = existing(dir)? {
            return Ok(lock);
        }
    }
}

/// Locks the folder of a cluster that is there, once nobody else starts or
/// stops it; none when it is gone.
pub(crate) fn existing(dir: &Path) -> Result<Option<File>, Error> {
    let file = match File::open(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::io(dir))?,
    };
    file.lock().map_err(Error::io(dir))?;
    let locked = file.metadata().map_err(Error::io(dir))?;
    let same = |now: std::fs::Metadata| (now.dev(), now.ino()) == (locked.dev(), locked.ino());
    Ok(std::fs::metadata(dir).is_ok_and(same).then_some(file))
}

/// Held while ports or a link are chosen for the cluster in `dir`.
pub(crate) fn choice(dir: &Path) -> Result<File, Error> {
    let all = dir.parent().unwrap_or(dir);
    let file = File::open(all).map_err(Error::io(all))?;
    file.lock().map_err(Error::io(all))?;
    Ok(file)
}

/// The ports of the other clusters, of which some may not listen yet.
pub(crate) fn ports_of_others(dir: &Path) -> BTreeSet<u16> {
    let entries = dir.parent().and_then(|parent| std::fs::read_dir(parent).ok());
    let files = entries.into_iter().flatten().flatten().map(|entry| entry.path().join("ports"));
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    texts.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
}
