//! Queries to a real Prometheus.

use std::time::{Duration, Instant};

use gitops_core::rollout::analysis::Outcome;
use gitops_tests::prometheus::{INTERVAL, Prometheus};
use serde_json::{Value, json};

use super::{Case, now};

fn metric(prometheus: &Prometheus, query: &str, success: &str) -> Value {
    json!({"name": "m", "success": success, "prometheus": {"address": prometheus.address(), "query": query}})
}

#[test]
fn thresholds_on_what_pods_export() {
    let prometheus = Prometheus::start();
    let line = |track: &str, code: u32, value: u32| {
        format!("requests_total{{track=\"{track}\",code=\"{code}\"}} {value}")
    };
    prometheus.export(&[line("canary", 200, 97), line("canary", 500, 3), line("stable", 200, 500)]);
    prometheus.scraped(3);
    let share = |track: &str| {
        format!(
            "sum(requests_total{{track=\"{track}\",code=\"500\"}}) / sum(requests_total{{track=\"{track}\"}})"
        )
    };
    for (query, success, outcome, told) in [
        (share("canary"), "result < 0.05", Outcome::Success, "0.03"),
        (share("canary"), "result < 0.01", Outcome::Failure, "0.03"),
        ("sum by (track) (requests_total)".to_owned(), "result.all(x, x >= 100.0)", Outcome::Success, "["),
        ("scalar(sum(requests_total))".to_owned(), "result == 600", Outcome::Success, "600"),
        // No 500 of the old version: a division by nothing.
        (share("stable"), "result < 0.01", Outcome::Inconclusive, "http://127.0.0.1:"),
        ("vector(0) / 0".to_owned(), "result < 0.01", Outcome::Inconclusive, "http://127.0.0.1:"),
        ("absent_total".to_owned(), "result < 0.01", Outcome::Inconclusive, "http://127.0.0.1:"),
        ("sum(".to_owned(), "result < 1", Outcome::Inconclusive, "http://127.0.0.1:"),
    ] {
        let (found, value) = Case::new(metric(&prometheus, &query, success)).measured();
        assert!(found == outcome && value.starts_with(told), "{query}: {found:?} {value}");
    }
    let (_, value) = Case::new(metric(&prometheus, "sum(", "result < 1")).measured();
    assert!(value.contains("answers 400") && value.contains("parse error"), "{value}");
    let (_, value) = Case::new(metric(&prometheus, "absent_total", "result < 1")).measured();
    assert!(value.ends_with("no data for absent_total"), "{value}");
}

#[test]
fn arguments_and_versions_are_put_in() {
    let prometheus = Prometheus::start();
    prometheus.export(&[
        "up_total{service=\"web\",hash=\"new\"} 7".into(),
        "up_total{service=\"web\",hash=\"old\"} 3".into(),
    ]);
    prometheus.scraped(3);
    let query = "up_total{service=\"{{args.service}}\",hash=\"{{new.hash}}\"} - on(service) up_total{hash=\"{{stable.hash}}\"}";
    let metric = metric(&prometheus, query, "result == {{args.wanted}}");
    let declared = json!([{"name": "service"}, {"name": "wanted", "value": "4"}]);
    let case = Case::given(json!([metric]), declared, json!([{"name": "service", "value": "web"}]));
    assert_eq!(case.measured(), (Outcome::Success, "4".into()));
}

#[test]
fn what_is_not_reached_is_inconclusive_and_soon() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let case = |address: &str| {
        let prometheus = json!({"address": address, "query": "up"});
        Case::new(json!({"name": "m", "success": "result > 0", "prometheus": prometheus}))
    };
    let begun = Instant::now();
    let (outcome, value) = case(&format!("http://user:secret@{closed}/prometheus")).measured();
    assert!(
        outcome == Outcome::Inconclusive && value.starts_with(&format!("http://{closed}/prometheus/")),
        "{value}"
    );
    assert!(!value.contains("secret"));
    for refused in ["file:///etc/passwd", "http://169.254.169.254/"] {
        let (outcome, value) = case(refused).measured();
        assert!(outcome == Outcome::Inconclusive && value.contains("asked"), "{value}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Durations of an equal, a slower and the old version, that go up and down
/// together, so that only their difference says something.
fn latencies(round: u32) -> Vec<String> {
    let noise =
        |seed: u32| f64::from(round.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 16 & 255) / 255.0;
    let traffic = f64::from(round % 10) / 10.0;
    let tracks = [("equal", 7 << 20, 0.0), ("slower", 3 << 21, 2.0), ("stable", 91 << 19, 0.0)];
    let line = |(track, seed, more)| {
        format!("latency_seconds{{track=\"{track}\"}} {}", 1.0 + traffic + noise(seed) + more)
    };
    tracks.into_iter().map(line).collect()
}

#[test]
fn a_slower_version_is_told_from_an_equal_one() {
    let prometheus = Prometheus::start();
    let of = |track: &str, range: &str| format!("latency_seconds{{track=\"{track}\"}}{range}");
    let begun = now();
    let case = |track: &str, range: &str, samples: u32, success: Option<&str>| {
        let mut metric = json!({"name": "m", "interval": "1s", "minSamples": samples,
            "prometheus": {"address": prometheus.address(), "query": of(track, range), "baselineQuery": of("stable", range)}});
        if let Some(success) = success {
            metric["success"] = success.into();
        }
        let mut case = Case::new(metric);
        case.state.entered = begun;
        case
    };
    let (outcome, value) = case("slower", "", 8, None).measured();
    assert_eq!(outcome, Outcome::Inconclusive, "{value}");
    for round in 0..60 {
        prometheus.export(&latencies(round));
        std::thread::sleep(INTERVAL);
    }
    for (track, range, samples, success, expected, told) in [
        ("equal", "[1m]", 8, None, Outcome::Success, ", not worse than "),
        ("slower", "[1m]", 8, None, Outcome::Failure, ", worse than "),
        // Not raw samples, but one each second since the analysis began.
        ("equal", "", 8, None, Outcome::Success, ", not worse than "),
        ("slower", "", 8, None, Outcome::Failure, ", worse than "),
        ("slower", "[1m]", 8, Some("!worse || result < 10.0 * baseline"), Outcome::Success, ", worse than "),
        ("equal", "[1m]", 8, Some("result < 0.1"), Outcome::Failure, ", not worse than "),
        ("slower", "[1m]", 10_000, None, Outcome::Inconclusive, "samples of at least 10000"),
    ] {
        let (outcome, value) = case(track, range, samples, success).measured();
        assert!(
            outcome == expected && value.contains(told),
            "{track}{range} {success:?}: {outcome:?} {value}"
        );
    }
}
