//! Push events of Git hosts. In: POST requests that a host has signed. Out: a
//! look at the repository that they name, at once and at every replica; what is
//! there decides what is synced, never what the event says.
//!
//! The port may be open to the Internet: a request that is not signed is refused
//! before its body is read, and no answer tells which repositories are known.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use gitops_source::RepoUrl;
use tokio::sync::Semaphore;

use crate::controller::Controller;
use crate::settings::Settings;

mod announce;
mod keys;
mod payload;
mod replays;
mod signature;

pub use payload::means;

use announce::Announcer;
use keys::Keys;
use replays::Replays;
use signature::{Claim, Delivery, Event, Refusal, claim};

/// Bytes of a body. Hosts send a few KiB, and leave out commits of a large push.
const LARGEST: usize = 4 << 20;
/// Bodies that are read at once.
const PARALLEL: usize = 8;
/// How long a request's head may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// And then its body, for which it holds one of the few slots: hosts send it in
/// one go.
const BODY: Duration = Duration::from_secs(2);

/// What is remembered of push events.
#[derive(Debug)]
pub struct Push {
    keys: Keys,
    replays: Replays,
    announcer: Announcer,
    slots: Semaphore,
}

impl Push {
    pub fn new(settings: &Settings) -> Self {
        Self {
            keys: Keys::new(&settings.namespace, &settings.push_secret),
            replays: Replays::default(),
            announcer: Announcer::default(),
            slots: Semaphore::new(PARALLEL),
        }
    }
}

/// Why no event is taken: status, what is counted, and what is said.
type No = (StatusCode, &'static str, String);

/// Serves push events at `address`, and listens to what other replicas hear.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn run(controller: Arc<Controller>, address: SocketAddr) -> std::io::Result<()> {
    if controller.settings.application_namespace.is_none() {
        let namespace = controller.settings.namespace.clone();
        tokio::spawn(announce::speak(controller.clone(), namespace));
    }
    bind(address, PATIENCE).serve(router(controller).into_make_service()).await
}

/// One request a connection, which does not wait for it for ever: whoever opens
/// connections and says nothing keeps none of them.
fn bind(address: SocketAddr, patience: Duration) -> axum_server::Server<SocketAddr> {
    let mut server = axum_server::bind(address).http1_only().first_request_timeout(patience);
    server.http_builder().http1().header_read_timeout(patience).keep_alive(false);
    server
}

/// Hears what other replicas tell of pushes, until the program ends.
pub async fn listen(controller: Arc<Controller>) {
    let namespace = controller.settings.namespace.clone();
    announce::listen(controller, namespace).await;
}

fn router(controller: Arc<Controller>) -> Router {
    Router::new().route("/push", post(on_push)).with_state(controller)
}

async fn on_push(State(controller): State<Arc<Controller>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match take(&controller, &parts.headers, body).await {
        Ok(result) => (StatusCode::ACCEPTED, result, format!("{result}\n")),
        Err((status, result, why)) => (status, result, format!("{why}\n")),
    };
    let (status, result, text) = answer;
    controller.metrics.push(result);
    (status, text).into_response()
}

/// What became of an event.
async fn take(controller: &Controller, headers: &HeaderMap, body: Body) -> Result<&'static str, No> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let claim = claim(header).map_err(refused)?;
    let length = header(header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<usize>().ok());
    if length.is_some_and(|length| length > LARGEST) {
        let why = format!("it has more than {} MiB", LARGEST >> 20);
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "too_large", why));
    }
    let busy = |_| (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many at once: send it again".to_owned());
    let _slot = controller.push.slots.try_acquire().map_err(busy)?;
    let body = match tokio::time::timeout(BODY, to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let why = format!("its body broke off, or has more than {} MiB", LARGEST >> 20);
            return Err((StatusCode::BAD_REQUEST, "unreadable", why));
        }
        Err(_) => {
            return Err((StatusCode::REQUEST_TIMEOUT, "unreadable", "its body did not come in time".into()));
        }
    };
    let delivery = check(controller, &claim, &body).await?;
    match delivery.event {
        Event::Ping => return Ok("pong"),
        Event::Other => return Ok("ignored"),
        Event::Push => {}
    }
    let named = payload::places(&body);
    if named.is_empty() {
        let why = "it names no repository; see docs/controller.md for what it has to say".to_owned();
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "unreadable", why));
    }
    if !controller.push.replays.is_new(delivery.mark) {
        let why = "this delivery was taken before".to_owned();
        return Err((StatusCode::CONFLICT, "replayed", why));
    }
    tracing::info!(repositories = ?named, "a push is told of");
    controller.poller.pushed(&named);
    controller.push.announcer.tell(known(controller, &named), delivery.mark);
    Ok("taken")
}

/// Who signed it. Keys are read once more where none fits: one may be new.
async fn check(controller: &Controller, claim: &Claim<'_>, body: &[u8]) -> Result<Delivery, No> {
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let mut refusal = Refusal::Forged;
    for anew in [false, true] {
        let keys = controller.push.keys.read(controller.cluster.client(), anew).await.map_err(|error| {
            tracing::warn!(%error, "a push event cannot be checked");
            let why = "signatures cannot be checked now; the controller's log says why".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", why)
        })?;
        match claim.check(body, &keys, now) {
            Ok(delivery) => return Ok(delivery),
            Err(why) => refusal = why,
        }
    }
    Err(refused(refusal))
}

fn refused(refusal: Refusal) -> No {
    let result = match refusal {
        Refusal::Unsigned => "unsigned",
        Refusal::Forged => "forged",
        Refusal::Late => "late",
    };
    (StatusCode::UNAUTHORIZED, result, format!("refused: {refusal}"))
}

/// The repositories of Applications among those named: others concern nobody.
fn known(controller: &Controller, named: &BTreeSet<String>) -> BTreeSet<String> {
    let all = controller.stores.get().map(|stores| stores.applications.state()).unwrap_or_default();
    let sources = all.iter().flat_map(|application| application.spec.all_sources());
    let urls = sources.filter_map(|source| source.repo.as_deref()?.parse::<RepoUrl>().ok());
    urls.map(|url| url.place()).filter(|place| means(named, place)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn who_says_nothing_keeps_no_connection() {
        let handle = axum_server::Handle::new();
        let server = bind(([127, 0, 0, 1], 0).into(), Duration::from_millis(100)).handle(handle.clone());
        let app = Router::new().route("/push", post(async || "heard"));
        let server = tokio::spawn(server.serve(app.into_make_service()));
        let address = handle.listening().await.unwrap();
        for (said, answer) in [
            ("", ""),
            ("POST /push HTTP/1.1\r\nhost: x\r\nx-a", ""),
            ("POST /push HTTP/1.1\r\nhost: x\r\n\r\n", "heard"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut heard = Vec::new();
            // Until it is closed from there.
            let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut heard)).await;
            assert!(closed.is_ok(), "{said:?}");
            assert!(String::from_utf8_lossy(&heard).ends_with(answer), "{said:?}");
        }
        server.abort();
    }
}
