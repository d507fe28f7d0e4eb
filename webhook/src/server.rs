//! The two servers: reviews by TLS, health and metrics in plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::admission::{AdmissionReview, Answer, mutate, validate};
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
        Err(response) => return *response,
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
        Err(response) => return *response,
    };
    let uid = review.request.uid.clone();
    let answer = tokio::spawn(async move { mutate(&keeper, &review.request).await })
        .await
        .unwrap_or_else(|_| Answer::allow());
    json(&answer.into_review(&uid))
}

fn parse(body: &[u8]) -> Result<AdmissionReview, Box<Response>> {
    serde_json::from_slice(body).map_err(|error| {
        Box::new((StatusCode::BAD_REQUEST, format!("this is no AdmissionReview: {error}\n")).into_response())
    })
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
