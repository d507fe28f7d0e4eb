//! ini files, as SOPS reads and writes them (gopkg.in/ini.v1 with its defaults).
//! In: text. Out: sections with their keys, in their order; and the same as text.
//! Comments do not count.

use std::collections::HashSet;
use std::str::Lines;

/// What stands before the first section.
const DEFAULT: &str = "DEFAULT";
const DELIMITERS: [char; 2] = ['=', ':'];
const COMMENTS: [char; 2] = ['#', ';'];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub name: String,
    pub keys: Vec<(String, String)>,
}

/// # Errors
/// What it is that cannot be read.
pub(super) fn read(text: &str) -> Result<Vec<Section>, &'static str> {
    let mut current = Section { name: DEFAULT.into(), keys: Vec::new() };
    let mut sections = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(COMMENTS) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let end = rest.rfind(']').ok_or("a section's name has no end")?;
            let next = Section { name: rest[..end].to_owned(), keys: Vec::new() };
            sections.push(std::mem::replace(&mut current, next));
            continue;
        }
        let (name, rest) = key(line)?;
        current.keys.push((name.to_owned(), value(rest, &mut lines)?));
    }
    sections.push(current);
    let mut seen = HashSet::new();
    let twice = !sections.iter().all(|section| seen.insert(section.name.as_str()))
        || sections.iter().any(|section| {
            let mut seen = HashSet::new();
            !section.keys.iter().all(|(name, _)| seen.insert(name.as_str()))
        });
    if twice { Err("a section or a key is in it twice") } else { Ok(sections) }
}

/// A key's name, and what stands behind the delimiter.
fn key(line: &str) -> Result<(&str, &str), &'static str> {
    let none = "a line is neither section nor key";
    let quote = ["\"\"\"", "\"", "`"].into_iter().find(|quote| line.starts_with(quote));
    let (name, rest) = match quote {
        Some(quote) => line[quote.len()..].split_once(quote).ok_or(none)?,
        None => line.split_at(line.find(DELIMITERS).ok_or(none)?),
    };
    let (_, value) = rest.split_once(DELIMITERS).ok_or(none)?;
    if name.trim().is_empty() { Err(none) } else { Ok((name.trim(), value)) }
}

/// A value; one in quotes may be many lines long, and one that ends in a backslash
/// goes on in the next.
fn value(rest: &str, lines: &mut Lines<'_>) -> Result<String, &'static str> {
    let line = rest.trim_start();
    if let Some(quote) = ["\"\"\"", "`"].into_iter().find(|quote| line.starts_with(quote)) {
        return quoted(&line[quote.len()..], quote, lines);
    }
    let line = line.trim_end();
    if let Some(first) = line.strip_suffix('\\') {
        let mut value = first.to_owned();
        for next in lines.map(str::trim).take_while(|next| !next.is_empty()) {
            match next.strip_suffix('\\') {
                Some(part) => value += part,
                None => {
                    value += next;
                    break;
                }
            }
        }
        return Ok(value);
    }
    let line = line.split(COMMENTS).next().unwrap_or_default().trim();
    let surrounded = |quote: char| {
        let inner = line.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    };
    Ok(surrounded('\'').or_else(|| surrounded('"')).unwrap_or(line).to_owned())
}

fn quoted(first: &str, quote: &str, lines: &mut Lines<'_>) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut line = first;
    loop {
        if let Some((inner, _)) = line.rsplit_once(quote) {
            return Ok(value + inner);
        }
        value += line;
        value.push('\n');
        line = lines.next().ok_or("a quoted value has no end")?;
    }
}

pub(super) fn write(sections: &[Section]) -> String {
    let mut text = String::new();
    for (at, section) in sections.iter().enumerate() {
        let is_default = at == 0 && section.name == DEFAULT;
        if is_default && section.keys.is_empty() {
            continue;
        }
        if !is_default {
            text += &format!("[{}]\n", section.name);
        }
        let names: Vec<String> = section.keys.iter().map(|(name, _)| written_name(name)).collect();
        let longest = names.iter().map(String::len).max().unwrap_or_default();
        for (name, (_, value)) in names.iter().zip(&section.keys) {
            let pad = " ".repeat(longest - name.len());
            text += &format!("{name}{pad} = {}\n", written_value(value));
        }
        if at + 1 < sections.len() {
            text.push('\n');
        }
    }
    text
}

fn written_name(name: &str) -> String {
    if name.contains('"') || name.contains(DELIMITERS) {
        format!("`{name}`")
    } else if name.contains('`') {
        format!("\"\"\"{name}\"\"\"")
    } else {
        name.to_owned()
    }
}

fn written_value(value: &str) -> String {
    if value.contains(['\n', '`']) {
        format!("\"\"\"{value}\"\"\"")
    } else if value.contains(COMMENTS) {
        format!("`{value}`")
    } else if value.trim().len() != value.len() {
        format!("\"{value}\"")
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECES: [&str; 16] =
        ["[", "]", "=", ":", "\"\"\"", "\"", "`", "\\", "#", ";", "\n", "\r\n", " ", "a", "ü", "'"];

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60)) {
            let text = pieces.concat();
            if let Ok(sections) = read(&text) {
                prop_assert!(write(&sections).len() <= 16 * (text.len() + 16));
            }
        }
    }

    fn section(name: &str, keys: &[(&str, &str)]) -> Section {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Section { name: name.to_owned(), keys: keys.iter().map(own).collect() }
    }

    #[test]
    fn values_are_read_in_every_notation() {
        let text = "\u{feff}top = 1\n; comment\n[db]\nhost: db.example # where\n`a=b` = \"x y\"\nlong = one \\\n  two\nraw = `a # b`\nlines = \"\"\"one\ntwo\"\"\"\nempty =\nodd = 'it''s'\n[ empty ]\n";
        let wanted = [
            section("DEFAULT", &[("top", "1")]),
            section(
                "db",
                &[
                    ("host", "db.example"),
                    ("a=b", "x y"),
                    ("long", "one two"),
                    ("raw", "a # b"),
                    ("lines", "one\ntwo"),
                    ("empty", ""),
                    ("odd", "'it''s'"),
                ],
            ),
            section(" empty ", &[]),
        ];
        assert_eq!(read(text).unwrap(), wanted);
        assert_eq!(read(&write(&wanted)).unwrap(), wanted);
    }

    #[test]
    fn it_is_written_as_sops_writes_it() {
        let sections = [
            section("DEFAULT", &[]),
            section("db", &[("user", "ada"), ("password", "a;b"), ("space", " x")]),
            section("more", &[("key", "")]),
        ];
        assert_eq!(
            write(&sections),
            "[db]\nuser     = ada\npassword = `a;b`\nspace    = \" x\"\n\n[more]\nkey = \n"
        );
    }

    #[test]
    fn what_is_no_ini_file_is_refused() {
        for text in ["[a\n", "word\n", "= x\n", "a = `x\n", "a = 1\na = 2\n", "[a]\n[a]\n", "\"a = 1\n"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
