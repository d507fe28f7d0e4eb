//! A JSON document of any address. In: a URL and a JSONPath (RFC 9535). Out:
//! what stands there.

use gitops_api::analysis::Http;
use jsonpath_rust::JsonPath;
use serde_json::Value;
use url::Url;

use super::error::AnalysisError;
use super::fetch::{Asking, shown};
use super::reading::Reading;

/// Bytes of a document: one Pod or page says less.
const MAX_SIZE: usize = 256 << 10;
/// In one path: `..`, filters, further selectors beside the first of a segment,
/// and brackets. What they cost is multiplied.
const MAX_DESCENTS: usize = 1;
const MAX_FILTERS: usize = 2;
const MAX_COMMAS: usize = 3;
const MAX_BRACKETS: usize = 32;

/// One measurement.
pub(super) async fn read(asking: &Asking, url: &Url, metric: &Http) -> Result<Reading, AnalysisError> {
    let answer = asking.get(url, MAX_SIZE).await?;
    if !(200..300).contains(&answer.status) {
        let (status, reason) = (answer.status, asking.told(&answer));
        return Err(AnalysisError::Status { address: shown(url), status, reason });
    }
    let failed = |reason: String| AnalysisError::Answer { address: shown(url), reason: asking.mask(&reason) };
    let document = serde_json::from_slice(&answer.body);
    let document: Value = document.map_err(|error| failed(format!("it is no JSON: {error}")))?;
    let (document, path) = (asking.masked(document), metric.json_path.clone());
    let selected = tokio::task::spawn_blocking(move || select(&document, &path)).await;
    selected.unwrap_or_else(|error| Err(error.to_string())).map_err(failed)
}

/// The path as RFC 9535 writes it; kubectl's braces are taken too.
fn path(text: &str) -> String {
    let text = text.trim();
    let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text).trim();
    if bare.starts_with('$') { bare.to_owned() } else { format!("${bare}") }
}

/// Whether a path can be read.
///
/// # Errors
/// Why not.
pub(super) fn check(text: &str) -> Result<(), String> {
    bounded(&path(text)).map_err(|reason| format!("jsonPath {text:?}: {reason}"))?;
    Value::Null.query(&path(text)).map(drop).map_err(|error| format!("jsonPath {text:?}: {error}"))
}

/// Whether a path takes little time and memory, whatever the document says: it
/// comes from a repository, and the document from anywhere.
fn bounded(path: &str) -> Result<(), String> {
    let outline = outline(path);
    let count = |sign: &str| outline.matches(sign).count();
    let brackets = count("[") + count("(");
    for (found, most, what) in [
        (count(".."), MAX_DESCENTS, "times `..`"),
        (count("?"), MAX_FILTERS, "filters"),
        (count(","), MAX_COMMAS, "commas"),
        (brackets, MAX_BRACKETS, "brackets"),
    ] {
        if found > most {
            return Err(format!("it has {found} {what}, at most {most} are allowed"));
        }
    }
    if count("$") > 1 {
        return Err("a filter may ask the element (@), not the whole document ($)".into());
    }
    if count("match(") + count("search(") > 0 {
        return Err("patterns are not asked here: use matches() in the condition".into());
    }
    Ok(())
}

/// A path without what stands in quotes.
fn outline(path: &str) -> String {
    let (mut quote, mut escaped) = (None, false);
    let mut outline = String::with_capacity(path.len());
    for sign in path.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if sign == '\\' => escaped = true,
            Some(open) if sign == open => quote = None,
            Some(_) => {}
            None if matches!(sign, '"' | '\'') => quote = Some(sign),
            None => outline.push(sign),
        }
    }
    outline
}

fn select(document: &Value, text: &str) -> Result<Reading, String> {
    bounded(&path(text)).map_err(|reason| format!("jsonPath {text:?}: {reason}"))?;
    let found = document.query(&path(text)).map_err(|error| format!("jsonPath {text:?}: {error}"))?;
    let result = match found.as_slice() {
        [] | [Value::Null] => return Err(format!("there is nothing at {text}")),
        [one] => (*one).clone(),
        all => all.iter().map(|value| (*value).clone()).collect(),
    };
    let samples = result.as_array().map_or(1, Vec::len) as u64;
    Ok(Reading::of_value(result, samples))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_select() {
        let document = json!({"data": {"ok": true, "items": [{"v": 1.5}, {"v": 2}]}, "none": null});
        for (path, expected) in [
            ("$.data.ok", Ok(json!(true))),
            ("{.data.ok}", Ok(json!(true))),
            ("{$.data.items[0].v}", Ok(json!(1.5))),
            (".data.items[*].v", Ok(json!([1.5, 2]))),
            ("$.none", Err("there is nothing at $.none".to_owned())),
            ("$.other", Err("there is nothing at $.other".to_owned())),
        ] {
            let found = select(&document, path);
            let expected = expected.map(|value| format!("result: {value:?}, "));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert!(format!("{found:?}").contains(&expected), "{found:?}"),
                (Err(found), Err(expected)) => assert_eq!(found, expected),
                (found, expected) => assert!(found.is_err() == expected.is_err(), "{path}: {found:?}"),
            }
        }
        assert!(check("$.a[").is_err() && check("{.a}").is_ok());
    }

    #[test]
    fn a_path_costs_little() {
        for (path, allowed) in [
            ("$..items[?@.name=='a..b,$?(' && @.ok].v", true),
            ("$.a[0, 1]['$']", true),
            ("$..*..*..*", false),
            ("$..[?count($..*) > 0]", false),
            ("$.a[?@.b[?@.c[?@.d]]]", false),
            ("$[*, *][*, *][*, *][*, *]", false),
            ("$.a[?match(@.b, '.*')]", false),
            ("$.a[?search(@.b, @.c)]", false),
        ] {
            let told = check(path);
            assert_eq!(told.is_ok(), allowed, "{path}: {told:?}");
        }
        assert!(check(&format!("$[?{}@.a{}]", "(".repeat(400), ")".repeat(400))).is_err());
    }
}
