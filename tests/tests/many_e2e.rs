//! Many Applications of one `gitops.yaml`: looked at side by side, told and
//! written in order.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::Place;
use serde_json::{Value, json};

const COUNT: usize = 20;

fn name(number: usize) -> String {
    format!("app-{number:02}")
}

fn config(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).to_string()
}

/// Each has a ConfigMap of its name.
fn many() -> Place {
    let files: Vec<(String, String)> =
        (0..COUNT).map(|number| (format!("{}/config.yaml", name(number)), config(&name(number)))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let place = Place::undescribed(&files);
    let all: Vec<Value> = (0..COUNT).map(|number| place.application(&name(number), &name(number))).collect();
    place.describe(&all);
    place
}

/// The Applications of a report, in its order, without their namespace.
fn told(reports: &Value) -> Vec<String> {
    let last = |report: &Value| {
        let name = report["application"].as_str().or(report["name"].as_str()).unwrap();
        name.rsplit('/').next().unwrap().to_owned()
    };
    reports.as_array().unwrap().iter().map(last).collect()
}

#[test]
fn all_are_told_in_order_and_those_before_a_mistake_are_done() {
    let place = many();
    let names: Vec<String> = (0..COUNT).map(name).collect();
    assert_eq!(told(&place.gitops("diff -o json").code(1).json()), names);
    assert_eq!(told(&place.gitops("sync -o json").ok().json()), names);
    assert_eq!(told(&place.gitops("status -o json").ok().json()), names);
    assert_eq!(told(&place.gitops("wait --for healthy,synced -o json").ok().json()), names);
    place.gitops("diff").ok();
    let again = place.gitops("sync -o json").ok().json();
    let done = |report: &Value| report["counts"]["unchanged"] == 1 && report["counts"]["create"] == 0;
    assert!(again.as_array().unwrap().iter().all(done), "{again}");

    place.kubectl("delete configmap app-03 app-12").ok();
    place.commit(&[("app-07/config.yaml", "no: object\n")]);
    let list = place.gitops("list -o json").ok().json();
    assert_eq!(told(&list["items"]), names);
    let state = |number: usize| list["items"][number]["sync"].as_str().unwrap();
    assert_eq!((state(3), state(7), state(8), state(12)), ("OutOfSync", "Unknown", "Synced", "OutOfSync"));
    let ended = place.gitops("sync").code(4);
    assert!(ended.stderr.contains("app-07/config.yaml:1"), "{}", ended.stderr);
    assert!(place.has("configmap app-03") && !place.has("configmap app-12"));
}

#[test]
fn what_moves_between_applications_that_are_looked_at_at_once_is_not_deleted() {
    let place = many();
    place.gitops("sync").ok();
    let before = [5, 6].map(|number| place.uid(&format!("configmap {}", name(number))));
    // Forth and back in the order of the file: to one that is synced before, and
    // to one that is synced after.
    place.repo.git(&["mv", "app-05/config.yaml", "app-02/moved.yaml"]);
    place.repo.git(&["mv", "app-06/config.yaml", "app-09/moved.yaml"]);
    place.commit(&[("app-05/kept.yaml", config("kept-05")), ("app-06/kept.yaml", config("kept-06"))]);
    place.gitops("sync --prune --confirm-prune").ok();
    let after = [5, 6].map(|number| place.uid(&format!("configmap {}", name(number))));
    assert_eq!(before, after);
    for (number, owner) in [(5, 2), (6, 9)] {
        let live = place.get(&format!("configmap {}", name(number))).unwrap();
        let mark = live["metadata"]["annotations"]["kubectl-gitops.dev/owner"].as_str().unwrap();
        assert!(mark.ends_with(&name(owner)), "{mark}");
    }
    place.gitops("diff").ok();
}
