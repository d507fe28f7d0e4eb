//! Addresses that do not let everybody in: a Prometheus behind TLS and a
//! password, documents behind a token or a header.

use std::sync::{Arc, Mutex};

use gitops_core::rollout::analysis::Outcome;
use gitops_tests::http_server::{HttpServer, Reply};
use gitops_tests::prometheus::{Prometheus, USER};
use gitops_tests::{Namespace, webhook_cluster as cluster};
use serde_json::{Value, json};

use super::cluster::{create, live};
use super::{Case, now};

fn secret(namespace: &Namespace, name: &str, address: &str, more: &Value) {
    let mut data = json!({"address": address});
    for (key, value) in more.as_object().into_iter().flatten() {
        data[key] = value.clone();
    }
    create(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace.name,
        "labels": {"kubectl-gitops.dev/secret-type": "analysis"}}, "stringData": data}),
    );
}

fn measured(namespace: &Namespace, metric: Value) -> (Outcome, String) {
    let mut case = Case::new(metric);
    case.subject.namespace.clone_from(&namespace.name);
    let taken = case.at(live(), now());
    (taken[0].measured.outcome, taken[0].value.clone())
}

#[test]
fn a_prometheus_lets_in_who_has_the_password_and_trusts_its_authority() {
    let (namespace, prometheus) = (cluster().namespace("guarded"), Prometheus::guarded());
    prometheus.export(&["up_total 7".into()]);
    prometheus.scraped(3);
    let login = json!({"username": USER.0, "password": USER.1});
    secret(&namespace, "right", prometheus.address(), &login);
    secret(
        &namespace,
        "wrong",
        prometheus.address(),
        &json!({"username": USER.0, "password": "something else"}),
    );
    let mut whole = login.clone();
    whole["ca.crt"] = prometheus.certificate().into();
    secret(&namespace, "whole", prometheus.address(), &whole);
    secret(&namespace, "elsewhere", "https://prometheus.example", &login);
    create(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other", "namespace": namespace.name},
        "stringData": {"address": prometheus.address(), "token": "of-somebody-else"}}),
    );
    create(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authority", "namespace": namespace.name},
        "data": {"ca.crt": prometheus.certificate()}}),
    );
    let ca = prometheus.certificate();
    for (access, outcome, told) in [
        (json!({"secretRef": {"name": "right"}, "caBundle": ca}), Outcome::Success, "7"),
        (
            json!({"secretRef": {"name": "right"}, "caConfigMapRef": {"name": "authority"}}),
            Outcome::Success,
            "7",
        ),
        (json!({"secretRef": {"name": "whole"}}), Outcome::Success, "7"),
        (json!({"secretRef": {"name": "wrong"}, "caBundle": ca}), Outcome::Inconclusive, "answers 401"),
        (json!({"caBundle": ca}), Outcome::Inconclusive, "answers 401"),
        (json!({"secretRef": {"name": "right"}}), Outcome::Inconclusive, "https://127.0.0.1"),
        (
            json!({"secretRef": {"name": "elsewhere"}, "caBundle": ca}),
            Outcome::Inconclusive,
            "for another address",
        ),
        (
            json!({"secretRef": {"name": "other"}, "caBundle": ca}),
            Outcome::Inconclusive,
            "not for measurements",
        ),
        (json!({"secretRef": {"name": "none"}}), Outcome::Inconclusive, "it is not there"),
        (json!({"caConfigMapRef": {"name": "none"}}), Outcome::Inconclusive, "it is not there"),
    ] {
        let asked = json!({"address": prometheus.address(), "query": "up_total", "access": access});
        let (found, value) =
            measured(&namespace, json!({"name": "m", "success": "result == 7", "prometheus": asked}));
        assert!(found == outcome && value.contains(told), "{access}: {found:?} {value}");
        for kept in [USER.1, "something else", "of-somebody-else"] {
            assert!(!value.contains(kept), "{value}");
        }
    }
}

#[test]
fn what_lets_one_in_goes_nowhere_else() {
    let namespace = cluster().namespace("guarded");
    let other = HttpServer::start(|_| Reply::ok(r#"{"ok": true}"#));
    let away = other.url("/");
    let target = Arc::new(Mutex::new(away));
    let asked = target.clone();
    let server = HttpServer::start(move |path| match path {
        "/away" => Reply {
            status: 302,
            headers: vec![format!("Location: {}", asked.lock().unwrap())],
            body: String::new(),
        },
        // As Prometheus' encoder writes it.
        path if path.starts_with("/go/") => Reply {
            status: 400,
            headers: Vec::new(),
            body: r#"{"status": "error", "error": "not with a\u0026b\u003cc\u003ed"}"#.into(),
        },
        // It says what it was sent.
        _ => Reply { status: 403, headers: Vec::new(), body: "not with t0k3n-of-ada".into() },
    });
    secret(&namespace, "token", &server.url("/"), &json!({"token": "t0k3n-of-ada"}));
    let of = |path: &str, access: Value| {
        let http = json!({"url": server.url(path), "jsonPath": "$.ok", "access": access});
        measured(&namespace, json!({"name": "m", "success": "result", "http": http}))
    };
    let access = json!({"secretRef": {"name": "token"}});
    secret(&namespace, "odd", &server.url("/"), &json!({"token": "a&b<c>d"}));
    let odd = json!({"secretRef": {"name": "odd"}});
    let query = json!({"address": server.url("/go"), "query": "up", "access": odd});
    let by_query = measured(&namespace, json!({"name": "m", "success": "true", "prometheus": query})).1;
    for value in [by_query, of("/go/", odd).1] {
        assert!(
            value.contains("not with ***") && !value.contains("b<c") && !value.contains("u0026"),
            "{value}"
        );
    }
    let (outcome, value) = of("/away", access.clone());
    assert!(outcome == Outcome::Inconclusive && value.contains("with credentials"), "{value}");
    assert_eq!(other.asked(), 0, "nothing was sent there");
    let (_, value) = of("/away", json!({}));
    assert_eq!((value.as_str(), other.asked()), ("true", 1));
    let (_, value) = of("/echo", access);
    assert!(value.contains("answers 403") && value.contains("not with ***"), "{value}");
}
