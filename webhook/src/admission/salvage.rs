//! The uid of a review that cannot be read as a whole. In: a body. Out: the uid
//! of its request, as far as one can be made out, so that even garbage gets an
//! answer that the API server takes for its own.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// A uid of Kubernetes is 36 characters; one much longer is none.
const MAX_UID: usize = 256;

/// The uid of the request in a body.
pub fn uid(body: &[u8]) -> Option<String> {
    let mut found = None;
    let mut reader = serde_json::Deserializer::from_slice(body);
    // What comes after the uid may be broken: it has been seen by then.
    let _ = Within { name: "request", then: Some("uid"), found: &mut found }.deserialize(&mut reader);
    found.filter(|uid| !uid.is_empty() && uid.len() <= MAX_UID)
}

/// Looks for a field of a map, and for one within it; the rest is passed over.
struct Within<'f> {
    name: &'static str,
    then: Option<&'static str>,
    found: &'f mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {}", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.then {
                _ if key != self.name => drop(map.next_value::<IgnoredAny>()?),
                Some(then) => {
                    map.next_value_seed(Within { name: then, then: None, found: &mut *self.found })?
                }
                None => *self.found = Some(map.next_value::<String>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_made_out_as_long_as_it_stands_there() {
        let bomb =
            format!(r#"{{"request": {{"object": {}, "uid": "u"}}}}"#, "[".repeat(500) + &"]".repeat(500));
        for (body, wanted) in [
            (r#"{"request": {"uid": "u"}}"#, Some("u")),
            (r#"{"request": {"uid": "u", "object": {"a": 1e999"#, Some("u")),
            (r#"{"kind": 7, "request": {"operation": [], "uid": "u", "uid": "u"}}"#, Some("u")),
            (bomb.as_str(), Some("u")),
            (r#"{"request": {"object": {"metadata": {"uid": "other"}}}}"#, None),
            (r#"{"uid": "u"}"#, None),
            (r#"{"request": {"uid": ""}}"#, None),
            (r#"{"request": "uid"}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(uid(body.as_bytes()).as_deref(), wanted, "{body:.80}");
        }
        assert_eq!(uid(b"{\"request\": {\"uid\": \"u\", \"x\": \xff\xfe"), Some("u".to_owned()));
    }
}
