//! Prometheus' HTTP API (prometheus.io/docs/prometheus/latest/querying/api).
//! In: an address and queries. Out: the newest values, or samples of both
//! versions over the time since the analysis began.

use gitops_api::analysis::{Prometheus, Worse};
use serde_json::Value;
use url::Url;

use super::error::AnalysisError;
use super::fetch::{Asking, shown};
use super::reading::{Reading, Samples};

/// Points that Prometheus gives at most for one series.
const MAX_POINTS: i64 = 10_000;

/// Bytes of an answer.
const MAX_SIZE: usize = 8 << 20;

/// From when to when samples are taken, and how far apart, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) since: i64,
    pub(super) now: i64,
    pub(super) step: i64,
}

impl Span {
    /// The first point lies one step after the beginning, so that what a rate
    /// looks back at is of the versions that are compared.
    fn start(&self) -> i64 {
        let step = self.step.max(1);
        (self.since + step).max(self.now - step * MAX_POINTS)
    }
}

/// One measurement.
pub(super) async fn read(
    asking: &Asking,
    base: &Url,
    metric: &Prometheus,
    span: Span,
) -> Result<Reading, AnalysisError> {
    let Some(baseline) = &metric.baseline_query else {
        let series = instant(asking, base, &metric.query).await?;
        return Ok(Reading::of_values(values(&series, base, &metric.query)?));
    };
    let (new, old) =
        tokio::try_join!(samples(asking, base, &metric.query, span), samples(asking, base, baseline, span))?;
    Ok(Reading::of_samples(Samples { new, old, lower: metric.worse == Worse::Lower }))
}

/// The values of each series.
#[derive(Debug, PartialEq)]
struct Found {
    series: Vec<Vec<f64>>,
    /// The query itself asks for samples of a range.
    range: bool,
}

fn values(found: &Found, base: &Url, query: &str) -> Result<Vec<f64>, AnalysisError> {
    let all: Vec<f64> = found.series.iter().flatten().copied().filter(|value| value.is_finite()).collect();
    if all.is_empty() {
        return Err(AnalysisError::NoData(format!("{}: no data for {query}", shown(base))));
    }
    Ok(all)
}

/// What a query that asks for raw samples gives, else its values over the span.
async fn samples(asking: &Asking, base: &Url, query: &str, span: Span) -> Result<Vec<f64>, AnalysisError> {
    let now = instant(asking, base, query).await?;
    if now.range {
        return values(&now, base, query);
    }
    let start = span.start();
    if start > span.now {
        return Ok(Vec::new());
    }
    let parameters = [
        ("query", query.to_owned()),
        ("start", start.to_string()),
        ("end", span.now.to_string()),
        ("step", span.step.max(1).to_string()),
    ];
    let found = ask(asking, base, "query_range", &parameters).await?;
    values(&found, base, query)
}

async fn instant(asking: &Asking, base: &Url, query: &str) -> Result<Found, AnalysisError> {
    ask(asking, base, "query", &[("query", query.to_owned())]).await
}

async fn ask(
    asking: &Asking,
    base: &Url,
    endpoint: &str,
    parameters: &[(&str, String)],
) -> Result<Found, AnalysisError> {
    let mut url = base.clone();
    url.set_path(&format!("{}/api/v1/{endpoint}", base.path().trim_end_matches('/')));
    url.query_pairs_mut().extend_pairs(parameters);
    let answer = asking.get(&url, MAX_SIZE).await?;
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if document.get("status").and_then(Value::as_str) != Some("success") {
        let error = document.get("error").and_then(Value::as_str);
        let reason = error.map_or_else(|| asking.told(&answer), |error| asking.mask(error));
        return Err(AnalysisError::Status { address: shown(base), status: answer.status, reason });
    }
    parse(&document)
        .map_err(|reason| AnalysisError::Answer { address: shown(base), reason: asking.mask(&reason) })
}

/// Reads an answer: numbers are strings there, `NaN` and `+Inf` among them.
fn parse(document: &Value) -> Result<Found, String> {
    let kind = document.pointer("/data/resultType").and_then(Value::as_str).unwrap_or_default();
    let result = document.pointer("/data/result").unwrap_or(&Value::Null);
    let number = |pair: &Value| {
        let text = pair.get(1).and_then(Value::as_str);
        text.and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| format!("{pair} is no sample"))
    };
    let list = || result.as_array().map_or(&[][..], Vec::as_slice);
    let histogram = |one: &Value| one.get("histogram").is_some() || one.get("histograms").is_some();
    if list().iter().any(histogram) {
        return Err("the query gives histograms: take a quantile of them".into());
    }
    let series = match kind {
        "scalar" => vec![vec![number(result)?]],
        "vector" => {
            let one = |one: &Value| Ok(vec![number(one.get("value").unwrap_or(&Value::Null))?]);
            list().iter().map(one).collect::<Result<_, String>>()?
        }
        "matrix" => {
            let one = |one: &Value| {
                let pairs = one.get("values").and_then(Value::as_array);
                pairs.into_iter().flatten().map(number).collect::<Result<Vec<_>, String>>()
            };
            list().iter().map(one).collect::<Result<_, _>>()?
        }
        other => return Err(format!("the query gives a {other:?}, not numbers")),
    };
    Ok(Found { series, range: kind == "matrix" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(kind: &str, result: Value) -> Result<Found, String> {
        parse(&json!({"status": "success", "data": {"resultType": kind, "result": result}}))
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        for (kind, result, series) in [
            ("scalar", json!([1.0, "0.5"]), vec![vec![0.5]]),
            ("vector", json!([]), vec![]),
            (
                "vector",
                json!([{"metric": {}, "value": [1.0, "2"]}, {"metric": {}, "value": [1.0, "3"]}]),
                vec![vec![2.0], vec![3.0]],
            ),
            ("matrix", json!([{"metric": {}, "values": [[1, "1"], [2, "1e3"]]}]), vec![vec![1.0, 1000.0]]),
        ] {
            assert_eq!(parsed(kind, result).unwrap().series, series, "{kind}");
        }
        let nan = parsed("vector", json!([{"value": [1, "NaN"]}, {"value": [1, "+Inf"]}])).unwrap();
        assert!(nan.series[0][0].is_nan() && nan.series[1][0].is_infinite());
    }

    #[test]
    fn what_is_no_number_is_told() {
        assert_eq!(
            parsed("string", json!([1, "x"])).unwrap_err(),
            "the query gives a \"string\", not numbers"
        );
        assert!(parsed("vector", json!([{"histogram": [1, {}]}])).unwrap_err().contains("quantile"));
        assert!(parsed("scalar", json!([1, "x"])).unwrap_err().contains("no sample"));
    }

    #[test]
    fn samples_begin_after_the_first_step() {
        assert_eq!(Span { since: 100, now: 200, step: 30 }.start(), 130);
        assert_eq!(Span { since: 0, now: 20_000, step: 1 }.start(), 10_000);
    }
}
