//! Paths as jq writes them, as far as they name fields: `.spec.a["b"][0]`,
//! `.webhooks[]?.clientConfig`, `.spec.containers[] | select(.name == "app") |
//! .image`. In: text. Out: the steps; of anything else, where it begins.

use super::Segment;

/// What stands for every element of a list.
const ANY: &str = "*";

pub(super) fn read(text: &str) -> Result<Vec<Segment>, (usize, &'static str)> {
    let mut reader = Reader { text, at: 0 };
    reader.path().map_err(|reason| (reader.at, reason))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Whether it goes on like this; then it is passed.
    fn passes(&mut self, start: &str) -> bool {
        let passes = self.rest().starts_with(start);
        self.at += if passes { start.len() } else { 0 };
        passes
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn path(&mut self) -> Result<Vec<Segment>, &'static str> {
        let mut segments = Vec::new();
        loop {
            self.space();
            if self.rest().is_empty() {
                return Ok(segments);
            } else if self.passes("select(") {
                self.select(&mut segments)?;
            } else if self.passes(".") {
                segments.extend(self.name()?.map(Segment::Field));
            } else if self.passes("[") {
                segments.push(self.element()?);
            } else if !(self.passes("|") || self.passes("?")) {
                return Err("of jq, only fields, lists and select(...) are read");
            }
        }
    }

    /// A field's name; none where a list follows, or nothing.
    fn name(&mut self) -> Result<Option<String>, &'static str> {
        self.space();
        if self.rest().starts_with('"') {
            return self.value::<String>("a name in quotes is not read").map(Some);
        }
        let is_in = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let end = self.rest().find(|letter| !is_in(letter)).unwrap_or(self.rest().len());
        let name = &self.rest()[..end];
        self.at += end;
        Ok((!name.is_empty()).then(|| name.to_owned()))
    }

    fn element(&mut self) -> Result<Segment, &'static str> {
        self.space();
        let segment = match self.rest().as_bytes().first() {
            Some(b']') => Segment::Field(ANY.into()),
            Some(b'"') => Segment::Field(self.value("a name in quotes is not read")?),
            Some(_) => Segment::Index(self.value("an index or a name in quotes is needed")?),
            None => return Err("] is missing"),
        };
        self.space();
        if self.passes("]") { Ok(segment) } else { Err("] is missing") }
    }

    /// `.name == "app" and .port == 80)`, of the elements of the list before it.
    fn select(&mut self, segments: &mut [Segment]) -> Result<(), &'static str> {
        let mut keys = Vec::new();
        loop {
            self.space();
            let name = if self.passes(".") { self.name()? } else { None };
            let name = name.ok_or("select(.name == \"value\") is needed")?;
            self.space();
            if !self.passes("==") {
                return Err("== is needed");
            }
            self.space();
            keys.push((name, self.scalar()?));
            self.space();
            if self.passes(")") {
                break;
            }
            if !self.passes("and ") {
                return Err(") is missing");
            }
        }
        match segments.last_mut() {
            Some(last @ Segment::Field(_)) if *last == Segment::Field(ANY.into()) => {
                *last = Segment::Key(keys);
                Ok(())
            }
            _ => Err("select(...) needs a list before it: .list[] | select(...)"),
        }
    }

    /// A text in quotes, a number, true or false, as it stands in a path.
    fn scalar(&mut self) -> Result<String, &'static str> {
        if self.rest().starts_with('"') {
            return self.value("a value is needed");
        }
        let end = self.rest().find([' ', ')']).unwrap_or(self.rest().len());
        let value: serde_json::Value =
            serde_json::from_str(&self.rest()[..end]).map_err(|_| "a value is needed")?;
        self.at += end;
        Ok(super::plain(&value))
    }

    /// A JSON value at the current place.
    fn value<T: serde::de::DeserializeOwned>(&mut self, otherwise: &'static str) -> Result<T, &'static str> {
        let mut stream = serde_json::Deserializer::from_str(self.rest()).into_iter::<T>();
        let value = stream.next().and_then(Result::ok).ok_or(otherwise)?;
        self.at += stream.byte_offset();
        Ok(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::path::Path;

    #[test]
    fn fields_lists_and_selections_are_read() {
        for (text, path) in [
            (".spec.replicas", "spec.replicas"),
            (".webhooks[]?.clientConfig.caBundle", "webhooks.*.clientConfig.caBundle"),
            (".webhooks[].clientConfig", "webhooks.*.clientConfig"),
            (".metadata.annotations[\"a/b\"]", "metadata.annotations[\"a/b\"]"),
            (".data.\"a.b\"", "data[\"a.b\"]"),
            (".rules[0] . verbs [ 1 ]", "rules[0].verbs[1]"),
            (
                ".spec.template.spec.containers[] | select(.name == \"app\") | .image",
                "spec.template.spec.containers[name=app].image",
            ),
            (
                ".spec.ports[]|select(.port==80 and .protocol == \"TCP\").nodePort",
                "spec.ports[port=80,protocol=TCP].nodePort",
            ),
        ] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), path, "{text}");
        }
    }

    #[test]
    fn what_is_more_than_a_path_says_where() {
        for (text, at) in [
            (".a | length", 5),
            (".a[] | select(.b != 1)", 17),
            (".a | select(.b == 1)", 20),
            (".a[", 3),
            (".a[b]", 3),
            (".a[] | select(.b == 1", 21),
            (".a, .b", 2),
        ] {
            let error = text.parse::<Path>().unwrap_err();
            assert_eq!((error.at, error.text.as_str()), (at, text), "{error}");
        }
    }
}
