//! SOPS files that are no YAML: dotenv files (`.env`), ini files, and whole files
//! of any kind, which SOPS keeps as `{"data": ..., "sops": ...}`. In: the text of
//! one. Out: what it was before it was encrypted.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::ini::{self, Section};
use super::tree::Node;
use super::{Keys, MARK, bad, cipher, no_key, program};
use crate::error::SourceError;

/// Parts of such a name that are read; SOPS' longest has five.
const DEPTH: usize = 16;

/// What begins the names of SOPS' own lines in a dotenv file.
const OWN: &str = "sops_";

/// SOPS' own section in an ini file.
const SECTION: &str = "sops";

/// What a file is by its name and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Dotenv,
    Ini,
    Binary,
}

/// A file in clear, and the values in it that were encrypted.
pub(super) struct Clear {
    pub bytes: Vec<u8>,
    pub hidden: Vec<String>,
}

impl Format {
    /// None for a file that SOPS has not encrypted.
    pub(super) fn of(path: &str, text: &str) -> Option<Self> {
        if !text.contains(MARK) {
            return None;
        }
        let has = |start: &str| text.lines().any(|line| line.starts_with(start));
        if path.ends_with(".env") {
            return has("sops_mac=").then_some(Self::Dotenv);
        }
        if path.ends_with(".ini") {
            return has("[sops]").then_some(Self::Ini);
        }
        (text.trim_start().starts_with('{') && text.contains("\"sops\"")).then_some(Self::Binary)
    }

    /// As the `sops` program calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }

    pub(super) fn decrypt(self, file: &str, text: &str, keys: &Keys) -> Result<Clear, SourceError> {
        let (sealed, metadata) = match self {
            Self::Dotenv => {
                let (fields, metadata) = lines(text);
                (vec![Section { name: String::new(), keys: fields }], metadata)
            }
            Self::Ini => sections(text).map_err(|reason| bad(file, reason))?,
            Self::Binary => return whole(file, text, keys),
        };
        let (clear, opened) = match cipher::data_key(file, &metadata, &keys.age)? {
            Some(key) => self.open(file, sealed.clone(), &metadata, &key)?,
            None => {
                let program = keys.program.as_ref().ok_or_else(|| no_key(file, &metadata))?;
                let clear = String::from_utf8(program::run(file, text, self.name(), program)?)
                    .map_err(|_| bad(file, "what sops gives is no text"))?;
                let opened = match self {
                    Self::Ini => ini::read(&clear).map_err(|reason| bad(file, reason))?,
                    _ => vec![Section { name: String::new(), keys: lines(&clear).0 }],
                };
                (clear, opened)
            }
        };
        let hidden = hidden(&sealed, &opened);
        Ok(Clear { bytes: clear.into_bytes(), hidden })
    }

    /// Sections in clear: as text, and each value.
    fn open(
        self,
        file: &str,
        mut sections: Vec<Section>,
        metadata: &Value,
        key: &[u8],
    ) -> Result<(String, Vec<Section>), SourceError> {
        let leaves = |section: &Section| {
            section
                .keys
                .iter()
                .map(|(name, value)| (name.clone(), Node::Leaf(value.clone().into())))
                .collect()
        };
        let tree = match (self, sections.first()) {
            (Self::Dotenv, Some(only)) => leaves(only),
            _ => sections.iter().map(|section| (section.name.clone(), Node::Map(leaves(section)))).collect(),
        };
        let clear = cipher::open(file, vec![Node::Map(tree)], metadata, key)?;
        let clear = clear.into_iter().next().unwrap_or_default();
        for section in &mut sections {
            let values = if self == Self::Dotenv { &clear } else { &clear[section.name.as_str()] };
            for (name, value) in &mut section.keys {
                *value = values[name.as_str()].as_str().unwrap_or_default().to_owned();
            }
        }
        if self == Self::Ini {
            return Ok((ini::write(&sections), sections));
        }
        let line = |(name, value): &(String, String)| format!("{name}={}\n", value.replace('\n', "\\n"));
        Ok((sections.iter().flat_map(|section| &section.keys).map(line).collect(), sections))
    }
}

/// The values in clear of those that are encrypted.
fn hidden(sealed: &[Section], clear: &[Section]) -> Vec<String> {
    let mut hidden = Vec::new();
    for (section, open) in sealed
        .iter()
        .filter_map(|section| Some((section, clear.iter().find(|open| open.name == section.name)?)))
    {
        let encrypted = section.keys.iter().filter(|(_, value)| value.starts_with(MARK));
        let names: HashSet<&str> = encrypted.map(|(name, _)| name.as_str()).collect();
        let opened = open.keys.iter().filter(|(name, _)| names.contains(name.as_str()));
        hidden.extend(opened.map(|(_, value)| value.clone()));
    }
    // As they stand in a dotenv file.
    let escaped: Vec<String> = hidden.iter().map(|value| value.replace('\n', "\\n")).collect();
    hidden.extend(escaped);
    hidden
}

type Fields = Vec<(String, String)>;

/// The lines of a dotenv file, and SOPS' own. Comments do not count.
fn lines(text: &str) -> (Fields, Value) {
    let (mut fields, mut metadata) = (Vec::new(), Value::Null);
    let named = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    for (name, value) in named {
        let value = value.replace("\\n", "\n");
        match name.strip_prefix(OWN) {
            Some(own) => put(&mut metadata, own.split("__").take(DEPTH), value),
            None => fields.push((name.to_owned(), value)),
        }
    }
    (fields, metadata)
}

/// The sections of an ini file, and what SOPS' own says.
fn sections(text: &str) -> Result<(Vec<Section>, Value), &'static str> {
    let mut sections = ini::read(text)?;
    let at = sections.iter().position(|section| section.name == SECTION).ok_or("it has no section sops")?;
    let mut own = sections.remove(at).keys;
    // They come in any order; the elements of lists are needed in theirs.
    own.sort_by_cached_key(|(name, _)| {
        let number = |part: &str| part.strip_prefix("list_")?.parse::<usize>().ok();
        name.split("__").map(|part| (number(part), part.to_owned())).collect::<Vec<_>>()
    });
    let mut metadata = Value::Null;
    for (name, value) in own {
        put(&mut metadata, name.split("__").take(DEPTH), value.replace("\\n", "\n"));
    }
    Ok((sections, metadata))
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

fn whole(file: &str, text: &str, keys: &Keys) -> Result<Clear, SourceError> {
    let mut value: Value = serde_json::from_str(text).map_err(|_| bad(file, "it is no JSON"))?;
    let metadata = value["sops"].take();
    let sealed = value["data"].as_str().ok_or_else(|| bad(file, "its data is no text"))?;
    let bytes = match cipher::data_key(file, &metadata, &keys.age)? {
        Some(key) => cipher::open_whole(file, sealed, &metadata, &key)?,
        None => {
            let program = keys.program.as_ref().ok_or_else(|| no_key(file, &metadata))?;
            program::run(file, text, Format::Binary.name(), program)?
        }
    };
    let hidden = vec![String::from_utf8_lossy(&bytes).into_owned()];
    Ok(Clear { bytes, hidden })
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
        assert_eq!(fields, [("A".to_owned(), "1".to_owned()), ("B".into(), "x=y\nz".into())]);
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
        let sealed = format!("[a]\nb = {MARK}data:x]\n\n[sops]\nmac = y\n");
        assert_eq!(Format::of("a/prod.ini", &sealed), Some(Format::Ini));
        assert_eq!(Format::of("a/prod.txt", &sealed), None);
        assert_eq!(
            Format::of("key.pem", &format!("{{\"data\": \"{MARK}\", \"sops\": {{}}}}")),
            Some(Format::Binary)
        );
        assert_eq!(Format::of("notes.txt", &format!("what {MARK} means")), None);
    }

    #[test]
    fn the_section_of_sops_is_its_metadata() {
        let text = "[db]\nuser = ada\n[sops]\nage__list_1__map_enc = b\nage__list_0__map_recipient = r\nage__list_0__map_enc = a\\nb\nage__list_10__map_enc = far\nmac_only_encrypted = true\n";
        let (found, metadata) = sections(text).expect("it can be read");
        assert_eq!(found.iter().map(|section| section.name.as_str()).collect::<Vec<_>>(), ["DEFAULT", "db"]);
        assert_eq!(
            metadata,
            serde_json::json!({"age": [{"enc": "a\nb", "recipient": "r"}, {"enc": "b"}], "mac_only_encrypted": true})
        );
    }

    #[test]
    fn only_what_is_encrypted_is_hidden() {
        let section = |value: &str| Section {
            name: "db".into(),
            keys: vec![("user".into(), "ada".into()), ("password".into(), value.into())],
        };
        let hidden = hidden(&[section(&format!("{MARK}x]"))], &[section("hunter2\nmore")]);
        assert_eq!(hidden, ["hunter2\nmore", "hunter2\\nmore"]);
    }
}
