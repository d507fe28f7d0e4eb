//! Charts at another time. In: a chart on disk. Out: the same chart, whose
//! templates read a fixed day where they asked for `now`. What renders
//! differently then depends on the clock and cannot be held to Git.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::SourceError;

/// What stands for `now`: a day long ago.
const ANOTHER_DAY: &str = "(toDate \"2006-01-02\" \"2001-02-03\")";
/// Bytes that a packed dependency may unpack to.
const MAX_UNPACKED: u64 = 256 << 20;

/// Changes every template below `folder`, packed dependencies included.
pub(super) fn shift(folder: &Path) -> Result<(), SourceError> {
    for entry in std::fs::read_dir(folder).map_err(SourceError::io(folder))? {
        let path = entry.map_err(SourceError::io(folder))?.path();
        let kind = path.symlink_metadata().map_err(SourceError::io(&path))?;
        if kind.is_dir() {
            shift(&path)?;
        } else if kind.is_file()
            && path.parent().is_some_and(|parent| parent.ends_with("charts"))
            && is_packed(&path)
        {
            unpack(&path)?;
        } else if kind.is_file() && path.components().any(|part| part.as_os_str() == "templates") {
            shift_file(&path)?;
        }
    }
    Ok(())
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tgz")
}

fn unpack(path: &Path) -> Result<(), SourceError> {
    let file = File::open(path).map_err(SourceError::io(path))?;
    let folder = path.with_extension("unpacked");
    let unpacked = flate2::read::GzDecoder::new(file).take(MAX_UNPACKED);
    tar::Archive::new(unpacked).unpack(&folder).map_err(SourceError::io(path))?;
    std::fs::remove_file(path).map_err(SourceError::io(path))?;
    shift(&folder)?;
    // The archive holds one folder, named after the chart.
    for entry in std::fs::read_dir(&folder).map_err(SourceError::io(&folder))? {
        let entry = entry.map_err(SourceError::io(&folder))?;
        let target = path.with_file_name(entry.file_name());
        std::fs::rename(entry.path(), &target).map_err(SourceError::io(&target))?;
    }
    std::fs::remove_dir_all(&folder).map_err(SourceError::io(&folder))
}

fn shift_file(path: &Path) -> Result<(), SourceError> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let shifted = shift_text(&text);
    if shifted != text {
        std::fs::write(path, shifted).map_err(SourceError::io(path))?;
    }
    Ok(())
}

/// Replaces the function `now` inside of `{{ }}`, not in strings, comments,
/// fields (`.now`) or variables (`$now`).
fn shift_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, action) = rest.split_at(start);
        out.push_str(before);
        let length = shift_action(action, &mut out);
        rest = &action[length..];
    }
    out.push_str(rest);
    out
}

/// Writes one action; returns its length in the text.
fn shift_action(action: &str, out: &mut String) -> usize {
    if action[2..].trim_start_matches('-').trim_start().starts_with("/*") {
        let end = action.find("*/").map_or(action.len(), |end| end + 2);
        out.push_str(&action[..end]);
        return end;
    }
    let mut at = 2;
    out.push_str("{{");
    while at < action.len() {
        let rest = &action[at..];
        let first = rest.as_bytes()[0];
        let length = match first {
            b'}' if rest.starts_with("}}") => {
                out.push_str("}}");
                return at + 2;
            }
            b'"' | b'`' | b'\'' => quoted(rest),
            _ if first.is_ascii_alphanumeric() || matches!(first, b'_' | b'.' | b'$') => {
                let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                if &rest[..length] == "now" {
                    out.push_str(ANOTHER_DAY);
                    at += length;
                    continue;
                }
                length
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        out.push_str(&rest[..length]);
        at += length;
    }
    at
}

/// The length of a string at the start of `text`.
fn quoted(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'`' => escaped = true,
            byte if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_function_now_is_shifted() {
        for (text, shifted) in [
            ("a: {{ now | date \"2006\" }}", format!("a: {{{{ {ANOTHER_DAY} | date \"2006\" }}}}")),
            ("{{- unixEpoch now -}}", format!("{{{{- unixEpoch {ANOTHER_DAY} -}}}}")),
            ("{{ (now).Unix }}", format!("{{{{ ({ANOTHER_DAY}).Unix }}}}")),
        ] {
            assert_eq!(shift_text(text), shifted);
        }
        for text in [
            "now",
            "{{ .Values.now }}",
            "{{ $now := 1 }}",
            "{{ \"do it now\" }} now",
            "{{ `now` }}",
            "{{/* now */}}",
            "{{- /* now }} */ -}}",
            "{{ nowhere }}",
            "{{ \"a\\\" now\" }}",
            "{{ \"unclosed",
            "ä {{ \"ö\" }} {{ ü }}",
        ] {
            assert_eq!(shift_text(text), text);
        }
    }
}
