//! What a Jsonnet program imports. In: its text. Out: the paths that it names,
//! which the language has as plain texts only; none where that cannot be told
//! for sure. Nothing is evaluated.

use std::collections::BTreeSet;

/// A file that a program names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub path: String,
    /// A program itself; others are read as they are.
    pub is_code: bool,
}

/// None: a text has no end, or a path is not written as it is.
pub(super) fn imports(text: &str) -> Option<BTreeSet<Import>> {
    let mut scan = Scan { rest: text };
    let mut found = BTreeSet::new();
    let mut keyword = None;
    while let Some(token) = scan.next()? {
        keyword = match (keyword, token) {
            // `import` may be a field of an object: `a.import` is no program.
            (_, Token::Word(word @ ("import" | "importstr" | "importbin"))) => Some(word == "import"),
            (Some(is_code), Token::Text(path)) => {
                found.insert(Import { path: path?.to_owned(), is_code });
                None
            }
            _ => None,
        };
    }
    Some(found)
}

enum Token<'t> {
    Word(&'t str),
    /// None: it is not what it looks like.
    Text(Option<&'t str>),
    Other,
}

struct Scan<'t> {
    rest: &'t str,
}

impl<'t> Scan<'t> {
    /// Outside, none for what has no end; inside, none at the end.
    fn next(&mut self) -> Option<Option<Token<'t>>> {
        self.blank()?;
        let Some(first) = self.rest.chars().next() else { return Some(None) };
        if first.is_ascii_alphabetic() || first == '_' {
            let is_in = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = self.rest.find(|letter| !is_in(letter)).unwrap_or(self.rest.len());
            return Some(Some(Token::Word(self.take(end))));
        }
        if let Some(verbatim) = self.rest.strip_prefix('@')
            && let Some(quote) = verbatim.chars().next().filter(|letter| matches!(letter, '"' | '\''))
        {
            self.take(2);
            return self.verbatim(quote).map(|text| Some(Token::Text(text)));
        }
        if first == '"' || first == '\'' {
            self.take(1);
            return self.quoted(first).map(|text| Some(Token::Text(text)));
        }
        if self.rest.starts_with("|||") {
            self.block()?;
            return Some(Some(Token::Text(None)));
        }
        self.take(first.len_utf8());
        Some(Some(Token::Other))
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Space and comments.
    fn blank(&mut self) -> Option<()> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end);
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/")?;
                self.take(end + 2);
            } else {
                return Some(());
            }
        }
    }

    /// The inside of a text with escapes; one that has any is not what it looks like.
    fn quoted(&mut self, quote: char) -> Option<Option<&'t str>> {
        let text = self.rest;
        let mut escaped = false;
        let mut plain = true;
        for (at, letter) in text.char_indices() {
            if escaped {
                escaped = false;
            } else if letter == '\\' {
                (escaped, plain) = (true, false);
            } else if letter == quote {
                self.take(at + 1);
                return Some(plain.then_some(&text[..at]));
            }
        }
        None
    }

    /// The inside of a text in which a doubled quote stands for one.
    fn verbatim(&mut self, quote: char) -> Option<Option<&'t str>> {
        let text = self.rest;
        let mut plain = true;
        loop {
            let inner = self.rest.find(quote)?;
            self.take(inner + 1);
            if !self.rest.starts_with(quote) {
                let end = text.len() - self.rest.len() - 1;
                return Some(plain.then_some(&text[..end]));
            }
            self.take(1);
            plain = false;
        }
    }

    /// `|||`, lines that begin with the space of the first, and `|||` with less.
    fn block(&mut self) -> Option<()> {
        let end = self.rest.find('\n')?;
        self.take(end + 1);
        let first = self.rest.lines().find(|line| !line.trim().is_empty())?;
        let space = &first[..first.len() - first.trim_start().len()];
        if space.is_empty() {
            return None;
        }
        loop {
            let line = self.rest.lines().next()?;
            if line.trim().is_empty() || line.starts_with(space) {
                let end = self.rest.find('\n')?;
                self.take(end + 1);
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            self.rest[indent..].starts_with("|||").then(|| self.take(indent + 3))?;
            return Some(());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECES: [&str; 16] =
        ["import", " ", "'", "\"", "@", "\\", "|||", "\n", "/*", "*/", "//", "#", "a", "ü", "importstr", "."];

    proptest! {
        #[test]
        fn what_is_told_of_any_text_stands_in_it(pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60)) {
            let text = pieces.concat();
            for import in imports(&text).into_iter().flatten() {
                prop_assert!(text.contains(&import.path));
            }
        }
    }

    fn found(text: &str) -> Option<Vec<String>> {
        let told =
            |import: Import| format!("{}{}", import.path, if import.is_code { "" } else { " as it is" });
        imports(text).map(|all| all.into_iter().map(told).collect())
    }

    #[test]
    fn imports_are_found_wherever_they_stand() {
        let text = r#"
            local a = import 'a.libsonnet', b = import "lib/b.jsonnet";
            // import 'comment'
            # import 'comment'
            /* import
               'comment' */
            local text = "import 'text'" + 'it\'s import "text"' + @'it''s import "text"';
            local block = |||
              import 'block'
                |||
              it's here
            |||;
            local far = import
              // where
              @"c d.jsonnet";
            { file: importstr 'x.txt', bytes: importbin "y.bin", importer: important, x: a.import }
        "#;
        let wanted = ["a.libsonnet", "c d.jsonnet", "lib/b.jsonnet", "x.txt as it is", "y.bin as it is"];
        assert_eq!(found(text).unwrap(), wanted);
        assert_eq!(found("{ a: 1 }").unwrap(), [""; 0]);
    }

    #[test]
    fn what_is_not_sure_is_not_told() {
        for text in [
            "import 'a\\u002fb'",
            "import @'it''s'",
            "import |||\n  a\n|||",
            "'no end",
            "@'no end",
            "/* no end",
            "|||\n  no end",
            "|||\nno space\n|||",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn long_texts_take_no_longer_than_their_length() {
        for piece in ["import 'a';", "''''", "/*", "|||\n a\n|||", "@\"\"\"", "#", "\\"] {
            let _ = imports(&piece.repeat(1 << 16));
        }
    }
}
