//! JSON documents over HTTP.

use gitops_core::rollout::analysis::Outcome;
use gitops_tests::http_server::{HttpServer, Reply};
use serde_json::{Value, json};

use super::{Case, now, nowhere};

fn metric(name: &str, url: &str, path: &str, success: &str) -> Value {
    json!({"name": name, "success": success, "http": {"url": url, "jsonPath": path}})
}

fn server() -> HttpServer {
    HttpServer::start(|path| {
        let to =
            |place: &str| Reply { status: 302, headers: vec![format!("Location: {place}")], ..Reply::ok("") };
        match path {
            "/ok" => Reply::ok(r#"{"data": {"ok": true, "rates": [0.1, 0.2]}}"#),
            "/moved" => to("/ok"),
            "/loop" => to("/loop"),
            "/metadata" => to("http://169.254.169.254/latest/"),
            "/file" => to("file:///etc/passwd"),
            "/text" => Reply::ok("hello"),
            "/large" => Reply::ok("1".repeat(9 << 20)),
            "/slow" => {
                std::thread::sleep(std::time::Duration::from_secs(30));
                Reply::ok("{}")
            }
            _ => Reply { status: 503, ..Reply::ok("down for now") },
        }
    })
}

#[test]
fn documents_are_judged() {
    let server = server();
    for (path, json_path, success, outcome, told) in [
        ("/ok", "$.data.ok", "result", Outcome::Success, "true"),
        ("/ok", "{.data.ok}", "!result", Outcome::Failure, "true"),
        ("/ok", "$.data.rates[*]", "result.all(x, x < 1.0)", Outcome::Success, "[0.1, 0.2]"),
        ("/moved", "$.data.ok", "result", Outcome::Success, "true"),
        ("/ok", "$.data.none", "result", Outcome::Inconclusive, "there is nothing at $.data.none"),
        ("/loop", "$", "true", Outcome::Inconclusive, "more than 3 redirects"),
        ("/metadata", "$", "true", Outcome::Inconclusive, "link-local addresses are not asked"),
        ("/file", "$", "true", Outcome::Inconclusive, "answers 302"),
        ("/text", "$", "true", Outcome::Inconclusive, "it is no JSON"),
        ("/large", "$", "true", Outcome::Inconclusive, "more than 256 KiB"),
        ("/down", "$", "true", Outcome::Inconclusive, "answers 503: down for now"),
    ] {
        let (found, value) = Case::new(metric("m", &server.url(path), json_path, success)).measured();
        assert!(found == outcome && value.contains(told), "{path}: {found:?} {value}");
        let named = outcome != Outcome::Inconclusive || value.starts_with(&server.url(""));
        assert!(named, "the address is told: {value}");
    }
}

#[test]
fn many_are_measured_side_by_side_and_a_slow_one_is_given_up() {
    let server = server();
    let slow = ["s1", "s2", "s3", "s4"].map(|name| metric(name, &server.url("/slow"), "$", "true"));
    let mut metrics = slow.to_vec();
    metrics.push(metric("fast", &server.url("/ok"), "$.data.ok", "result"));
    let case = Case::given(json!(metrics), json!([]), json!([]));
    let begun = std::time::Instant::now();
    let taken = case.at(nowhere(), now());
    assert!(begun.elapsed() < std::time::Duration::from_secs(14), "{:?}", begun.elapsed());
    let of = |outcome: Outcome| taken.iter().filter(|one| one.measured.outcome == outcome).count();
    assert_eq!((taken.len(), of(Outcome::Success), of(Outcome::Inconclusive)), (5, 1, 4), "{taken:?}");
}

#[test]
fn what_was_measured_a_moment_ago_is_not_asked_again() {
    let server = server();
    let mut case = Case::new(json!({"name": "m", "interval": "30s", "count": 2, "success": "result",
        "http": {"url": server.url("/ok"), "jsonPath": "$.data.ok"}}));
    let begun = now();
    let taken = case.at(nowhere(), begun);
    case.state.tallies.entry("t/m".into()).or_default().count(taken[0].measured.outcome, begun);
    assert!(case.at(nowhere(), begun + 29).is_empty());
    assert_eq!(case.at(nowhere(), begun + 30).len(), 1);
    case.state.tallies.entry("t/m".into()).or_default().count(Outcome::Success, begun + 30);
    assert!(case.at(nowhere(), begun + 90).is_empty(), "both were taken");
    assert_eq!(server.asked(), 2);
}
