//! The `sops` program, for keys that are kept elsewhere: pgp, clouds, Vault. It
//! runs with the user's environment, since that is how it gets to the keys; it
//! sees one file and writes to a pipe.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::child;
use crate::error::SourceError;
use crate::yaml;

const TIME: Duration = Duration::from_secs(30);
const MAX_OUTPUT: u64 = 64 << 20;

pub(super) fn decrypt(file: &str, text: &str, program: &Path) -> Result<Vec<Value>, SourceError> {
    let kind = if file.ends_with(".json") { "json" } else { "yaml" };
    let no_yaml = || super::bad(file, "what sops gives is no YAML");
    let clear = String::from_utf8(run(file, text, kind, program)?).map_err(|_| no_yaml())?;
    let documents = yaml::documents(file, &clear).map_err(|_| no_yaml())?;
    Ok(documents.into_iter().map(|document| document.value).collect())
}

/// What it gives for a file of a kind: `yaml`, `json`, `dotenv` or `binary`.
pub(super) fn run(file: &str, text: &str, kind: &str, program: &Path) -> Result<Vec<u8>, SourceError> {
    // What it is given is encrypted and may lie on a disk.
    let mut sealed = tempfile::NamedTempFile::new().map_err(SourceError::io(std::env::temp_dir()))?;
    sealed.write_all(text.as_bytes()).map_err(SourceError::io(sealed.path()))?;
    let child = Command::new(program)
        .args(["decrypt", "--input-type", kind, "--output-type", kind])
        .arg(sealed.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(SourceError::io(program))?;
    let Some(ended) = child::wait(child, b"", TIME, MAX_OUTPUT).map_err(SourceError::io(program))? else {
        return Err(SourceError::Timeout { what: format!("sops on {file}"), seconds: TIME.as_secs() });
    };
    // What it complains about may quote what it read.
    let failed = || {
        super::bad(file, "none of the age keys is for it, and sops cannot decrypt it; try: sops decrypt FILE")
    };
    if ended.status.success() { Ok(ended.stdout) } else { Err(failed()) }
}
