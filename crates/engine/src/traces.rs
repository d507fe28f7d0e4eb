//! Traces, for whoever collects them. In: spans, and in the environment
//! where to (`OTEL_EXPORTER_OTLP_ENDPOINT` and its likes, as OpenTelemetry
//! defines them). Out: OTLP over HTTP. Without an endpoint, nothing is kept.
//!
//! One trace is one look at an Application: `reconcile`, and in it `fetch`,
//! `render`, `compare` and `apply`, each with application and revision where it
//! has them. A look at a repository is a trace of its own, `poll`; what it wakes
//! links to it.

use std::fmt::Display;

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, TraceContextExt, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;

/// Where traces go to; one of them is enough.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Sends traces until it is closed.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Of a program, if the environment names an endpoint.
    ///
    /// # Errors
    /// When the endpoint cannot be used.
    pub fn from_environment(program: &str) -> Result<Option<Self>, impl Display> {
        if !ENDPOINTS.iter().any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty())) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build()?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(program.to_owned());
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        Ok::<_, opentelemetry_otlp::ExporterBuildError>(Some(Self(provider)))
    }

    /// What spans are given to.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, SdkTracer> {
        tracing_opentelemetry::layer().with_tracer(self.0.tracer("gitops"))
    }

    /// Sends what is left. It may block for some seconds.
    pub fn close(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// A span that others come from, though they are not in it.
#[derive(Clone, Debug)]
pub struct Cause(SpanContext);

impl Cause {
    /// The span of now.
    pub fn current() -> Self {
        Self(Span::current().context().span().span_context().clone())
    }

    /// Links a span to it.
    pub fn of(&self, span: &Span) {
        span.add_link(self.0.clone());
    }
}
