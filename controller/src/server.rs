//! Health and metrics, in plain HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::controller::Controller;

/// `/healthz`, `/readyz` and `/metrics`.
pub fn health(controller: Arc<Controller>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(on_ready))
        .route("/metrics", get(on_metrics))
        .with_state(controller)
}

async fn on_ready(State(controller): State<Arc<Controller>>) -> Response {
    if controller.is_ready() {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the Applications are not known yet\n").into_response()
    }
}

async fn on_metrics(State(controller): State<Arc<Controller>>) -> Response {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = controller.metrics.text(controller.queue.depth(), &controller.rollout_phases());
    ([(header::CONTENT_TYPE, openmetrics)], text).into_response()
}
