//! A compressed copy of what an Application declares, kept in the cluster, so
//! that a cold restart without Git still holds it. In: a part of the index, or
//! an Application's name. Out: Secrets `gitops-index-*` of this program's
//! namespace, or the part read back from them. The values of Secrets, and those
//! that hold what Git keeps encrypted, are in it as salted hashes alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use gitops_core::copy::{Reader, Record};
use gitops_core::desired::AppRef;
use gitops_core::index::{Part, Precedence};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use sha2::{Digest, Sha256};

use gitops_core::names::FIELD_MANAGER_WEBHOOK;

/// Bytes of one Secret; the API server takes 1 MiB with everything.
const CHUNK: usize = 700 << 10;
/// More Secrets than this are not written: such an Application is kept on disk
/// alone.
const MAX_CHUNKS: usize = 32;
/// What a copy may unpack to.
const MAX_UNPACKED: u64 = 512 << 20;
/// Of this layout.
const FORMAT: &str = "3";
/// Layouts that are read; a copy of an older one is written anew.
const READ: [&str; 2] = ["2", FORMAT];

const LABEL: &str = "kubectl-gitops.dev/copy";
const APPLICATION: &str = "kubectl-gitops.dev/copy-of";
const REVISION: &str = "kubectl-gitops.dev/copy-revision";
const UID: &str = "kubectl-gitops.dev/copy-uid";
const CREATED: &str = "kubectl-gitops.dev/copy-created";
const DIGEST: &str = "kubectl-gitops.dev/copy-sha256";
const COUNT: &str = "kubectl-gitops.dev/copy-parts";
const VERSION: &str = "kubectl-gitops.dev/copy-format";
const ROLLOUTS: &str = "kubectl-gitops.dev/copy-rollouts";

/// Why a copy could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Cluster(#[from] kube::Error),
    #[error("the copy of {application} does not fit: {reason}")]
    Damaged { application: AppRef, reason: String },
    #[error("{application} is too large for a copy in the cluster: {chunks} Secrets")]
    TooLarge { application: AppRef, chunks: usize },
    #[error("packing: {0}")]
    Pack(#[from] std::io::Error),
}

/// Copies in one namespace.
#[derive(Clone, Debug)]
pub struct Copies {
    secrets: Api<Secret>,
}

impl Copies {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace) }
    }

    /// Keeps a part, unless it is kept already. `rollouts` says where its Rollouts
    /// stand: one commit is another part after one of them has moved. The last
    /// Secret written makes the copy whole.
    ///
    /// # Errors
    /// When it is too large, or the Secrets cannot be written.
    pub async fn keep(&self, part: &Part, rollouts: &str) -> Result<(), CopyError> {
        let application = &part.application;
        let before = self.all(application).await?;
        let rollouts = standing(rollouts);
        if whole(&before).is_some_and(|first| is_of(first, part, &rollouts)) {
            return Ok(());
        }
        let packed = pack(part, &salt())?;
        let chunks: Vec<&[u8]> = packed.chunks(CHUNK).collect();
        if chunks.len() > MAX_CHUNKS {
            return Err(CopyError::TooLarge { application: application.clone(), chunks: chunks.len() });
        }
        let digest = hex::encode(Sha256::digest(&packed));
        let params = PatchParams::apply(FIELD_MANAGER_WEBHOOK).force();
        for (index, chunk) in chunks.iter().enumerate().rev() {
            let secret = secret(part, index, chunk, chunks.len(), (&digest, &rollouts));
            let name = secret.metadata.name.clone().unwrap_or_default();
            self.secrets.patch(&name, &params, &Patch::Apply(&secret)).await?;
        }
        for index in chunks.len()..before.len() {
            self.secrets.delete(&name(application, index), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// What was kept of the Application of this uid.
    ///
    /// # Errors
    /// When the copy is damaged, or cannot be read.
    pub async fn read(&self, application: &AppRef, uid: &str) -> Result<Option<Part>, CopyError> {
        let secrets = self.all(application).await?;
        let damaged =
            |reason: &str| CopyError::Damaged { application: application.clone(), reason: reason.into() };
        let Some(first) = secrets.get(&0) else { return Ok(None) };
        if note(first, UID) != uid || note(first, APPLICATION) != application.to_string() {
            return Ok(None);
        }
        if !READ.contains(&note(first, VERSION)) {
            return Err(damaged("it is of another version of this program"));
        }
        if whole(&secrets).is_none() {
            return Err(damaged("a part of it is missing"));
        }
        let mut packed = Vec::new();
        for secret in secrets.values() {
            packed.extend_from_slice(
                secret.data.as_ref().and_then(|data| data.get("part")).map_or(&[], |part| &part.0),
            );
        }
        if hex::encode(Sha256::digest(&packed)) != note(first, DIGEST) {
            return Err(damaged("its digest is another"));
        }
        let precedence = (note(first, CREATED).to_owned(), uid.to_owned());
        let part = unpack(&packed, application, note(first, REVISION), precedence)
            .map_err(|reason| damaged(&reason))?;
        Ok(Some(part))
    }

    /// Forgets an Application that is gone.
    ///
    /// # Errors
    /// When the Secrets cannot be deleted.
    pub async fn forget(&self, application: &AppRef) -> Result<(), CopyError> {
        for index in self.all(application).await?.into_keys() {
            self.secrets.delete(&name(application, index), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// The Secrets of an Application's copy by their place.
    async fn all(&self, application: &AppRef) -> Result<BTreeMap<usize, Secret>, CopyError> {
        let params = ListParams::default().labels(&format!("{LABEL}={}", id(application)));
        let list = self.secrets.list(&params).await?;
        let place = |secret: &Secret| secret.metadata.name.as_deref()?.rsplit('-').next()?.parse().ok();
        // By the exact name: others are not guarded.
        let placed = list.items.into_iter().filter_map(|secret| {
            let index = place(&secret)?;
            (secret.metadata.name.as_deref() == Some(&name(application, index))).then_some((index, secret))
        });
        Ok(placed.collect())
    }
}

/// The first Secret of a copy of which no part is missing.
fn whole(secrets: &BTreeMap<usize, Secret>) -> Option<&Secret> {
    let first = secrets.get(&0)?;
    let count: usize = note(first, COUNT).parse().ok()?;
    let same = |secret: &Secret| note(secret, DIGEST) == note(first, DIGEST);
    (secrets.len() >= count && (0..count).all(|index| secrets.get(&index).is_some_and(same))).then_some(first)
}

fn is_of(first: &Secret, part: &Part, rollouts: &str) -> bool {
    note(first, REVISION) == part.revision
        && note(first, ROLLOUTS) == rollouts
        && note(first, UID) == part.precedence.1
        && note(first, VERSION) == FORMAT
}

fn note<'a>(secret: &'a Secret, key: &str) -> &'a str {
    secret.metadata.annotations.as_ref().and_then(|notes| notes.get(key)).map_or("", String::as_str)
}

fn id(application: &AppRef) -> String {
    hex::encode(Sha256::digest(application.to_string()))[..16].to_owned()
}

fn name(application: &AppRef, index: usize) -> String {
    format!("gitops-index-{}-{index}", id(application))
}

/// Where Rollouts stand, in short; nothing where there are none.
fn standing(rollouts: &str) -> String {
    if rollouts.is_empty() { String::new() } else { hex::encode(Sha256::digest(rollouts)) }
}

fn secret(part: &Part, index: usize, chunk: &[u8], count: usize, (digest, rollouts): (&str, &str)) -> Secret {
    let notes = [
        (APPLICATION, part.application.to_string()),
        (REVISION, part.revision.clone()),
        (CREATED, part.precedence.0.clone()),
        (UID, part.precedence.1.clone()),
        (DIGEST, digest.to_owned()),
        (COUNT, count.to_string()),
        (VERSION, FORMAT.to_owned()),
        (ROLLOUTS, rollouts.to_owned()),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(name(&part.application, index)),
            labels: Some([(LABEL.to_owned(), id(&part.application))].into()),
            annotations: Some(notes.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        type_: Some("kubectl-gitops.dev/index".into()),
        data: Some([("part".to_owned(), ByteString(chunk.to_vec()))].into()),
        ..Secret::default()
    }
}

/// Sixteen random bytes; the certificate's key needs the same source.
fn salt() -> String {
    let mut bytes = [0; 16];
    if rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).is_err() {
        tracing::warn!("no random salt could be had; the process id serves");
        bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
    }
    hex::encode(bytes)
}

/// A record a line, compressed: never the whole text at once.
fn pack(part: &Part, salt: &str) -> Result<Vec<u8>, std::io::Error> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let mut keys: Vec<_> = part.keys().collect();
    keys.sort();
    for object in keys.into_iter().filter_map(|key| part.get(key)) {
        serde_json::to_writer(&mut packer, &Record::of(object, salt))?;
        packer.write_all(b"\n")?;
    }
    packer.finish()
}

fn unpack(
    packed: &[u8],
    application: &AppRef,
    revision: &str,
    precedence: Precedence,
) -> Result<Part, String> {
    let text = std::io::Read::take(GzDecoder::new(packed), MAX_UNPACKED);
    let mut reader = Reader::default();
    for line in BufReader::new(text).lines() {
        let line = line.map_err(|error| error.to_string())?;
        let record = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        reader.add(record).map_err(|error| error.to_string())?;
    }
    Ok(reader.finish(application.clone(), revision.to_owned(), precedence))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn part() -> Part {
        let mut reader = Reader::default();
        for index in 0..100 {
            let object = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{index}"), "namespace": "shop"}, "data": {"a": "aHVudGVyMg=="}});
            reader
                .add(Record { object, file: "f".into(), line: 1, lines: None, confidential: Vec::new() })
                .unwrap();
        }
        let application = AppRef { namespace: "shop".into(), name: "web".into() };
        reader.finish(application, "c1".into(), ("2026".into(), "u1".into()))
    }

    #[test]
    fn a_part_comes_back_from_its_copy() {
        let part = part();
        let packed = pack(&part, "salt").unwrap();
        let back = unpack(&packed, &part.application, "c1", part.precedence.clone()).unwrap();
        assert_eq!((back.len(), back.revision.as_str()), (100, "c1"));
        assert!(back.keys().all(|key| !back.get(key).unwrap().value.to_string().contains("aHVudGVyMg")));
        assert!(
            unpack(&packed[..packed.len() / 2], &part.application, "c1", part.precedence.clone()).is_err()
        );
        assert!(unpack(b"garbage", &part.application, "c1", part.precedence.clone()).is_err());
    }

    #[test]
    fn a_copy_is_whole_when_all_parts_are_of_one_digest() {
        let part = part();
        let of = |digest: &str, index| secret(&part, index, b"x", 2, (digest, ""));
        let all = |second: &str| BTreeMap::from([(0, of("d1", 0)), (1, of(second, 1))]);
        assert!(whole(&all("d1")).is_some_and(|first| is_of(first, &part, "")));
        // The same commit, after its Rollout has promoted it.
        let moved = standing("web Idle b");
        assert!(whole(&all("d1")).is_some_and(|first| !is_of(first, &part, &moved)));
        assert!(whole(&all("d2")).is_none());
        assert!(whole(&BTreeMap::from([(0, of("d1", 0))])).is_none());
    }
}
