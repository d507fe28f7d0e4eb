//! SOPS files that are no YAML: dotenv files (`.env`), and whole files of any
//! kind, which SOPS keeps as `{"data": ..., "sops": ...}`. In: the text of one.
//! Out: what it was before it was encrypted.

use serde_json::{Map, Value};

use super::tree::Node;
use super::{Keys, MARK, bad, cipher, no_key, program};
use crate::error::SourceError;

/// Parts of such a name that are read; SOPS' longest has five.
const DEPTH: usize = 16;

/// What begins the names of SOPS' own lines in a dotenv file.
const OWN: &str = "sops_";

/// What a file is by its name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Dotenv,
    Binary,
}

impl Format {
    /// None for a file that SOPS has not encrypted.
    pub(super) fn of(path: &str, text: &str) -> Option<Self> {
        if !text.contains(MARK) {
            return None;
        }
        if path.ends_with(".env") {
            return text.lines().any(|line| line.starts_with("sops_mac=")).then_some(Self::Dotenv);
        }
        (text.trim_start().starts_with('{') && text.contains("\"sops\"")).then_some(Self::Binary)
    }

    /// As the `sops` program calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Binary => "binary",
        }
    }

    /// What is worth hiding of a line.
    pub(super) fn value(self, line: &str) -> &str {
        match self {
            Self::Dotenv => line.split_once('=').map_or(line, |(_, value)| value),
            Self::Binary => line,
        }
    }

    pub(super) fn decrypt(self, file: &str, text: &str, keys: &Keys) -> Result<Vec<u8>, SourceError> {
        let (values, metadata) = match self {
            Self::Dotenv => lines(text),
            Self::Binary => whole(file, text)?,
        };
        let Some(key) = cipher::data_key(file, &metadata, &keys.age)? else {
            let program = keys.program.as_ref().ok_or_else(|| no_key(file, &metadata))?;
            return program::run(file, text, self.name(), program);
        };
        match self {
            Self::Binary => {
                let sealed = values.first().and_then(|(_, sealed)| sealed.as_str()).unwrap_or_default();
                cipher::open_whole(file, sealed, &metadata, &key)
            }
            Self::Dotenv => {
                let fields = values.into_iter().map(|(name, value)| (name, Node::Leaf(value)));
                let names: Vec<String> = fields.clone().map(|(name, _)| name).collect();
                let clear = cipher::open(file, vec![Node::Map(fields.collect())], &metadata, &key)?;
                let clear = clear.into_iter().next().unwrap_or_default();
                let line = |name: &String| {
                    let value = clear.get(name).and_then(Value::as_str).unwrap_or_default();
                    format!("{name}={}\n", value.replace('\n', "\\n"))
                };
                Ok(names.iter().map(line).collect::<String>().into_bytes())
            }
        }
    }
}

type Fields = Vec<(String, Value)>;

/// The lines of a dotenv file, and SOPS' own. Comments do not count.
fn lines(text: &str) -> (Fields, Value) {
    let (mut fields, mut metadata) = (Vec::new(), Value::Null);
    let named = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    for (name, value) in named {
        let value = value.replace("\\n", "\n");
        match name.strip_prefix(OWN) {
            Some(own) => put(&mut metadata, own.split("__").take(DEPTH), value),
            None => fields.push((name.to_owned(), value.into())),
        }
    }
    (fields, metadata)
}

/// `age__list_0__map_enc` is `age[0].enc`.
fn put<'p>(at: &mut Value, mut parts: impl Iterator<Item = &'p str>, value: String) {
    let Some(part) = parts.next() else {
        *at = match value.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            _ => value.into(),
        };
        return;
    };
    if let Some(index) = part.strip_prefix("list_").and_then(|index| index.parse::<usize>().ok()) {
        if !at.is_array() {
            *at = Value::Array(Vec::new());
        }
        // They come in their order; nothing leaves a gap.
        if let Value::Array(items) = at
            && index <= items.len()
        {
            if index == items.len() {
                items.push(Value::Null);
            }
            put(&mut items[index], parts, value);
        }
        return;
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Value::Object(map) = at {
        put(map.entry(part.trim_start_matches("map_")).or_insert(Value::Null), parts, value);
    }
}

fn whole(file: &str, text: &str) -> Result<(Fields, Value), SourceError> {
    let mut value: Value = serde_json::from_str(text).map_err(|_| bad(file, "it is no JSON"))?;
    let metadata = value["sops"].take();
    match value["data"].take() {
        sealed @ Value::String(_) => Ok((vec![("data".into(), sealed)], metadata)),
        _ => Err(bad(file, "its data is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_sops_itself_are_its_metadata() {
        let (fields, metadata) = lines(
            "# comment\nA=1\nB=x=y\\nz\nsops_age__list_0__map_enc=a\\nb\nsops_age__list_0__map_recipient=r\nsops_mac_only_encrypted=true\nsops_age__list_7__map_enc=far\n",
        );
        let (none, deep) = lines(&format!("sops_{}=1\n", "a__".repeat(1 << 20)));
        assert!(none.is_empty() && deep.to_string().len() < 200, "as deep as anybody writes it");
        assert_eq!(fields, [("A".into(), "1".into()), ("B".into(), "x=y\nz".into())]);
        assert_eq!(
            metadata,
            serde_json::json!({"age": [{"enc": "a\nb", "recipient": "r"}], "mac_only_encrypted": true})
        );
    }

    #[test]
    fn formats_are_told_by_name_and_content() {
        let sealed = format!("A={MARK}data:x]\nsops_mac=y\n");
        assert_eq!(Format::of("a/.env", &sealed), Some(Format::Dotenv));
        assert_eq!(Format::of("a/prod.env", "A=1\n"), None);
        assert_eq!(
            Format::of("key.pem", &format!("{{\"data\": \"{MARK}\", \"sops\": {{}}}}")),
            Some(Format::Binary)
        );
        assert_eq!(Format::of("notes.txt", &format!("what {MARK} means")), None);
    }
}
