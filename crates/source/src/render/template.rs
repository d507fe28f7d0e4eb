//! A chart's template in pieces. In: its text. Out: what stands outside of
//! `{{ }}`, and inside of it words, strings and the rest; together they are the
//! text again.

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Outside of actions.
    Text(&'a str),
    /// `/* */`, with the braces before it.
    Comment(&'a str),
    /// A string or a character, with its quotes.
    Quoted(&'a str),
    /// The name of a function, or a keyword.
    Word(&'a str),
    /// Fields (`.now`), variables (`$now`), numbers, signs.
    Other(&'a str),
}

impl<'a> Piece<'a> {
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Text(text)
            | Self::Comment(text)
            | Self::Quoted(text)
            | Self::Word(text)
            | Self::Other(text) => text,
        }
    }
}

/// The pieces of a template.
pub(super) fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text, inside: false }
}

pub(super) struct Pieces<'a> {
    rest: &'a str,
    inside: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (make, length): (fn(&'a str) -> Piece<'a>, usize) =
            if self.inside { self.in_action() } else { self.outside() };
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(make(piece))
    }
}

impl<'a> Pieces<'a> {
    fn outside(&mut self) -> (fn(&'a str) -> Piece<'a>, usize) {
        match self.rest.find("{{") {
            None => (Piece::Text, self.rest.len()),
            Some(0) => {
                let begun = self.rest[2..].trim_start_matches('-').trim_start();
                if begun.starts_with("/*") {
                    let end = self.rest.find("*/").map_or(self.rest.len(), |end| end + 2);
                    return (Piece::Comment, end);
                }
                self.inside = true;
                (Piece::Other, 2)
            }
            Some(start) => (Piece::Text, start),
        }
    }

    fn in_action(&mut self) -> (fn(&'a str) -> Piece<'a>, usize) {
        let rest = self.rest;
        if rest.starts_with("}}") {
            self.inside = false;
            return (Piece::Other, 2);
        }
        let first = rest.chars().next().unwrap_or_default();
        match first {
            '"' | '`' | '\'' => (Piece::Quoted, quoted(rest)),
            '.' | '$' | '0'..='9' => (Piece::Other, run(rest, |c| is_word(c) || matches!(c, '.' | '$'))),
            // What follows a word after a point is its field.
            _ if is_word(first) => (Piece::Word, run(rest, is_word)),
            _ => (Piece::Other, first.len_utf8()),
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|letter| !belongs(letter)).unwrap_or(text.len())
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

    fn words(text: &str) -> Vec<&str> {
        assert_eq!(pieces(text).map(Piece::text).collect::<String>(), text);
        let word = |piece| if let Piece::Word(word) = piece { Some(word) } else { None };
        pieces(text).filter_map(word).collect()
    }

    #[test]
    fn words_are_what_an_action_calls() {
        for (text, found) in [
            ("a: {{ now | date \"2006\" }}", &["now", "date"][..]),
            ("{{- unixEpoch now -}}", &["unixEpoch", "now"]),
            ("{{ (now).Unix }}{{ now.Unix }}", &["now", "now"]),
            ("{{if eq 1 2}}now{{end}}", &["if", "eq", "end"]),
            ("{{ $now := include \"now\" .Values.now }}", &["include"]),
            ("{{ 'n' }}{{ `now }}` }}{{ \"a\\\" now\" }}", &[]),
            ("{{/* now */}}{{- /* now }} */ -}} now", &[]),
            ("{{ nowhere }} now", &["nowhere"]),
            ("now", &[]),
            ("{{ \"unclosed now", &[]),
            ("ä {{ \"ö\" }} {{ ü }}", &["ü"]),
        ] {
            assert_eq!(words(text), found, "{text}");
        }
    }
}
