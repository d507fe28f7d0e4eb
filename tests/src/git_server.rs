//! A Git server over HTTP: the real `git http-backend` behind axum. In: a
//! folder of bare repositories, an address, perhaps a user and password. Out:
//! the URL that clone, fetch and push work on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::Background;

const MAX_BODY: usize = 64 << 20;
/// Bytes that a slow server sends at once, and how long it takes for them.
const PIECE: usize = 100;
const SLOWLY: std::time::Duration = std::time::Duration::from_millis(10);

#[derive(Debug)]
struct Settings {
    root: PathBuf,
    authorization: Option<String>,
    requests: AtomicUsize,
    /// Nobody is told that a part of a history can be had.
    hides_shallow: AtomicBool,
    /// Nobody is answered any more.
    silent: AtomicBool,
    /// Answers begin and do not go on.
    half_open: AtomicBool,
    /// Answers come a few bytes at a time.
    slow: AtomicBool,
}

/// A running server; it ends when this value is dropped.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    settings: Arc<Settings>,
    _background: Background,
}

impl GitServer {
    /// Serves the repositories under `root` at `listen` (port 0: a free one).
    /// With `login` (user, password), nothing is served without it.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(root: &Path, listen: &str, login: Option<(&str, &str)>) -> std::io::Result<Self> {
        let background = Background::new(2);
        let listener = background.block_on(tokio::net::TcpListener::bind(listen))?;
        let address = listener.local_addr()?;
        let authorization =
            login.map(|(user, password)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        let settings = Arc::new(Settings {
            root: root.to_owned(),
            authorization,
            requests: AtomicUsize::new(0),
            hides_shallow: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            half_open: AtomicBool::new(false),
            slow: AtomicBool::new(false),
        });
        let router = Router::new().fallback(serve).with_state(settings.clone());
        background.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, settings, _background: background })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.settings.requests.load(Ordering::SeqCst)
    }

    /// From now on it is a server that knows of no shallow clones.
    pub fn hide_shallow(&self) {
        self.settings.hides_shallow.store(true, Ordering::SeqCst);
    }

    /// From now on it takes requests and answers none.
    pub fn go_silent(&self) {
        self.settings.silent.store(true, Ordering::SeqCst);
    }

    /// Whether what it answers from now on begins, and does not go on.
    pub fn be_half_open(&self, whether: bool) {
        self.settings.half_open.store(whether, Ordering::SeqCst);
    }

    /// Whether what it answers from now on comes at about 10 KiB a second.
    pub fn be_slow(&self, whether: bool) {
        self.settings.slow.store(whether, Ordering::SeqCst);
    }

    /// URL of a repository under the root.
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }
}

async fn serve(State(settings): State<Arc<Settings>>, request: Request) -> Response<Body> {
    settings.requests.fetch_add(1, Ordering::SeqCst);
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if settings.authorization.is_some() && given != settings.authorization.as_deref() {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a user and password are needed");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Basic realm=\"git\""));
        return response;
    }
    if settings.silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    match backend(&settings, request).await {
        Ok(response) => response,
        Err(error) => plain(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

/// One request, handed to `git http-backend` by the rules of CGI (RFC 3875).
async fn backend(settings: &Settings, request: Request) -> std::io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let body = to_bytes(body, MAX_BODY).await.map_err(std::io::Error::other)?;
    let mut child = Command::new("git")
        .args(["-c", "http.receivepack=true", "-c", "safe.directory=*", "http-backend"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", &settings.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", text("git-protocol"))
        .env("GIT_PROTOCOL", text("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| std::io::Error::other("git has no stdin"))?;
    let mut stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("git has no stdout"))?;
    // In both directions at once: git may answer before it has read all.
    let writer = tokio::spawn(async move { stdin.write_all(&body).await });
    let mut read = Vec::new();
    let hides = settings.hides_shallow.load(Ordering::SeqCst);
    while (hides || end_of_head(&read).is_none()) && stdout.read_buf(&mut read).await? > 0 {}
    let end = end_of_head(&read).unwrap_or(read.len());
    let mut response = head(&read[..end]);
    let mut rest = read.split_off((end + 4).min(read.len()));
    if hides {
        // Of the same length, as the protocol's lines begin with theirs.
        while let Some(at) = rest.windows(7).position(|word| word == b"shallow") {
            rest[at..at + 7].copy_from_slice(b"unknown");
        }
    }
    let first = futures::stream::iter([Ok(rest)]);
    // What is sent on lives as long as it is read: a pack may be gigabytes.
    let further = futures::stream::try_unfold((stdout, child, writer), |(mut stdout, child, writer)| async {
        let mut some = Vec::with_capacity(64 << 10);
        let more = stdout.read_buf(&mut some).await? > 0;
        Ok::<_, std::io::Error>(more.then_some((some, (stdout, child, writer))))
    });
    let all = first.chain(further);
    *response.body_mut() = if settings.half_open.load(Ordering::SeqCst) {
        Body::from_stream(pieces(all).take(1).chain(futures::stream::pending()))
    } else if settings.slow.load(Ordering::SeqCst) {
        Body::from_stream(pieces(all).then(|piece| async {
            tokio::time::sleep(SLOWLY).await;
            piece
        }))
    } else {
        Body::from_stream(all)
    };
    Ok(response)
}

/// The same bytes, a few at a time.
fn pieces(all: impl Stream<Item = std::io::Result<Vec<u8>>>) -> impl Stream<Item = std::io::Result<Vec<u8>>> {
    all.flat_map(|some| {
        let few = match some {
            Ok(bytes) => bytes.chunks(PIECE).map(|piece| Ok(piece.to_vec())).collect(),
            Err(error) => vec![Err(error)],
        };
        futures::stream::iter(few)
    })
}

fn end_of_head(read: &[u8]) -> Option<usize> {
    read.windows(4).position(|window| window == b"\r\n\r\n")
}

/// Status and headers that a CGI program prints before its body.
fn head(text: &[u8]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    for line in String::from_utf8_lossy(text).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("status") {
            let code =
                value.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(StatusCode::BAD_GATEWAY);
            *response.status_mut() = code;
        } else if let (Ok(name), Ok(value)) =
            (header::HeaderName::try_from(name), header::HeaderValue::try_from(value))
        {
            response.headers_mut().append(name, value);
        }
    }
    response
}
