//! One request and its answer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;

use crate::error::ClusterError;
use crate::openapi::Types;

/// An answer that begins within this time, with all handshakes, comes over a network
/// that is faster than a processor compresses.
const NEAR: Duration = Duration::from_millis(10);

/// A client of one API server. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    pub(crate) server: Arc<str>,
    namespace: Arc<str>,
    headers: HeaderMap,
    timeout: Option<Duration>,
    /// What tells it from another one at the same address, where that is known.
    identity: Arc<Mutex<String>>,
    /// Whether it has ever answered: then a failure is worth another try.
    answered: Arc<AtomicBool>,
    /// The shortest time that an answer took to begin, in microseconds.
    quickest: Arc<AtomicU64>,
    pub(crate) cache_dir: Option<PathBuf>,
    /// Types that were read already, for programs that ask again and again.
    pub(crate) types: Option<Arc<Types>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.server)
    }
}

/// A request before it is sent.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: &'a [(header::HeaderName, String)],
    pub(crate) body: Vec<u8>,
    /// For errors: what is asked about.
    pub(crate) what: &'a str,
}

/// An answer of any status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Cluster {
    /// From a client that is there already; `server` names it in messages.
    pub fn from_client(
        client: kube::Client,
        server: &str,
        namespace: &str,
        cache_dir: Option<PathBuf>,
    ) -> Self {
        Self {
            client,
            server: server.into(),
            namespace: namespace.into(),
            headers: HeaderMap::new(),
            timeout: None,
            identity: Arc::default(),
            answered: Arc::default(),
            quickest: Arc::new(AtomicU64::new(u64::MAX)),
            cache_dir,
            types: None,
        }
    }

    /// The same cluster, for a program that compares again and again: the types of
    /// kinds stay in memory, and are asked for anew every so often, and when a kind
    /// is not known.
    #[must_use]
    pub fn remembering(self) -> Self {
        Self { types: Some(Arc::default()), ..self }
    }

    pub(crate) fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    pub(crate) fn with_timeout(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    /// The same cluster, asked in the name of a service account. The API server
    /// adds its groups, and asks whether this client may do so.
    ///
    /// # Errors
    /// When the name cannot be sent.
    pub fn as_service_account(&self, namespace: &str, name: &str) -> Result<Self, ClusterError> {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let value = HeaderValue::from_str(&user)
            .map_err(|_| ClusterError::Configuration(format!("{user:?} cannot be impersonated")))?;
        let headers = HeaderMap::from_iter([(header::HeaderName::from_static("impersonate-user"), value)]);
        Ok(Self { headers, ..self.clone() })
    }

    /// For what this crate has no words for: watches, typed resources.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Says which one it is: another one may come to the same address.
    pub fn identify(&self, uid: &str) {
        uid.clone_into(&mut self.identity.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Under what it is remembered: its URL, and which one it is, if that was
    /// said.
    pub fn remembered_as(&self) -> String {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if identity.is_empty() { self.server.to_string() } else { format!("{}#{identity}", self.server) }
    }

    /// Whether it is so near that compressing a large answer takes longer than sending
    /// it: the API server compresses on the way, and for that a processor of its own.
    pub(crate) fn is_near(&self) -> bool {
        u128::from(self.quickest.load(Ordering::Relaxed)) < NEAR.as_micros()
    }

    /// Of the flag or the context.
    pub fn default_namespace(&self) -> &str {
        &self.namespace
    }

    /// Sends a request; an answer that is no success is an error. What is
    /// lost on the way, or refused for lack of room, is asked again a few
    /// times: only what may be sent twice comes here.
    pub(crate) async fn ask(&self, call: Call<'_>) -> Result<Answer, ClusterError> {
        const TRIES: u32 = 4;
        for attempt in 1..TRIES {
            match self.once(call.clone()).await {
                Err(error) if error.is_passing() => {
                    let pause = match error {
                        ClusterError::Busy { retry_after: Some(seconds), .. } => {
                            Duration::from_secs(seconds.min(10))
                        }
                        _ => Duration::from_millis(100 << attempt),
                    };
                    tokio::time::sleep(pause).await;
                }
                other => return other,
            }
        }
        self.once(call).await
    }

    async fn once(&self, call: Call<'_>) -> Result<Answer, ClusterError> {
        let what = call.what.to_owned();
        let answer = self.send(call).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let retry_after = answer.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Err(ClusterError::from_answer(&self.server, &what, answer.status, retry_after, &answer.body))
    }

    /// A request with this client's own headers.
    pub(crate) fn request(&self, call: Call<'_>) -> Result<Request<Body>, ClusterError> {
        let what = call.what.to_owned();
        let mut request = Request::builder().method(call.method).uri(call.path);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value.clone());
        }
        let broken =
            |error: http::Error| ClusterError::Other { what: what.clone(), message: error.to_string() };
        let mut request = request.body(Body::from(call.body)).map_err(broken)?;
        request.headers_mut().entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        Ok(request)
    }

    #[tracing::instrument(level = "debug", name = "request", skip_all, fields(method = %call.method, path = call.path))]
    async fn send(&self, call: Call<'_>) -> Result<Answer, ClusterError> {
        let what = call.what.to_owned();
        let request = self.request(call)?;
        let exchange = async {
            let sent = Instant::now();
            let response = self.client.send(request).await.map_err(|error| self.not_sent(&error))?;
            self.answered.store(true, Ordering::Relaxed);
            let took = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.quickest.fetch_min(took, Ordering::Relaxed);
            let (parts, mut stream) = response.into_parts();
            // One frame after the other: collected, a large list would be there twice.
            let mut body = Vec::new();
            while let Some(frame) = stream.frame().await {
                if let Ok(data) = frame.map_err(|error| self.cut(&error))?.into_data() {
                    make_room(&mut body, data.len());
                    body.extend_from_slice(&data);
                }
            }
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        match self.timeout {
            None => exchange.await,
            Some(limit) => tokio::time::timeout(limit, exchange)
                .await
                .map_err(|_| ClusterError::Timeout { what: what.clone() })?,
        }
    }

    /// A plugin that gives no credentials is no unreachable server.
    pub(crate) fn not_sent(&self, error: &kube::Error) -> ClusterError {
        match error {
            kube::Error::Auth(error) => ClusterError::Configuration(format!("no credentials: {error}")),
            other if self.answered.load(Ordering::Relaxed) => self.cut(other),
            other => ClusterError::Unreachable { server: self.server.to_string(), reason: root(other) },
        }
    }

    pub(crate) fn cut(&self, error: &dyn std::error::Error) -> ClusterError {
        ClusterError::Cut { server: self.server.to_string(), reason: root(error) }
    }
}

/// Room for a large answer at once: it is not moved each time that it grows, and what
/// is not used of it is no memory.
fn make_room(body: &mut Vec<u8>, more: usize) {
    const LARGE: usize = 1 << 18;
    const ROOM: usize = 1 << 24;
    if body.len() > LARGE && body.capacity() - body.len() < more {
        body.reserve(ROOM.max(body.len()).max(more));
    }
}

/// What lies at the bottom of an error.
fn root(error: &dyn std::error::Error) -> String {
    let (mut reason, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        reason = error.to_string();
        source = error.source();
    }
    reason
}
