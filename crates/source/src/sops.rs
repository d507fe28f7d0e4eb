//! SOPS files. In: an encrypted file (YAML, JSON, dotenv, ini, or whole) and keys.
//! Out: its values in clear, in memory, or why not. age keys are handled here; files for other
//! keys go through the `sops` program, where there is one.
//!
//! A file is whole or refused: its message authentication code covers every
//! value in the order of the file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine;
use gitops_core::compare::{holds, mask_text, quoted};
use gitops_core::desired::Rendered;
use serde_json::Value;

use crate::error::SourceError;
use crate::location::Secret;
use crate::yaml::Document;

mod cipher;
mod flat;
mod ini;
mod program;
mod tree;

/// How a value looks that SOPS has encrypted.
const MARK: &str = "ENC[AES256_GCM,";

/// Digits of a number that is worth hiding, letters of a text in another writing.
const SHORTEST: usize = 4;

/// What decrypts SOPS files.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// age identities, one a line, with comments: as `age-keygen` writes them.
    pub age: Vec<Secret>,
    /// The `sops` program, for files without a recipient among the age keys.
    pub program: Option<PathBuf>,
}

impl Keys {
    /// From `KUBECTL_GITOPS_SOPS_AGE_KEY`, `SOPS_AGE_KEY`, the file that
    /// `SOPS_AGE_KEY_FILE` names, and `KUBECTL_GITOPS_SOPS` (else `sops` on
    /// PATH), read by `variable`.
    ///
    /// # Errors
    /// When the key file cannot be read.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Self, SourceError> {
        let read = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut age: Vec<Secret> = ["KUBECTL_GITOPS_SOPS_AGE_KEY", "SOPS_AGE_KEY"]
            .into_iter()
            .filter_map(|name| read(name)?.into_string().ok())
            .map(Secret::new)
            .collect();
        if let Some(file) = read("SOPS_AGE_KEY_FILE").map(PathBuf::from) {
            age.push(Secret::new(std::fs::read_to_string(&file).map_err(SourceError::io(&file))?));
        }
        let program = which::which(read("KUBECTL_GITOPS_SOPS").unwrap_or_else(|| "sops".into())).ok();
        Ok(Self { age, program })
    }

    /// Whether nothing can be decrypted.
    pub fn is_empty(&self) -> bool {
        self.age.is_empty() && self.program.is_none()
    }
}

/// How the SOPS files of one render fared.
#[derive(Default)]
pub(crate) struct Report {
    /// Whether something was decrypted: the result is not kept then.
    pub any: bool,
    /// Why the first file stayed encrypted.
    pub failed: Option<SourceError>,
    /// Texts that were encrypted.
    confidential: BTreeSet<String>,
}

impl Report {
    /// A file as a tool is to see it. One that cannot be decrypted stays as it
    /// is: perhaps nothing reads it; if something does, [`Report::check`] tells.
    pub fn decrypted(&mut self, path: &str, data: Vec<u8>, keys: &Keys) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&data) else { return data };
        let clear = if [".yaml", ".yml", ".json"].iter().any(|ending| path.ends_with(ending)) {
            is_encrypted(text).then(|| {
                // JSON is YAML, too; documents are set apart as in YAML.
                let values = self.decrypt(path, text, keys)?;
                let texts: Vec<String> = values.iter().map(Value::to_string).collect();
                Ok(texts.join("\n---\n").into_bytes())
            })
        } else {
            flat::Format::of(path, text).map(|format| {
                let flat::Clear { bytes, hidden } = format.decrypt(path, text, keys)?;
                hidden.iter().for_each(|text| self.keep_lines(text));
                Ok(bytes)
            })
        };
        match clear {
            None => data,
            Some(Ok(clear)) => {
                self.any = true;
                clear
            }
            Some(Err(error)) => {
                self.failed.get_or_insert(error);
                data
            }
        }
    }

    /// Decrypts the documents of a plain file in place; true when it was one of
    /// SOPS. Lines stay what they are.
    ///
    /// # Errors
    /// When it is one and cannot be decrypted.
    pub fn open(
        &mut self,
        file: &str,
        text: &str,
        documents: &mut [Document],
        keys: &Keys,
    ) -> Result<bool, SourceError> {
        if !is_encrypted(text) {
            return Ok(false);
        }
        let values = self.decrypt(file, text, keys)?;
        if values.len() != documents.len() {
            return Err(bad(file, "its documents are not those that were encrypted"));
        }
        for (document, value) in documents.iter_mut().zip(values) {
            document.value = value;
        }
        Ok(true)
    }

    /// Decrypts a file, and keeps in mind what was encrypted in it.
    fn decrypt(&mut self, file: &str, text: &str, keys: &Keys) -> Result<Vec<Value>, SourceError> {
        let sealed = tree::documents(file, text)?;
        let values = decrypt(file, sealed.clone(), text, keys)?;
        for (sealed, clear) in sealed.iter().zip(&values) {
            texts(&sealed.value(), clear, &mut |text| self.keep_lines(text));
        }
        Ok(values)
    }

    /// A file in a value may be used line by line.
    fn keep_lines(&mut self, text: &str) {
        text.lines().for_each(|line| self.keep(line.trim()));
        self.keep(text);
    }

    /// Keeps in mind what was encrypted, and how templates write it elsewhere: in
    /// base64, and between the quotes of JSON.
    fn keep(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if text.len() >= SHORTEST {
            self.confidential.insert(quoted(text));
            self.confidential.insert(base64::engine::general_purpose::STANDARD.encode(text));
        }
        self.confidential.insert(text.to_owned());
    }

    /// Why a tool failed. What it makes of encrypted text says less than why that
    /// is so; and it may quote what it has read.
    pub fn explain(&mut self, error: SourceError) -> SourceError {
        if let Some(failed) = self.failed.take() {
            return failed;
        }
        let confidential: Vec<String> = self.confidential.iter().cloned().collect();
        error.reworded(|reason| mask_text(reason, &confidential))
    }

    /// An object that knows which of its values were encrypted.
    pub fn marked(&self, object: Rendered) -> Rendered {
        // One walk is enough for most.
        let all: Vec<String> = self.confidential.iter().cloned().collect();
        if !holds(&object.value, &all) {
            return Rendered { confidential: std::iter::empty().collect(), ..object };
        }
        let held = self.confidential.iter().filter(|text| holds(&object.value, std::slice::from_ref(text)));
        Rendered { confidential: held.cloned().collect(), ..object }
    }

    /// Encrypted text is never applied.
    pub fn check(&mut self, file: &str, object: &Value) -> Result<(), SourceError> {
        // A generator puts a file into an object as a whole.
        let whole = self.failed.is_some() && holds_file(object);
        if !holds_encrypted(object) && !whole {
            return Ok(());
        }
        Err(self.failed.take().unwrap_or_else(|| SourceError::Sops {
            file: file.to_owned(),
            reason: "it holds a value that SOPS has encrypted, but is no whole SOPS file".into(),
        }))
    }
}

/// The texts that are encrypted in `sealed`, as they are in `clear`.
fn texts(sealed: &Value, clear: &Value, take: &mut dyn FnMut(&str)) {
    match (sealed, clear) {
        (Value::Object(sealed), Value::Object(clear)) => {
            sealed.iter().for_each(|(name, sealed)| {
                if let Some(clear) = clear.get(name) {
                    texts(sealed, clear, take);
                }
            });
        }
        (Value::Array(sealed), Value::Array(clear)) => {
            sealed.iter().zip(clear).for_each(|(sealed, clear)| texts(sealed, clear, take));
        }
        (Value::String(sealed), clear) if sealed.starts_with(MARK) => {
            // What is as short as a port is everywhere, and may be guessed.
            let number =
                || Some(clear.to_string()).filter(|text| clear.is_number() && text.len() >= SHORTEST);
            let Some(text) = clear.as_str().map(str::to_owned).or_else(number) else { return };
            take(&text);
        }
        _ => {}
    }
}

/// Whether a file looks like one of SOPS.
fn is_encrypted(text: &str) -> bool {
    text.contains(MARK)
        && (text.contains("\nsops:") || text.starts_with("sops:") || text.contains("\"sops\""))
}

fn holds_encrypted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with(MARK),
        Value::Array(items) => items.iter().any(holds_encrypted),
        Value::Object(map) => map.values().any(holds_encrypted),
        _ => false,
    }
}

/// Whether a value holds an encrypted file, perhaps as a Secret's `data` does.
fn holds_file(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            // kustomize breaks its lines.
            let joined: String = text.split_whitespace().collect();
            let packed = base64::engine::general_purpose::STANDARD.decode(joined);
            text.contains(MARK) || packed.is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(MARK))
        }
        Value::Array(items) => items.iter().any(holds_file),
        Value::Object(map) => map.values().any(holds_file),
        _ => false,
    }
}

fn decrypt(
    file: &str,
    documents: Vec<tree::Node>,
    text: &str,
    keys: &Keys,
) -> Result<Vec<Value>, SourceError> {
    let metadata = documents
        .iter()
        .find_map(|document| document.get("sops"))
        .map(tree::Node::value)
        .ok_or_else(|| bad(file, "it has values of SOPS, but no sops: of their keys"))?;
    match cipher::data_key(file, &metadata, &keys.age)? {
        Some(key) => cipher::open(file, documents, &metadata, &key),
        None => match &keys.program {
            Some(program) => program::decrypt(file, text, program),
            None => Err(no_key(file, &metadata)),
        },
    }
}

fn no_key(file: &str, metadata: &Value) -> SourceError {
    bad(file, &format!("there is no key for it: {}", cipher::recipients(metadata)))
}

fn bad(file: &str, reason: &str) -> SourceError {
    SourceError::Sops { file: file.to_owned(), reason: reason.to_owned() }
}
