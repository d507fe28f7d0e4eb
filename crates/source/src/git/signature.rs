//! Who has signed a commit. In: a commit, and the keys that count, as text or
//! fingerprint. Out: nothing when one of them has signed it, else why not.
//!
//! ssh-keygen and gpg check the signature, over bytes that are read here: no
//! configuration, key ring or agent of the user or of the repository is asked.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::{GitCache, key};
use crate::error::SourceError;
use crate::location::{RepoUrl, Secret};

const SSH: &str = "-----BEGIN SSH SIGNATURE-----";
const PGP: &str = "-----BEGIN PGP SIGNATURE-----";
const PGP_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// What git signs for.
const NAMESPACE: &str = "git";

/// A key that counts.
enum Signer {
    /// `SHA256:` and base64, as ssh-keygen prints it.
    Ssh(String),
    /// Armored.
    Pgp(String),
}

/// Reads a key.
fn signer(text: &str) -> Result<Signer, String> {
    let text = text.trim();
    if text.starts_with("SHA256:") {
        return Ok(Signer::Ssh(text.trim_end_matches('=').to_owned()));
    }
    if text.starts_with(PGP_KEY) {
        return Ok(Signer::Pgp(text.to_owned()));
    }
    let mut words = text.split_whitespace();
    if let (Some(kind), Some(key)) = (words.next(), words.next())
        && let Ok(blob) = STANDARD.decode(key)
        && Reader(&blob).string() == Some(kind.as_bytes())
    {
        return Ok(Signer::Ssh(fingerprint(&blob)));
    }
    let shown: String = text.chars().take(40).collect();
    let digits = text.replace(' ', "");
    if digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(format!(
            "{shown:?} is an OpenPGP fingerprint, by which nothing can be checked: give the armored public key"
        ));
    }
    Err(format!(
        "{shown:?} is neither an SSH public key, nor its SHA256 fingerprint, nor an armored OpenPGP public key"
    ))
}

fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// Why what an SSH private key signs would count for none of these signers; none:
/// it counts.
///
/// # Errors
/// When the key cannot be read without a passphrase, or the program is not there.
pub fn counts_not(private_key: &Secret, signers: &[String]) -> Result<Option<String>, SourceError> {
    let folder = tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
    key::put(&folder.path().join("key"), private_key.reveal())?;
    let (good, text) = run("ssh-keygen", folder.path(), &["-y", "-P", "", "-f", "key"], None)?;
    let Some(Signer::Ssh(own)) = good.then(|| signer(&text).ok()).flatten() else {
        return Ok(Some("it is no SSH private key without a passphrase".into()));
    };
    let known = |text: &String| matches!(signer(text), Ok(Signer::Ssh(known)) if known == own);
    Ok((!signers.iter().any(known)).then(|| format!("it is {own}, which is none of the Project's signers")))
}

/// Strings with their lengths before them (RFC 4251, 5).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

/// The public key inside of an SSH signature (PROTOCOL.sshsig).
fn key_of(signature: &str) -> Option<Vec<u8>> {
    let lines = signature.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let blob = STANDARD.decode(lines.collect::<String>()).ok()?;
    let mut reader = Reader(&blob);
    (reader.take(6)? == b"SSHSIG" && reader.take(4)? == 1_u32.to_be_bytes())
        .then(|| reader.string())?
        .map(<[u8]>::to_vec)
}

impl GitCache {
    /// Whether one of `signers` has signed a commit that is here.
    ///
    /// # Errors
    /// [`SourceError::Unsigned`] with the reason when none has; when a key
    /// cannot be read; when the program that checks is not there.
    pub fn verify(&self, repo: &RepoUrl, commit: &str, signers: &[String]) -> Result<(), SourceError> {
        let unsigned = |reason: String| SourceError::Unsigned {
            repo: repo.to_string(),
            commit: commit.chars().take(12).collect(),
            reason,
        };
        let signers: Vec<Signer> =
            signers.iter().map(|text| signer(text)).collect::<Result<_, _>>().map_err(&unsigned)?;
        let repository = self.repository(repo)?;
        let missing = || SourceError::NoSuchRevision {
            repo: repo.to_string(),
            revision: commit.into(),
            near: Vec::new(),
        };
        let id = gix::ObjectId::from_hex(commit.as_bytes()).map_err(|_| missing())?;
        let object = repository.find_commit(id).map_err(|_| missing())?;
        let found =
            object.signature().map_err(|error| unsigned(format!("its signature cannot be read: {error}")))?;
        let Some((signature, signed)) = found else {
            return Err(unsigned("it is not signed".into()));
        };
        let (signature, signed) = (signature.to_string(), signed.to_bstring());
        let folder = tempfile::tempdir().map_err(SourceError::io(std::env::temp_dir()))?;
        let checked = if signature.trim_start().starts_with(SSH) {
            ssh(folder.path(), &signature, &signed, &signers)?
        } else if signature.trim_start().starts_with(PGP) {
            pgp(folder.path(), &signature, &signed, &signers)?
        } else {
            Err("its signature is neither of SSH nor of OpenPGP".into())
        };
        checked.map_err(unsigned)
    }
}

type Checked = Result<Result<(), String>, SourceError>;

fn write(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    std::fs::write(path, bytes).map_err(SourceError::io(path))
}

/// Runs a program that sees nothing of the user's. Its status, and what it
/// printed to both.
fn run(
    tool: &'static str,
    folder: &Path,
    arguments: &[&str],
    input: Option<&Path>,
) -> Result<(bool, String), SourceError> {
    let program = which::which(tool).map_err(|_| SourceError::ToolMissing { tool, path: tool.into() })?;
    let stdin = match input {
        Some(path) => Stdio::from(std::fs::File::open(path).map_err(SourceError::io(path))?),
        None => Stdio::null(),
    };
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("GNUPGHOME", folder)
        .env("LC_ALL", "C")
        .stdin(stdin)
        .output()
        .map_err(SourceError::io(&program))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

fn ssh(folder: &Path, signature: &str, signed: &[u8], signers: &[Signer]) -> Checked {
    let Some(key) = key_of(signature) else { return Ok(Err("its SSH signature cannot be read".into())) };
    let by = fingerprint(&key);
    if !signers.iter().any(|signer| matches!(signer, Signer::Ssh(known) if *known == by)) {
        return Ok(Err(format!("it is signed by the SSH key {by}, which is none of the Project's")));
    }
    let kind = Reader(&key).string().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    let allowed = format!("signer namespaces=\"{NAMESPACE}\" {kind} {}\n", STANDARD.encode(&key));
    let payload = folder.join("payload");
    write(&folder.join("allowed"), allowed.as_bytes())?;
    write(&folder.join("signature"), signature.as_bytes())?;
    write(&payload, signed)?;
    let arguments = ["-Y", "verify", "-f", "allowed", "-I", "signer", "-n", NAMESPACE, "-s", "signature"];
    let (good, _) = run("ssh-keygen", folder, &arguments, Some(&payload))?;
    Ok(if good { Ok(()) } else { Err(format!("its signature by the SSH key {by} is not valid")) })
}

fn pgp(folder: &Path, signature: &str, signed: &[u8], signers: &[Signer]) -> Checked {
    let keys: Vec<&str> = signers
        .iter()
        .filter_map(|signer| match signer {
            Signer::Pgp(key) => Some(key.as_str()),
            Signer::Ssh(_) => None,
        })
        .collect();
    if keys.is_empty() {
        return Ok(Err("it is signed by OpenPGP, and the Project names no OpenPGP key".into()));
    }
    for (name, bytes) in
        [("keys", keys.join("\n").as_bytes()), ("signature", signature.as_bytes()), ("payload", signed)]
    {
        write(&folder.join(name), bytes)?;
    }
    let batch = [
        "--batch",
        "--no-tty",
        "--no-autostart",
        "--no-options",
        "--trust-model",
        "always",
        "--status-fd",
        "1",
    ];
    run("gpg", folder, &[&batch[..], &["--import", "keys"]].concat(), None)?;
    let (good, text) =
        run("gpg", folder, &[&batch[..], &["--verify", "signature", "payload"]].concat(), None)?;
    let says = |word: &str| {
        text.lines().any(|line| line.strip_prefix("[GNUPG:] ").is_some_and(|rest| rest.starts_with(word)))
    };
    // Only the Project's keys are on this ring. An expired or revoked one says
    // EXPKEYSIG or REVKEYSIG instead of GOODSIG.
    if good && says("GOODSIG ") && says("VALIDSIG ") {
        return Ok(Ok(()));
    }
    let why = if says("NO_PUBKEY ") { "is of none of the Project's keys" } else { "is not valid" };
    Ok(Err(format!("its OpenPGP signature {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_by_text_and_fingerprint_and_bad_ones_named() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl git@example";
        let print = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
        for text in [key, print] {
            assert!(matches!(signer(text), Ok(Signer::Ssh(found)) if found == print), "{text}");
        }
        for (text, part) in [
            ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl", "neither"),
            ("ada@example.com", "neither"),
            ("0123456789abcdef0123456789ABCDEF01234567", "armored"),
        ] {
            assert!(signer(text).is_err_and(|reason| reason.contains(part)), "{text}");
        }
    }
}
