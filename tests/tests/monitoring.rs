//! The chart's dashboard and alerts: Prometheus can read every expression, and
//! each names metrics that the programs have.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use gitops_tests::cluster::ran;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn alerts() -> PathBuf {
    root().join("charts/gitops/files/alerts.yaml")
}

/// All expressions of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("charts/gitops/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Every name of ours in a text, without what Prometheus appends.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter_map(|word| word.strip_prefix("gitops_"));
    let bare = |name: &str| {
        let ends = ["_total", "_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    ours.map(bare).collect()
}

/// What the programs register, read from where they do.
fn registered() -> BTreeSet<String> {
    let sources =
        ["controller/src/metrics.rs", "webhook/src/metrics.rs", "crates/engine/src/counts.rs"].map(text);
    let calls = ["register(", "encode_descriptor("];
    let after = sources.iter().flat_map(|source| calls.iter().flat_map(|call| source.split(call).skip(1)));
    let names = after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn prometheus_reads_every_alert() {
    let read = ran(Command::new("promtool").args(["check", "rules"]).arg(alerts()), None).ok();
    assert!(read.stdout.contains("SUCCESS"), "{}", read.stdout);
}

/// What fires at a time, of these alerts, where these series are.
fn fires(series: &[(&str, &str)], at: &str, alerts: &[(&str, bool)]) -> Value {
    let series: Vec<Value> =
        series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let rules: Value = gitops_source::yaml::documents("alerts", &text("charts/gitops/files/alerts.yaml"))
        .unwrap()[0]
        .value
        .clone();
    let all = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let all: Vec<&Value> = all.collect();
    let expected = alerts.iter().map(|(name, fires)| {
        let rule = all.iter().find(|rule| rule["alert"] == **name).unwrap();
        let labels = &rule["labels"];
        let alerts = if *fires {
            json!([{"exp_labels": labels, "exp_annotations": rule["annotations"]}])
        } else {
            json!([])
        };
        json!({"eval_time": at, "alertname": name, "exp_alerts": alerts})
    });
    json!({"interval": "1m", "input_series": series, "alert_rule_test": expected.collect::<Vec<_>>()})
}

/// With those series that there are, and nothing else.
#[test]
fn alerts_fire_when_they_should() {
    let ok = "gitops_syncs_total{result=\"ok\"}";
    let failed = "gitops_syncs_total{result=\"failed\"}";
    let looked = "gitops_git_looks_total{result=\"ok\"}";
    let missed = "gitops_git_looks_total{result=\"failed\"}";
    let up = "up{job=\"gitops-controller\"}";
    let (syncs, looks, down) = ("GitopsSyncsFail", "GitopsRepositoriesUnreachable", "GitopsControllerDown");
    let tests = [
        fires(&[(failed, "0+1x60")], "40m", &[(syncs, true)]),
        fires(&[(failed, "0+1x60"), (ok, "3x60")], "40m", &[(syncs, true)]),
        fires(&[(failed, "0+1x60"), (ok, "0+1x60")], "40m", &[(syncs, false)]),
        fires(&[(failed, "2x60")], "40m", &[(syncs, false)]),
        fires(&[(missed, "0+1x60")], "40m", &[(looks, true)]),
        fires(&[(missed, "0+2x60"), (looked, "0+1x60")], "40m", &[(looks, true)]),
        fires(&[(missed, "0+1x60"), (looked, "0+2x60")], "40m", &[(looks, false)]),
        fires(&[], "10m", &[(down, true), ("GitopsWebhookDown", true), (syncs, false), (looks, false)]),
        fires(&[(up, "1x60")], "10m", &[(down, false)]),
        fires(&[("gitops_overrides_used_total", "0x10 1x20")], "12m", &[("GitopsOverrideUsed", true)]),
        fires(&[("gitops_overrides_used_total", "1x40")], "30m", &[("GitopsOverrideUsed", false)]),
    ];
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let suite = json!({"rule_files": [alerts()], "evaluation_interval": "1m", "tests": tests});
    std::fs::write(file.path(), suite.to_string()).unwrap();
    let ran = ran(Command::new("promtool").args(["test", "rules"]).arg(file.path()), None);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn prometheus_reads_every_query_of_the_dashboard() {
    let recorded = queries().into_iter().enumerate();
    let rules: Vec<Value> =
        recorded.map(|(n, query)| json!({"record": format!("panel:{n}"), "expr": query})).collect();
    assert!(rules.len() > 12, "{}", rules.len());
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let read = ran(Command::new("promtool").args(["check", "rules"]).arg(file.path()), None).ok();
    assert!(read.stdout.contains("SUCCESS"), "{}", read.stdout);
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let registered = registered();
    assert!(registered.contains("syncs") && registered.contains("api_requests"), "{registered:?}");
    let named = names(&(queries().join(" ") + &text("charts/gitops/files/alerts.yaml")));
    assert!(named.len() > 8, "{named:?}");
    let unknown: Vec<&String> = named.difference(&registered).collect();
    assert!(unknown.is_empty(), "nobody exports {unknown:?}; there are {registered:?}");
}
