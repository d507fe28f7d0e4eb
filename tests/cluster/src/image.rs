//! Container images without a builder. In: files, an entrypoint, a user. Out:
//! an OCI layout in a tar archive, with one uncompressed layer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::process::run;

/// A file of this machine and its place in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub source: PathBuf,
    pub target: PathBuf,
    pub mode: u32,
}

/// What is to be in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Such as `localhost/name:tag`.
    pub name: String,
    pub files: Vec<File>,
    pub entrypoint: Vec<String>,
    /// Uid, or uid:gid.
    pub user: String,
    /// Adds the shared libraries that the files need.
    pub with_libraries: bool,
}

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Image {
    /// Writes the archive.
    ///
    /// # Errors
    /// When a file cannot be read or the archive not be written.
    pub fn write(&self, archive: &Path) -> Result<(), Error> {
        let layer = self.layer()?;
        let config = json!({
            "architecture": if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "User": self.user, "WorkingDir": "/", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let descriptor = |media: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{media}"), "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &config),
            "layers": [descriptor("layer.v1.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let mut entry: Value = descriptor("manifest.v1+json", &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string().into_bytes();

        let file = std::fs::File::create(archive).map_err(Error::io(archive))?;
        let mut tar = tar::Builder::new(std::io::BufWriter::new(file));
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", &digest(bytes)[7..]);
        append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut tar, "index.json", 0o644, &index)?;
        for bytes in [&layer, &config, &manifest] {
            append(&mut tar, &blob(bytes), 0o644, bytes)?;
        }
        tar.into_inner().and_then(|mut writer| std::io::Write::flush(&mut writer)).map_err(Error::io(archive))
    }

    fn layer(&self) -> Result<Vec<u8>, Error> {
        let mut tar = tar::Builder::new(Vec::new());
        for (folder, mode) in [("tmp/", 0o1777), ("etc/", 0o755), ("var/cache/", 0o755)] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(mode);
            header.set_size(0);
            tar.append_data(&mut header, folder, std::io::empty()).map_err(Error::io(folder))?;
        }
        append(
            &mut tar,
            "etc/passwd",
            0o644,
            b"root:x:0:0::/:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/false\n",
        )?;
        append(&mut tar, "etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?;
        let mut files = self.files.clone();
        if Path::new(CERTIFICATES).exists() {
            files.push(File { source: CERTIFICATES.into(), target: CERTIFICATES.into(), mode: 0o644 });
        }
        if self.with_libraries {
            files.extend(self.libraries()?);
        }
        for file in &files {
            let bytes = std::fs::read(&file.source).map_err(Error::io(&file.source))?;
            let target = file.target.to_string_lossy();
            append(&mut tar, target.trim_start_matches('/'), file.mode, &bytes)?;
        }
        tar.into_inner().map_err(Error::io("layer"))
    }

    /// What `ldd` names: each library at the path where the loader looks.
    fn libraries(&self) -> Result<Vec<File>, Error> {
        let mut paths = BTreeSet::new();
        for file in &self.files {
            // A static program is no error, it has none.
            let listed = run(Command::new("ldd").arg(&file.source)).unwrap_or_default();
            paths.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
        }
        Ok(paths
            .into_iter()
            .map(|path| File { source: path.clone().into(), target: path.into(), mode: 0o755 })
            .collect())
    }
}

fn append<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<(), Error> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).map_err(Error::io(path))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
