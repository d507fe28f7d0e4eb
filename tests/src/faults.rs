//! A way to the API server that breaks when it is told to. In: which request,
//! and what becomes of it. Out: a kubeconfig that leads through it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gitops_cluster::{Cluster, ConnectOptions};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use tempfile::TempDir;

use crate::Background;
use crate::cluster::TestCluster;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends; the API server has not seen it.
    CutBefore,
    /// The API server has carried it out; the answer is lost.
    CutAfter,
    /// The answer comes late.
    Delay(Duration),
    /// This status comes instead of an answer.
    Status(u16),
    /// There is never an answer.
    Hang,
}

/// Lives as long as this value.
#[derive(Debug)]
pub struct FaultyProxy {
    kubeconfig: TempDir,
    shared: Arc<Shared>,
    _background: Background,
}

#[derive(Debug, Default)]
struct Shared {
    requests: AtomicUsize,
    /// The request counted from 1 and its fault.
    armed: Mutex<Option<(usize, Fault)>>,
    /// So many requests of so many are told to come later.
    storm: Mutex<(usize, usize)>,
    /// What lasts until it is lifted.
    lasting: Mutex<Option<(Lasting, Fault)>>,
}

/// Which requests a fault that lasts meets.
#[derive(Clone, Copy, Debug)]
enum Lasting {
    /// Those from this number on, counted from 1.
    From(usize),
    /// Those whose method and path begin so.
    At(&'static str),
}

/// A body on its way: a watch has no end.
type Passing = UnsyncBoxBody<Bytes, std::io::Error>;

fn whole(text: String) -> Passing {
    Full::from(text).map_err(|error| match error {}).boxed_unsync()
}

struct Broken;

impl FaultyProxy {
    /// Listens on a port of its own.
    ///
    /// # Panics
    /// When the API server cannot be reached.
    pub fn start(cluster: &TestCluster) -> Self {
        let background = Background::new(1);
        let shared = Arc::new(Shared::default());
        let options =
            ConnectOptions { kubeconfig: vec![cluster.kubeconfig().to_owned()], ..ConnectOptions::default() };
        let (client, listener) = background.block_on(async {
            let client = Cluster::connect(&options).await.unwrap().client();
            (client, tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap())
        });
        let port = listener.local_addr().unwrap().port();
        background.spawn(serve(listener, client, shared.clone()));
        let kubeconfig = TempDir::with_prefix("gitops-proxy-").unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: p\ncontexts: [{{name: p, context: {{cluster: p, user: p}}}}]\nclusters: [{{name: p, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\nusers: [{{name: p, user: {{}}}}]\n"
        );
        std::fs::write(kubeconfig.path().join("config"), text).unwrap();
        Self { kubeconfig, shared, _background: background }
    }

    /// The cluster as it is reached this way.
    pub fn cluster(&self) -> TestCluster {
        TestCluster::at(self.kubeconfig.path().join("config"))
    }

    /// Counts anew; the request of this number meets the fault.
    ///
    /// # Panics
    /// Never, unless a thread before has.
    pub fn arm(&self, request: usize, fault: Fault) {
        *self.shared.armed.lock().unwrap() = Some((request, fault));
        self.shared.requests.store(0, Ordering::SeqCst);
    }

    /// Counts anew; the request of this number and all after it meet the fault.
    ///
    /// # Panics
    /// Never, unless a thread before has.
    pub fn arm_from(&self, request: usize, fault: Fault) {
        self.disarm();
        *self.shared.lasting.lock().unwrap() = Some((Lasting::From(request), fault));
    }

    /// Counts anew; all requests whose method and path begin so meet the fault, such
    /// as `POST /apis/coordination.k8s.io/`.
    ///
    /// # Panics
    /// Never, unless a thread before has.
    pub fn arm_at(&self, beginning: &'static str, fault: Fault) {
        self.disarm();
        *self.shared.lasting.lock().unwrap() = Some((Lasting::At(beginning), fault));
    }

    /// Counts anew; every request passes.
    ///
    /// # Panics
    /// Never, unless a thread before has.
    pub fn disarm(&self) {
        *self.shared.armed.lock().unwrap() = None;
        *self.shared.lasting.lock().unwrap() = None;
        self.shared.requests.store(0, Ordering::SeqCst);
    }

    /// From now on the API server is too busy for `refused` requests of `of`.
    ///
    /// # Panics
    /// Never, unless a thread before has.
    pub fn storm(&self, refused: usize, of: usize) {
        *self.shared.storm.lock().unwrap() = (refused, of);
    }

    /// How many requests have come since.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

async fn serve(listener: tokio::net::TcpListener, client: kube::Client, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (client, shared) = (client.clone(), shared.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let (client, shared) = (client.clone(), shared.clone());
                async move {
                    answer(request, &client, &shared).await.map_err(|Broken| std::io::Error::other("cut"))
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            // A service that fails ends the connection without an answer.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    client: &kube::Client,
    shared: &Shared,
) -> Result<Response<Passing>, Broken> {
    let number = shared.requests.fetch_add(1, Ordering::SeqCst) + 1;
    let (refused, of) = *shared.storm.lock().unwrap();
    if refused > 0 && number % of < refused {
        let busy = Response::builder().status(StatusCode::TOO_MANY_REQUESTS).header(header::RETRY_AFTER, "1");
        let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too many requests","reason":"TooManyRequests","code":429}"#;
        return Ok(busy.header(header::CONTENT_TYPE, "application/json").body(whole(body.into())).unwrap());
    }
    let armed = *shared.armed.lock().unwrap();
    let lasting = shared.lasting.lock().unwrap().filter(|(which, _)| match which {
        Lasting::From(first) => number >= *first,
        Lasting::At(beginning) => format!("{} {}", request.method(), request.uri()).starts_with(beginning),
    });
    let once = armed.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
    let fault = once.or(lasting.map(|(_, fault)| fault));
    match fault {
        Some(Fault::CutBefore) => return Err(Broken),
        Some(Fault::Hang) => match std::future::pending::<Infallible>().await {},
        Some(Fault::Status(code)) => {
            let body = format!(
                r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"told to fail","code":{code}}}"#
            );
            let response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
            return Ok(response.body(whole(body)).unwrap());
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::CutAfter) | None => {}
    }
    let forwarded = forward(request, client).await;
    if fault == Some(Fault::CutAfter) { Err(Broken) } else { Ok(forwarded) }
}

async fn forward(request: Request<Incoming>, client: &kube::Client) -> Response<Passing> {
    let (mut parts, body) = request.into_parts();
    for hop in [header::HOST, header::CONNECTION, header::ACCEPT_ENCODING, header::CONTENT_LENGTH] {
        parts.headers.remove(hop);
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    parts.uri = path.parse().unwrap();
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let Ok(response) = client.send(request).await else {
        let gone = Response::builder().status(StatusCode::BAD_GATEWAY);
        return gone.body(whole(String::new())).unwrap();
    };
    let (mut parts, body) = response.into_parts();
    for hop in
        [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONNECTION]
    {
        parts.headers.remove(hop);
    }
    Response::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync())
}
