//! Text that fits a terminal. In: words and a width. Out: lines.

use gitops_core::health::Health;

use crate::output::ObjectId;
use crate::printer::{Ink, Printer};

/// Words in lines of at most `width` columns, each behind `indent`. A word that
/// is longer than a line has a line of its own.
pub fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    let room = width.saturating_sub(indent.chars().count()).max(20);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(format!("{indent}{line}"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push(format!("{indent}{line}"));
    }
    lines
}

/// Columns side by side, the last one wrapped; where there is no room for it
/// beside the others, it comes below them, and where there is none for the others
/// beside the first one, these do.
pub fn columns(header: &[&str], rows: &[Vec<String>], printer: &Printer) -> Vec<String> {
    const INDENT: usize = 4;
    let last = header.len().saturating_sub(1);
    let size = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain([header[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let sizes: Vec<usize> = (0..last).map(size).collect();
    let before: usize = sizes.iter().map(|size| size + 2).sum();
    let beside = before + 30 <= printer.width();
    let is_broken = last > 1 && before.saturating_sub(2) > printer.width();
    let fixed = |row: &[&str]| {
        let cells = |from: usize, to: usize| {
            let cells = row.iter().zip(&sizes).take(to).skip(from);
            cells.map(|(cell, size)| format!("{cell:<size$}  ")).collect::<String>()
        };
        if !is_broken {
            return vec![cells(0, last)];
        }
        vec![cells(0, 1).trim_end().to_owned(), format!("{:INDENT$}{}", "", cells(1, last))]
    };
    let mut heading = fixed(&header[..last]);
    if let Some(line) = heading.last_mut().filter(|_| beside) {
        line.push_str(header[last]);
    }
    let mut lines: Vec<String> = heading.iter().map(|line| printer.ink(Ink::Dim, line.trim_end())).collect();
    for row in rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        let start = fixed(&cells[..last.min(cells.len())]);
        let indent = " ".repeat(if beside { before } else { INDENT });
        let text = wrapped(cells.get(last).unwrap_or(&""), &indent, printer.width());
        match (beside, text.split_first()) {
            (true, Some((first, more))) => {
                lines.push(format!("{}{}", start.concat(), first.trim_start()));
                lines.extend(more.iter().cloned());
            }
            _ => {
                lines.extend(start.iter().map(|line| line.trim_end().to_owned()));
                lines.extend(text);
            }
        }
    }
    lines
}

/// A name and how it is: on one line behind `first`, or, where there is no room,
/// wrapped behind `more`. The health has its colour.
pub fn titled(
    (first, more): (&str, &str),
    name: &str,
    (health_of, rest): (Health, &str),
    printer: &Printer,
) -> Vec<String> {
    let state = health_of.name();
    let gap = if rest.is_empty() { "" } else { "  " };
    let line = format!("{first}{name}  {state}{gap}{rest}");
    if line.chars().count() <= printer.width() {
        return vec![format!("{first}{name}  {}{gap}{rest}", health(health_of, printer))];
    }
    let room = printer.width().saturating_sub(more.chars().count());
    let mut lines = wrapped(name, more, printer.width());
    if let Some(line) = lines.first_mut() {
        *line = format!("{first}{}", line.strip_prefix(more).unwrap_or(line));
    }
    let how = format!("{state}{gap}{rest}");
    if how.chars().count() <= room {
        lines.push(format!("{more}{}{gap}{rest}", health(health_of, printer)));
    } else {
        lines.push(format!("{more}{}", health(health_of, printer)));
        lines.extend(wrapped(rest, more, printer.width()));
    }
    lines
}

/// A health in its colour.
pub fn health(state: Health, printer: &Printer) -> String {
    printer.ink(health_ink(state), state.name())
}

/// The colour of a health.
pub fn health_ink(state: Health) -> Ink {
    match state {
        Health::Healthy => Ink::Git,
        Health::Degraded | Health::Missing => Ink::Live,
        Health::Progressing | Health::Suspended | Health::Unknown => Ink::Change,
    }
}

/// `Deployment shop/web`.
pub fn object(id: &ObjectId) -> String {
    if id.namespace.is_empty() {
        format!("{} {}", id.kind, id.name)
    } else {
        format!("{} {}/{}", id.kind, id.namespace, id.name)
    }
}

/// `1 object`, `2 objects`.
pub fn counted(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// A named fact, wrapped behind its name.
pub fn fact(name: &str, text: &str, ink: Option<Ink>, printer: &Printer) -> Vec<String> {
    const INDENT: usize = 12;
    let mut lines = wrapped(text, &" ".repeat(INDENT), printer.width());
    for (index, line) in lines.iter_mut().enumerate() {
        let start = if index == 0 { format!("  {:<10}", format!("{name}:")) } else { " ".repeat(INDENT) };
        let words = line.trim_start();
        // Only what stays on its line is coloured as a whole.
        *line = start + &ink.map_or_else(|| words.to_owned(), |ink| printer.ink(ink, words));
    }
    lines
}

/// How old, roughly, as kubectl writes it: `5m`.
pub fn short_age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7199 => format!("{}m", seconds / 60),
        seconds @ 7200..=172_799 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// How long ago, roughly, in seconds since 1970.
pub fn age(time: i64, now: i64) -> String {
    match (now - time).max(0) {
        seconds @ 0..=119 => format!("{} ago", counted(usize::try_from(seconds).unwrap_or(0), "second")),
        seconds @ 120..=7199 => format!("{} minutes ago", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} hours ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[test]
    fn narrow_terminals_get_the_last_column_below() {
        let rows = [
            vec!["Deployment shop/web".into(), "Synced".into(), "0 of 2 replicas are available: Pod web-1: container web cannot get its image web:1: not found".into()],
            vec!["ConfigMap shop/web".into(), "Synced".into(), String::new()],
        ];
        let text = |width| {
            columns(&["OBJECT", "SYNC", "WHY"], &rows, &Printer::new(ColorChoice::Never).wide(width))
                .join("\n")
        };
        insta::assert_snapshot!(text(100), @"
        OBJECT               SYNC    WHY
        Deployment shop/web  Synced  0 of 2 replicas are available: Pod web-1: container web cannot get its
                                     image web:1: not found
        ConfigMap shop/web   Synced
        ");
        insta::assert_snapshot!(text(50), @"
        OBJECT               SYNC
        Deployment shop/web  Synced
            0 of 2 replicas are available: Pod web-1:
            container web cannot get its image web:1: not
            found
        ConfigMap shop/web   Synced
        ");
        assert!(text(50).lines().all(|line| line.chars().count() <= 50));
        let rows =
            [vec!["Deployment the-namespace/web".into(), "Synced".into(), "Healthy".into(), String::new()]];
        let narrow =
            columns(&["OBJECT", "SYNC", "HEALTH", "WHY"], &rows, &Printer::new(ColorChoice::Never).wide(40));
        insta::assert_snapshot!(narrow.join("\n"), @"
        OBJECT
            SYNC    HEALTH
        Deployment the-namespace/web
            Synced  Healthy
        ");
    }
}
