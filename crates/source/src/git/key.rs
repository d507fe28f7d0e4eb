//! A private key for ssh. In: credentials. Out: the command that uses this key
//! and no other.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::SourceError;
use crate::location::Login;

/// An ssh key on disk for as long as ssh needs it, readable by this user only.
#[derive(Debug)]
pub(super) struct KeyFiles {
    folder: tempfile::TempDir,
}

impl KeyFiles {
    pub(super) fn of(login: &Login) -> Result<Option<Self>, SourceError> {
        let Login::Ssh { private_key, known_hosts } = login else { return Ok(None) };
        let folder = tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
        for (name, text) in [("key", private_key.reveal()), ("known_hosts", known_hosts)] {
            put(&folder.path().join(name), text)?;
        }
        Ok(Some(Self { folder }))
    }

    /// ssh with this key alone, for these hosts alone.
    pub(super) fn command(&self) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "ssh -F none -i '{}' -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile='{}'",
            file("key"),
            file("known_hosts")
        )
    }
}

/// A new file that this user alone may read.
pub(super) fn put(path: &Path, text: &str) -> Result<(), SourceError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // ssh takes no key whose last line does not end.
    let written = file.and_then(|mut file| writeln!(file, "{}", text.trim_end()));
    written.map_err(SourceError::io(path))
}
