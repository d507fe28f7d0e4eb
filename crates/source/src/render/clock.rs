//! Charts at another time. In: a chart on disk. Out: the same chart, whose
//! templates read a fixed day where they asked for `now`. What renders
//! differently then depends on the clock and cannot be held to Git.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::template::{Piece, pieces};
use crate::error::SourceError;

/// What stands for `now`: a day long ago.
const ANOTHER_DAY: &str = "(toDate \"2006-01-02\" \"2001-02-03\")";
/// Bytes that a packed dependency may unpack to.
pub(super) const MAX_UNPACKED: u64 = 256 << 20;

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

pub(super) fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tgz")
}

fn unpack(path: &Path) -> Result<(), SourceError> {
    let file = File::open(path).map_err(SourceError::io(path))?;
    let folder = path.with_extension("unpacked");
    let unpacked = flate2::read::MultiGzDecoder::new(file).take(MAX_UNPACKED);
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

/// Replaces the function `now`.
fn shift_text(text: &str) -> String {
    fn shifted(piece: Piece<'_>) -> &str {
        if piece == Piece::Word("now") { ANOTHER_DAY } else { piece.text() }
    }
    pieces(text).map(shifted).collect()
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
            ("{{ now.Unix }}", format!("{{{{ {ANOTHER_DAY}.Unix }}}}")),
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
