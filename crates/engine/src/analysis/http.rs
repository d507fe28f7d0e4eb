//! A JSON document of any address. In: a URL and a JSONPath (RFC 9535). Out:
//! what stands there.

use gitops_api::analysis::Http;
use jsonpath_rust::JsonPath;
use serde_json::Value;

use super::error::AnalysisError;
use super::fetch::{Fetcher, address, shown, told};
use super::reading::Reading;

/// One measurement.
pub(super) async fn read(fetcher: &Fetcher, metric: &Http) -> Result<Reading, AnalysisError> {
    let url = address(&metric.url)?;
    let answer = fetcher.get(&url).await?;
    if !(200..300).contains(&answer.status) {
        let (status, reason) = (answer.status, told(&answer.body));
        return Err(AnalysisError::Status { address: shown(&url), status, reason });
    }
    let failed = |reason: String| AnalysisError::Answer { address: shown(&url), reason };
    let document = serde_json::from_slice(&answer.body);
    let document: Value = document.map_err(|error| failed(format!("it is no JSON: {error}")))?;
    select(&document, &metric.json_path).map_err(failed)
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
    Value::Null.query(&path(text)).map(drop).map_err(|error| format!("jsonPath {text:?}: {error}"))
}

fn select(document: &Value, text: &str) -> Result<Reading, String> {
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
}
