//! SOPS' cryptography. In: a file's tree, its metadata and age identities.
//! Out: the data key, and with it the values in clear, checked as a whole.

use std::io::Read;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};
use sha2::{Digest, Sha256, Sha512};

use super::tree::Node;
use super::{MARK, bad};
use crate::error::SourceError;
use crate::location::Secret;

/// SOPS' nonces have 32 bytes.
type Cipher = AesGcm<Aes256, U32>;

/// The key of a file's values; none when no identity is a recipient.
pub(super) fn data_key(
    file: &str,
    metadata: &Value,
    identities: &[Secret],
) -> Result<Option<Vec<u8>>, SourceError> {
    let mut known: Vec<age::x25519::Identity> = Vec::new();
    let lines = identities.iter().flat_map(|text| text.reveal().lines()).map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // The message must not hold the line.
        known.push(
            line.parse()
                .map_err(|_| bad(file, "the age key given for it is none: AGE-SECRET-KEY-1... is needed"))?,
        );
    }
    let groups = metadata.get("key_groups").and_then(Value::as_array);
    if groups.is_some_and(|groups| groups.len() > 1) {
        return Ok(None);
    }
    let holders = groups.and_then(|groups| groups.first()).into_iter().chain([metadata]);
    let recipients = holders.filter_map(|holder| holder.get("age")?.as_array()).flatten();
    for sealed in recipients.filter_map(|recipient| recipient.get("enc")?.as_str()) {
        let identities = known.iter().map(|identity| identity as &dyn age::Identity);
        let armored = age::armor::ArmoredReader::new(sealed.as_bytes());
        let Ok(decryptor) = age::Decryptor::new_buffered(armored) else {
            return Err(bad(file, "sops.age[].enc is no armored age file"));
        };
        let Ok(mut reader) = decryptor.decrypt(identities) else { continue };
        let mut key = Vec::new();
        if reader.by_ref().take(64).read_to_end(&mut key).is_ok() && key.len() == 32 {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Who could decrypt it.
pub(super) fn recipients(metadata: &Value) -> String {
    let list = |field: &str, name: &str| -> Vec<String> {
        let items = metadata.get(field).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.get(name)?.as_str()).map(|text| format!("{field} {text}")).collect()
    };
    let all: Vec<String> = [
        ("age", "recipient"),
        ("pgp", "fp"),
        ("kms", "arn"),
        ("gcp_kms", "resource_id"),
        ("azure_kv", "name"),
        ("hc_vault", "key_name"),
    ]
    .into_iter()
    .flat_map(|(field, name)| list(field, name))
    .collect();
    if all.is_empty() { "it names no recipient".into() } else { format!("it is for {}", all.join(", ")) }
}

/// The documents in clear, without their `sops`.
pub(super) fn open(
    file: &str,
    documents: Vec<Node>,
    metadata: &Value,
    key: &[u8],
) -> Result<Vec<Value>, SourceError> {
    let mut opening = Opening::new(file, metadata, key)?;
    let mut values = Vec::new();
    for document in documents {
        let Node::Map(fields) = document else { return Err(bad(file, "a document is no map")) };
        let rest = fields.into_iter().filter(|(name, _)| name != "sops").collect();
        values.push(opening.node(Node::Map(rest), &mut Vec::new())?.unwrap_or_default());
    }
    opening.finish(metadata).map(|()| values)
}

/// A file that was encrypted as a whole: its bytes.
pub(super) fn open_whole(
    file: &str,
    sealed: &str,
    metadata: &Value,
    key: &[u8],
) -> Result<Vec<u8>, SourceError> {
    let mut opening = Opening::new(file, metadata, key)?;
    let changed = || bad(file, "data cannot be decrypted: it was changed, or moved from elsewhere");
    let (clear, _) = opening.decrypt(sealed, "data:").ok_or_else(changed)?;
    opening.hash.update(&clear);
    opening.finish(metadata).map(|()| clear)
}

struct Opening<'a> {
    file: &'a str,
    cipher: Cipher,
    hash: Sha512,
    only_encrypted: bool,
}

impl<'a> Opening<'a> {
    fn new(file: &'a str, metadata: &Value, key: &[u8]) -> Result<Self, SourceError> {
        let only_encrypted = metadata.get("mac_only_encrypted").and_then(Value::as_bool).unwrap_or(false);
        let cipher = Cipher::new_from_slice(key).map_err(|_| bad(file, "its data key has not 32 bytes"))?;
        let mut opening = Self { file, cipher, hash: Sha512::new(), only_encrypted };
        if only_encrypted {
            opening.hash.update(Sha256::digest("sops"));
        }
        Ok(opening)
    }

    /// Compares what was decrypted with the authentication code.
    fn finish(self, metadata: &Value) -> Result<(), SourceError> {
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default();
        let recorded = self.decrypt(text("mac"), text("lastmodified"));
        let computed = hex::encode_upper(self.hash.finalize());
        match recorded {
            Some((mac, _)) if mac == computed.as_bytes() => Ok(()),
            Some(_) => Err(bad(
                self.file,
                "it was changed after it had been encrypted: its values do not match sops.mac",
            )),
            None => Err(bad(
                self.file,
                "sops.mac cannot be decrypted: the file was changed after it had been encrypted",
            )),
        }
    }

    /// None for a comment.
    fn node(&mut self, node: Node, path: &mut Vec<String>) -> Result<Option<Value>, SourceError> {
        match node {
            Node::Map(fields) => {
                let mut map = serde_json::Map::new();
                for (name, node) in fields {
                    path.push(name);
                    let value = self.node(node, path)?;
                    let name = path.pop().unwrap_or_default();
                    map.extend(value.map(|value| (name, value)));
                }
                Ok(Some(map.into()))
            }
            Node::List(items) => {
                let mut list = Vec::new();
                for item in items {
                    list.extend(self.node(item, path)?);
                }
                Ok(Some(list.into()))
            }
            Node::Leaf(Value::String(text)) if text.starts_with(MARK) => self.leaf(&text, path),
            Node::Leaf(value) => {
                if !self.only_encrypted {
                    self.hash.update(bytes(&value));
                }
                Ok(Some(value))
            }
        }
    }

    fn leaf(&mut self, text: &str, path: &[String]) -> Result<Option<Value>, SourceError> {
        let additional: String = path.iter().map(|part| format!("{part}:")).collect();
        let shown = path.join(".");
        let Some((clear, kind)) = self.decrypt(text, &additional) else {
            return Err(bad(
                self.file,
                &format!("{shown} cannot be decrypted: it was changed, or moved from elsewhere"),
            ));
        };
        let value = read(&clear, kind)
            .ok_or_else(|| bad(self.file, &format!("{shown} is of the unknown type {kind}")))?;
        if let Some(value) = &value {
            self.hash.update(bytes(value));
        }
        Ok(value)
    }

    fn decrypt<'t>(&self, text: &'t str, additional: &str) -> Option<(Vec<u8>, &'t str)> {
        let inner = text.strip_prefix(MARK)?.strip_prefix("data:")?.strip_suffix(']')?;
        let (data, rest) = inner.split_once(",iv:")?;
        let (nonce, rest) = rest.split_once(",tag:")?;
        let (tag, kind) = rest.split_once(",type:")?;
        let mut sealed = STANDARD.decode(data).ok()?;
        sealed.extend(STANDARD.decode(tag).ok()?);
        let nonce = STANDARD.decode(nonce).ok().filter(|nonce| nonce.len() == 32)?;
        let payload = Payload { msg: &sealed, aad: additional.as_bytes() };
        Some((self.cipher.decrypt(Nonce::from_slice(&nonce), payload).ok()?, kind))
    }
}

/// A value by SOPS' name of its type; inside, none for a comment.
fn read(clear: &[u8], kind: &str) -> Option<Option<Value>> {
    let text = String::from_utf8_lossy(clear).into_owned();
    Some(Some(match kind {
        "str" | "bytes" | "time" => text.into(),
        "int" => text.parse::<i64>().ok()?.into(),
        "float" => Value::Number(Number::from_f64(text.parse().ok()?)?),
        "bool" => text.eq_ignore_ascii_case("true").into(),
        "comment" => return Some(None),
        _ => return None,
    }))
}

/// A value as SOPS counts it.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Bool(true) => b"True".to_vec(),
        Value::Bool(false) => b"False".to_vec(),
        // Rust writes floats like Go's 'f': no exponent, as few digits as needed.
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.to_string().into_bytes(),
            None => number.as_f64().map(|float| float.to_string()).unwrap_or_default().into_bytes(),
        },
        _ => Vec::new(),
    }
}
