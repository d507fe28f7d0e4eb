//! The two servers: reviews by TLS, health and metrics in plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::admission::{AdmissionReview, Answer, mutate, salvage, validate};
use crate::keeper::Keeper;

/// Old and new object of 1.5 MiB each, and room.
const MAX_BODY: usize = 8 << 20;

/// `/validate` and `/mutate`.
pub fn reviews(keeper: Arc<Keeper>) -> Router {
    Router::new()
        .route("/validate", post(on_validate))
        .route("/mutate", post(on_mutate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(keeper)
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn health(keeper: Arc<Keeper>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(on_ready))
        .route("/metrics", get(on_metrics))
        .with_state(keeper)
}

async fn on_validate(State(keeper): State<Arc<Keeper>>, body: Bytes) -> Response {
    let review = match parse(&body) {
        Ok(review) => review,
        Err(error) => return unread(&body, &error, Answer::deny),
    };
    let uid = review.request.uid.clone();
    // A task of its own: should judging ever panic, the write is refused.
    let judged = tokio::spawn(async move { validate(&keeper, &review.request).await }).await;
    let answer = judged.unwrap_or_else(|error| {
        tracing::error!(%uid, %error, "judging failed");
        Answer::deny(
            "kubectl-gitops could not judge this write, so it is refused; see the log of gitops-webhook",
        )
    });
    json(&answer.into_review(&uid))
}

async fn on_mutate(State(keeper): State<Arc<Keeper>>, body: Bytes) -> Response {
    let review = match parse(&body) {
        Ok(review) => review,
        Err(error) => return unread(&body, &error, |_| Answer::allow()),
    };
    let uid = review.request.uid.clone();
    let answer = tokio::spawn(async move { mutate(&keeper, &review.request).await })
        .await
        .unwrap_or_else(|_| Answer::allow());
    json(&answer.into_review(&uid))
}

fn parse(body: &[u8]) -> Result<AdmissionReview, serde_json::Error> {
    serde_json::from_slice(body)
}

/// The answer to a review that cannot be read: one with its uid, where it has
/// one, else a refusal of the request.
fn unread(body: &[u8], error: &serde_json::Error, answer: impl FnOnce(String) -> Answer) -> Response {
    let message = format!("this is no AdmissionReview: {error}");
    match salvage::uid(body) {
        Some(uid) => {
            tracing::warn!(%uid, %error, "a review cannot be read");
            let message = format!("kubectl-gitops cannot read this write, so it is refused: {message}");
            json(&answer(message).into_review(&uid))
        }
        None => (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    }
}

fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn on_ready(State(keeper): State<Arc<Keeper>>) -> Response {
    if keeper.is_ready() {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: not every Application has been looked at yet\n")
            .into_response()
    }
}

async fn on_metrics(State(keeper): State<Arc<Keeper>>) -> Response {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], keeper.metrics.text()).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use clap::Parser;
    use gitops_cluster::Cluster;
    use http_body_util::BodyExt;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;
    use crate::settings::Settings;

    /// A keeper whose API server answers every question with an error.
    pub fn keeper() -> Arc<Keeper> {
        let broken = tower::service_fn(async |_: Request<kube::client::Body>| {
            Ok::<_, std::convert::Infallible>(Response::builder().status(500).body(Body::empty()).unwrap())
        });
        let client = kube::Client::new(broken, "default");
        let cache = std::env::temp_dir().join("gitops-webhook-tests");
        let settings = Settings::parse_from(["gitops-webhook", "--cache-dir", &cache.display().to_string()]);
        Keeper::new(Cluster::from_client(client, "https://nowhere", "default", None), settings)
    }

    pub async fn ask(router: Router, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let request =
            Request::post(path).header("content-type", "application/json").body(body.into()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn judged(path: &str, request: Value) -> Value {
        let body =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let (status, text) = ask(reviews(keeper()), path, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"], &answer["response"]["uid"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"), &request["uid"])
        );
        answer["response"].clone()
    }

    fn create(group: &str, kind: &str, resource: &str, object: Value) -> Value {
        json!({"uid": "u-1", "kind": {"group": group, "version": "v1alpha1", "kind": kind},
            "resource": {"group": group, "version": "v1alpha1", "resource": resource}, "name": "x", "namespace": "shop",
            "operation": "CREATE", "userInfo": {"username": "ada"}, "object": object})
    }

    #[tokio::test]
    async fn garbage_is_refused_and_named() {
        for path in ["/validate", "/mutate"] {
            for body in ["", "garbage", "[]", "{}", "\u{0}", r#"{"request": {}}"#] {
                let (status, text) = ask(reviews(keeper()), path, body.to_owned()).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{body:?}: {text}");
                assert!(text.starts_with("this is no AdmissionReview: "), "{text}");
            }
            let (status, _) = ask(reviews(keeper()), path, vec![b' '; MAX_BODY + 1]).await;
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_with_its_uid() {
        for (path, allowed) in [("/validate", false), ("/mutate", true)] {
            let answer = judged(path, json!({"uid": "u-7", "operation": 7})).await;
            assert_eq!(answer["allowed"], allowed, "{answer}");
            let message = answer["status"]["message"].as_str().unwrap_or("no AdmissionReview");
            assert!(message.contains("no AdmissionReview"), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_nobody_declares_passes_with_its_uid() {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "shop"}});
        for path in ["/validate", "/mutate"] {
            let answer = judged(path, create("", "ConfigMap", "configmaps", object.clone())).await;
            assert_eq!(answer["allowed"], true, "{answer}");
        }
    }

    #[tokio::test]
    async fn an_error_while_judging_never_allows() {
        let spec = json!({"project": "default", "source": {"repo": "https://git.example/x.git"}});
        let object = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "x", "namespace": "shop"}, "spec": spec});
        let answer =
            judged("/validate", create("kubectl-gitops.dev", "Application", "applications", object)).await;
        assert_eq!(answer["allowed"], false, "{answer}");
    }

    #[tokio::test]
    async fn health_is_told_and_ready_is_not_claimed() {
        for (path, status, part) in [
            ("/healthz", StatusCode::OK, "ok"),
            ("/readyz", StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            ("/metrics", StatusCode::OK, "gitops_certificate_expiry_seconds"),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = health(keeper()).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&text).contains(part), "{path}: {text:?}");
        }
    }
}
