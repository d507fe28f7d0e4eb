//! Traces of the controller, received by a real OTLP receiver: one look at an
//! Application is one trace, from what woke it to what was applied.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use gitops_tests::{Controller, Shop};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Patience with a machine that does other things as well.
const LONG: Duration = Duration::from_secs(90);

/// What a collector is sent: the service's name beside each span.
#[derive(Clone, Debug, Default)]
struct Received(Arc<Mutex<Vec<(String, Span)>>>);

impl Received {
    /// Listens on a port of its own until the process ends.
    fn start() -> (Self, String) {
        let received = Self::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        (received, url)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().iter().map(|(_, span)| span.clone()).collect()
    }
}

async fn take(State(received): State<Received>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        let named = attributes.into_iter().find(|known| known.key == "service.name").unwrap();
        let Some(Any::StringValue(service)) = named.value.unwrap().value else { continue };
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|known| known.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn a_sync_is_one_trace_from_git_to_the_last_object() {
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    shop.hold(json!({"sync": {"mode": "Automatic"}}));
    let (received, url) = Received::start();
    let cache = TempDir::new().unwrap();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let arguments = ["--application-namespace", shop.name()];
    let controller = Controller::with_variables(shop.cluster, &arguments, &variables, cache.path());
    let greets = |wanted: &str| {
        eventually(&format!("it greets with {wanted}"), LONG, || {
            (shop.get("configmap", "web")?["data"]["greeting"] == wanted).then_some(())
        });
    };
    greets("hello");
    // Nothing else may be about to look at it: that look would see the commit first.
    eventually("it is at rest", LONG, || {
        let status = shop.get("application", "web")?["status"].clone();
        (status["sync"] == "Synced" && status["health"] == "Healthy").then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    let commit = shop.repo.commit("goodbye", &[("app/config.yaml", &CONFIG.replace("hello", "goodbye"))]);
    greets("goodbye");
    let name = format!("{}/web", shop.name());
    let is = |span: &Span, kind: &str| {
        span.name == kind
            && attribute(span, "application").as_deref() == Some(&name)
            && attribute(span, "revision").as_deref() == Some(&commit)
    };
    let (look, trace) = eventually("the trace of this sync has come", LONG, || {
        let spans = received.spans();
        let applied = spans.iter().find(|span| is(span, "apply"))?.clone();
        let trace: Vec<Span> = spans.into_iter().filter(|span| span.trace_id == applied.trace_id).collect();
        let look = trace.iter().find(|span| is(span, "reconcile"))?.clone();
        Some((look, trace))
    });
    assert!(look.parent_span_id.is_empty(), "{look:?}");
    for part in ["render", "compare", "apply"] {
        let found =
            trace.iter().find(|span| is(span, part)).unwrap_or_else(|| unreachable!("{part}: {trace:?}"));
        assert_eq!(found.parent_span_id, look.span_id, "{part}");
        assert!(
            found.start_time_unix_nano >= look.start_time_unix_nano
                && found.end_time_unix_nano <= look.end_time_unix_nano
        );
    }
    let begun = |part: &str| trace.iter().find(|span| is(span, part)).unwrap().start_time_unix_nano;
    assert!(begun("render") <= begun("compare") && begun("compare") <= begun("apply"));
    // What woke it: the look at Git that saw the commit.
    let poll = eventually("the look at Git has come", LONG, || {
        let link = look.links.first()?;
        received.spans().into_iter().find(|span| span.span_id == link.span_id)
    });
    assert_eq!((poll.name.as_str(), attribute(&poll, "repository")), ("poll", Some(shop.repo.url())));
    let fetch = received.spans().into_iter().find(|span| span.parent_span_id == poll.span_id).unwrap();
    assert_eq!(fetch.name, "fetch");
    assert!(received.0.lock().unwrap().iter().all(|(service, _)| service == "gitops-controller"));

    // The log says the same of its lines.
    let lines: Vec<Value> =
        controller.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let synced =
        lines.iter().find(|line| line["message"] == "synced" && line["revision"] == *commit).unwrap();
    assert_eq!(
        (&synced["application"], &synced["span"]["name"]),
        (&json!(name), &json!("reconcile")),
        "{synced}"
    );
}
