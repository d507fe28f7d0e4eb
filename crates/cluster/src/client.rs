//! The HTTP client of an API server. In: a configuration. Out: kube's client,
//! which counts what it asks, and the counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use tower::{Layer, Service, ServiceExt};
use tower_http::decompression::DecompressionLayer;

use crate::buffered::Buffered;

/// kube's own client, but for two things where there is no proxy: large answers are
/// read in large parts, and small writes go out at once. With Nagle's algorithm a
/// request waits 40 ms for the acknowledgement of its handshake.
pub(crate) fn client(config: kube::Config) -> Result<kube::Client, kube::Error> {
    let counting = Counting { host: config.cluster_url.authority().map_or("", |host| host.as_str()).into() };
    if config.proxy_url.is_some() {
        return Ok(ClientBuilder::try_from(config)?.with_layer(&counting).build());
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tcp = tcp.map_response(Buffered::new);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let decompression =
        DecompressionLayer::new().no_br().no_deflate().no_zstd().gzip(!config.disable_compression);
    let service = tower::ServiceBuilder::new()
        .layer(counting)
        .layer(config.base_uri_layer())
        .layer(decompression)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(transport);
    Ok(kube::Client::new(service, config.default_namespace))
}

/// What requests are counted by, as client-go does in
/// `rest_client_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requests {
    /// Of the API server, with its port.
    pub host: Arc<str>,
    /// HTTP's: `GET`, `PATCH`, ...
    pub method: String,
    /// The answer's status, such as `200`; `<error>` where none came.
    pub code: String,
}

static COUNTS: Mutex<BTreeMap<Requests, u64>> = Mutex::new(BTreeMap::new());

/// All requests of this process to API servers since it began.
pub fn requests() -> BTreeMap<Requests, u64> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[derive(Clone)]
struct Counting {
    host: Arc<str>,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { host: self.host.clone(), inner }
    }
}

#[derive(Clone)]
struct Counted<S> {
    host: Arc<str>,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (host, method) = (self.host.clone(), request.method().to_string());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or("<error>".into(), |answer| answer.status().as_str().to_owned());
            let asked = Requests { host, method, code };
            *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(asked).or_default() += 1;
            answer
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_counted_with_its_answer() {
        let answers = tower::service_fn(|request: Request<Body>| async move {
            match request.uri().path() {
                "/gone" => Ok(Response::builder().status(404).body(()).unwrap()),
                "/cut" => Err("cut"),
                _ => Ok(Response::new(())),
            }
        });
        let mut counted = Counting { host: "counted.test:6443".into() }.layer(answers);
        for (method, path) in
            [("GET", "/"), ("PATCH", "/"), ("PATCH", "/"), ("GET", "/gone"), ("GET", "/cut")]
        {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let _ = counted.call(request).await;
        }
        let ours = requests().into_iter().filter(|(asked, _)| &*asked.host == "counted.test:6443");
        let counts: Vec<_> = ours.map(|(asked, count)| (asked.method, asked.code, count)).collect();
        let expected = [("GET", "200", 1), ("GET", "404", 1), ("GET", "<error>", 1), ("PATCH", "200", 2)];
        assert_eq!(counts, expected.map(|(method, code, count)| (method.into(), code.into(), count)));
    }
}
