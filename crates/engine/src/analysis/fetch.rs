//! Documents over http(s) that an AnalysisTemplate asks for. In: a URL, and what
//! lets one in. Out: its body. Bounded in time, size and redirects; link-local addresses, where
//! clouds tell machines their secrets, are never asked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gitops_source::authority::certificates;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use serde_json::Value;
use url::{Host, Url};

use super::access::Entry;
use super::error::AnalysisError;

const CONNECT: Duration = Duration::from_secs(5);
/// Of one request, its redirects and its answer.
pub(super) const TIME: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 3;
/// Clients that are kept.
const MAX_CLIENTS: usize = 32;
/// Characters of an answer that is no success.
const MAX_TOLD: usize = 200;

/// An answer of any status, as it came: nothing of it is told unmasked.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Clients by the certificates that they trust (PEM; none: the system's), and by
/// whether they may be led to another address.
type Clients = HashMap<(Option<String>, bool), reqwest::Client>;

/// What asks for all measurements.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    clients: Arc<Mutex<Clients>>,
}

/// What asks for one measurement.
pub(super) struct Asking {
    client: reqwest::Client,
    entry: Entry,
}

impl Fetcher {
    pub(super) fn new() -> Result<Self, AnalysisError> {
        let usual = client(None, false)?;
        Ok(Self { clients: Arc::new(Mutex::new([((None, false), usual)].into())) })
    }

    /// With what lets it in.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub(super) fn entering(&self, entry: Entry) -> Result<Asking, AnalysisError> {
        let kind = (entry.ca.clone(), entry.is_bound());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(Asking { client: client.clone(), entry });
        }
        let made = client(kind.0.as_deref(), kind.1)?;
        if clients.len() >= MAX_CLIENTS {
            clients.retain(|(ca, _), _| ca.is_none());
        }
        clients.insert(kind, made.clone());
        Ok(Asking { client: made, entry })
    }
}

fn client(ca: Option<&str>, bound: bool) -> Result<reqwest::Client, AnalysisError> {
    let wrong = |reason: String| AnalysisError::Unreachable { address: "TLS".into(), reason };
    let builder = || {
        let policy = Policy::custom(move |attempt| redirect(attempt, bound));
        reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(TIME)
            .redirect(policy)
            .dns_resolver(Resolver)
            .user_agent("kubectl-gitops")
    };
    let client = match ca {
        Some(pem) => builder().tls_certs_only(certificates(pem).map_err(wrong)?).build(),
        // Where the system has no certificates, http still works.
        None => builder().build().or_else(|_| builder().tls_certs_only([]).build()),
    };
    client.map_err(|error| wrong(chain(&error)))
}

impl Asking {
    /// A document, whole, of so many bytes at most.
    pub(super) async fn get(&self, url: &Url, most: usize) -> Result<Answer, AnalysisError> {
        let address = shown(url);
        let away = |error: reqwest::Error| AnalysisError::Unreachable {
            address: address.clone(),
            reason: chain(&error.without_url()),
        };
        let request = self.client.get(url.clone()).headers(self.entry.headers.clone());
        let mut response = request.send().await.map_err(away)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            if body.len() + chunk.len() > most {
                let reason = format!("the answer has more than {} KiB", most >> 10);
                return Err(AnalysisError::Answer { address, reason });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), body })
    }

    /// A document of which values are taken, without what was sent to get it.
    pub(super) fn masked(&self, document: Value) -> Value {
        self.entry.masked(document)
    }

    /// A text of others without what was sent to get it.
    pub(super) fn mask(&self, text: &str) -> String {
        self.entry.mask(text)
    }

    /// What to tell of an answer that is no success.
    pub(super) fn told(&self, answer: &Answer) -> String {
        let text = match serde_json::from_slice::<Value>(&answer.body) {
            Ok(document) => self.entry.told(document),
            Err(_) => self.mask(&String::from_utf8_lossy(&answer.body)),
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_TOLD).collect()
    }
}

/// A URL that may be asked.
pub(super) fn address(text: &str) -> Result<Url, AnalysisError> {
    let wrong = |reason: &str| AnalysisError::Address { address: text.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    match refused(&url) {
        Some(reason) => Err(AnalysisError::Address { address: shown(&url), reason: reason.into() }),
        None => Ok(url),
    }
}

/// Without credentials and query, for messages.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Only URLs without a host refuse these, and they are refused before.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn refused(url: &Url) -> Option<&'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Some("only http and https are asked");
    }
    let literal = match url.host()? {
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
        Host::Domain(_) => return None,
    };
    is_link_local(literal).then_some("link-local addresses are not asked")
}

fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        // The metadata service of a cloud has an address in a private range.
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
                || translated(address).is_some_and(|address| address.is_link_local())
        }
    }
}

/// What a translator makes of an address (NAT64, RFC 6052).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

/// `bound`: something is sent that is for the first address alone.
fn redirect(attempt: Attempt<'_>, bound: bool) -> reqwest::redirect::Action {
    let elsewhere = attempt.previous().iter().any(|url| url.origin() != attempt.url().origin());
    if bound && elsewhere {
        return attempt.error("a redirect to another address, with credentials");
    }
    let secure = attempt.previous().iter().all(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    if let Some(reason) = refused(attempt.url()) {
        return attempt.error(reason);
    }
    if secure && attempt.url().scheme() == "http" {
        return attempt.error("a redirect from https to http");
    }
    attempt.follow()
}

/// The system's resolver, less link-local addresses.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| !is_link_local(address.ip())).collect();
            if allowed.is_empty() {
                return Err("it has no address that may be asked".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// All causes of an error on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_asked_is_asked() {
        for (text, allowed) in [
            ("http://prometheus.monitoring:9090", true),
            ("https://10.0.0.1/x?y=z", true),
            ("http://[::1]:8080", true),
            ("file:///etc/passwd", false),
            ("http://169.254.169.254/latest/meta-data", false),
            ("http://[fe80::1]/", false),
            ("http://[::ffff:169.254.169.254]/", false),
            ("http://[fd00:ec2::254]/", false),
            ("http://[64:ff9b::169.254.169.254]/", false),
            ("http://[64:ff9b::10.0.0.1]/", true),
            ("prometheus:9090", false),
        ] {
            assert_eq!(address(text).is_ok(), allowed, "{text}");
        }
    }

    #[test]
    fn credentials_are_not_told() {
        let url = address("http://user:secret@host:9090/api?token=secret").unwrap();
        assert_eq!(shown(&url), "http://host:9090/api");
    }
}
