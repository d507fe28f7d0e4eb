//! Who has sent a push event. In: the headers and body of a request, the keys,
//! the time. Out: a delivery that one of the keys has signed, with a mark to know
//! it again by; or why it is refused. Pure.
//!
//! Every host signs in its own way; whatever else is signed follows Standard
//! Webhooks (<https://www.standardwebhooks.com>), as GitLab does with a signing
//! token. All comparing is in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::replays::Mark;

/// How far the clock of who signs with a time may be from ours.
pub const WINDOW: u64 = 300;
/// Characters that a key has at least.
const SHORTEST: usize = 16;

/// A key that events are signed with; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// From a Secret's value, without the line's end that an editor may have left.
    /// None: it is too short to be one.
    pub fn new(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        (value.len() >= SHORTEST).then(|| Self(value.to_owned()))
    }

    fn mac(bytes: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(bytes).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }

    /// Whether this is what it makes of these parts.
    fn signs(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        Self::mac(&self.0, parts).is_some_and(|mac| mac.verify_slice(signature).is_ok())
    }

    /// The same by Standard Webhooks, where a key may be written as `whsec_` and
    /// base64.
    fn signs_standard(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        let decoded = self.0.strip_prefix(b"whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
        let bytes = decoded.as_deref().unwrap_or(&self.0);
        Self::mac(bytes, parts).is_some_and(|mac| mac.verify_slice(signature).is_ok())
    }

    fn is(&self, token: &[u8]) -> bool {
        // Of their digests: the length tells nothing either.
        Sha256::digest(&self.0).ct_eq(&Sha256::digest(token)).into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What a signed request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Push,
    /// The host tries whether it is heard.
    Ping,
    /// Nothing that moves a repository.
    Other,
}

/// A request that a key has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub event: Event,
    /// The same for a request that is sent again, and for no other.
    pub mark: Mark,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is not signed")]
    Unsigned,
    #[error("its signature is not that of any key here")]
    Forged,
    #[error("its webhook-timestamp is more than five minutes from now")]
    Late,
}

/// How a host signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme<'a> {
    /// Identity, time and signatures.
    Standard { id: &'a str, time: &'a str, signatures: &'a str },
    /// The key itself, and the delivery's name.
    Token { token: &'a str, id: &'a str },
    /// The body's HMAC in hex.
    Body(&'a str),
}

/// The signature that a request carries, and what it says it is about. What
/// has none is known before its body is read.
///
/// # Errors
/// [`Refusal::Unsigned`].
pub fn claim<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Claim<'a>, Refusal> {
    let body = |name: &str| {
        let value = header(name)?;
        Some(Scheme::Body(value.strip_prefix("sha256=").unwrap_or(value)))
    };
    let scheme = if let Some(signatures) = header("webhook-signature") {
        let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
        id.zip(time).map(|(id, time)| Scheme::Standard { id, time, signatures })
    } else if header("x-gitlab-event").is_some() {
        let id = header("x-gitlab-event-uuid").unwrap_or_default();
        header("x-gitlab-token").map(|token| Scheme::Token { token, id })
    } else if header("x-gitea-event").is_some() || header("x-forgejo-event").is_some() {
        body("x-forgejo-signature").or_else(|| body("x-gitea-signature"))
    } else if header("x-github-event").is_some() {
        body("x-hub-signature-256")
    } else if header("x-event-key").is_some() {
        body("x-hub-signature")
    } else {
        None
    };
    let scheme = scheme.ok_or(Refusal::Unsigned)?;
    let named = ["x-gitlab-event", "x-gitea-event", "x-forgejo-event", "x-github-event", "x-event-key"];
    let event = match named.into_iter().find_map(&header) {
        // What is signed by nobody in particular is about a push.
        None
        | Some(
            "push" | "create" | "delete" | "repo:push" | "repo:refs_changed" | "mirror:repo_synchronized",
        ) => Event::Push,
        // A push is one of the events of a whole GitLab.
        Some("Push Hook" | "Tag Push Hook" | "System Hook") => Event::Push,
        Some("ping" | "diagnostics:ping") => Event::Ping,
        Some(_) => Event::Other,
    };
    Ok(Claim { scheme, event })
}

/// A signature that has not been checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    scheme: Scheme<'a>,
    event: Event,
}

impl Claim<'_> {
    /// Checks it. `now` is in Unix seconds.
    ///
    /// # Errors
    /// When none of the keys has made it, or not now.
    pub fn check(&self, body: &[u8], keys: &[Key], now: u64) -> Result<Delivery, Refusal> {
        let (is_signed, mark): (bool, Vec<&[u8]>) = match self.scheme {
            Scheme::Standard { id, time, signatures } => {
                let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
                let given: Vec<Vec<u8>> = signatures
                    .split_ascii_whitespace()
                    .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
                    .collect();
                let signed = keys.iter().any(|key| given.iter().any(|one| key.signs_standard(&parts, one)));
                let is_now = time.parse::<u64>().is_ok_and(|time| time.abs_diff(now) <= WINDOW);
                if signed && !is_now {
                    return Err(Refusal::Late);
                }
                (signed, parts.to_vec())
            }
            Scheme::Token { token, id } => {
                let mut known = false;
                keys.iter().for_each(|key| known |= key.is(token.as_bytes()));
                (known, vec![id.as_bytes(), b".", body])
            }
            Scheme::Body(hex) => {
                let given = hex::decode(hex).unwrap_or_default();
                (keys.iter().any(|key| key.signs(&[body], &given)), vec![body])
            }
        };
        if !is_signed {
            return Err(Refusal::Forged);
        }
        let mut digest = Sha256::new();
        mark.into_iter().for_each(|part| digest.update(part));
        Ok(Delivery { event: self.event, mark: digest.finalize().into() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const BODY: &[u8] = b"Hello, World!";

    fn keys(all: &[&str]) -> Vec<Key> {
        all.iter().map(|key| Key::new(key.as_bytes()).unwrap()).collect()
    }

    fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
        Key::mac(key, &[text]).unwrap().finalize().into_bytes().to_vec()
    }

    fn check(headers: &[(&str, &str)], body: &[u8], keys: &[Key]) -> Result<Delivery, Refusal> {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        claim(header)?.check(body, keys, NOW)
    }

    /// GitHub's own example: docs.github.com, "Validating webhook deliveries".
    #[test]
    fn github_signs_as_its_manual_says() {
        let keys = keys(&["It's a Secret to Everybody"]);
        let known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-github-event", "push"), ("x-hub-signature-256", known)];
        assert_eq!(check(&headers, BODY, &keys).unwrap().event, Event::Push);
        assert_eq!(check(&headers, b"Hello, World?", &keys), Err(Refusal::Forged));
        let ping = [("x-github-event", "ping"), headers[1]];
        assert_eq!(check(&ping, BODY, &keys).unwrap().event, Event::Ping);
        let issue = [("x-github-event", "issues"), headers[1]];
        assert_eq!(check(&issue, BODY, &keys).unwrap().event, Event::Other);
        // SHA-1 is not taken.
        let old = [("x-github-event", "push"), ("x-hub-signature", known)];
        assert_eq!(check(&old, BODY, &keys), Err(Refusal::Unsigned));
    }

    #[test]
    fn every_host_is_heard() {
        let (all, key) = (keys(&["another key of ours", "a key of sixteen"]), b"a key of sixteen");
        let hex = hex::encode(mac(key, BODY));
        let (prefixed, wrong) = (format!("sha256={hex}"), hex::encode(mac(b"no key of anybody", BODY)));
        for (headers, event) in [
            (
                vec![("x-gitea-event", "push"), ("x-github-event", "push"), ("x-gitea-signature", &*hex)],
                Event::Push,
            ),
            (vec![("x-forgejo-event", "push"), ("x-forgejo-signature", &*hex)], Event::Push),
            (vec![("x-event-key", "repo:push"), ("x-hub-signature", &*prefixed)], Event::Push),
            (vec![("x-event-key", "repo:refs_changed"), ("x-hub-signature", &*prefixed)], Event::Push),
            (vec![("x-event-key", "diagnostics:ping"), ("x-hub-signature", &*prefixed)], Event::Ping),
            (vec![("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "a key of sixteen")], Event::Push),
            (vec![("x-gitlab-event", "Note Hook"), ("x-gitlab-token", "another key of ours")], Event::Other),
        ] {
            assert_eq!(check(&headers, BODY, &all).unwrap().event, event, "{headers:?}");
            assert_eq!(check(&headers, BODY, &[]), Err(Refusal::Forged), "{headers:?}");
            let unsigned = &headers[..headers.len() - 1];
            assert_eq!(check(unsigned, BODY, &all), Err(Refusal::Unsigned), "{headers:?}");
            let mut forged = headers.clone();
            forged.last_mut().unwrap().1 = &wrong;
            assert_eq!(check(&forged, BODY, &all), Err(Refusal::Forged), "{headers:?}");
        }
        assert_eq!(check(&[], BODY, &all), Err(Refusal::Unsigned));
        assert_eq!(
            check(&[("x-event-key", "repo:push"), ("x-hub-signature", "sha256=zz")], BODY, &all),
            Err(Refusal::Forged)
        );
    }

    #[test]
    fn what_is_signed_with_its_time_is_taken_in_time() {
        let all = keys(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a key of sixteen"]);
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = |key: &[u8], time: u64| {
            let text = [format!("m1.{time}.").as_bytes(), BODY].concat();
            format!("v1,{}", STANDARD.encode(mac(key, &text)))
        };
        let sent = |time: u64, signature: &str| {
            let time = time.to_string();
            check(
                &[("webhook-id", "m1"), ("webhook-timestamp", &time), ("webhook-signature", signature)],
                BODY,
                &all,
            )
        };
        assert_eq!(sent(NOW, &signed(&key, NOW)).unwrap().event, Event::Push);
        assert!(sent(NOW, &signed(b"a key of sixteen", NOW)).is_ok());
        assert!(sent(NOW, &format!("v1a,x v1,AAAA {}", signed(&key, NOW))).is_ok());
        assert_eq!(sent(NOW - WINDOW - 1, &signed(&key, NOW - WINDOW - 1)), Err(Refusal::Late));
        assert_eq!(sent(NOW + WINDOW + 1, &signed(&key, NOW + WINDOW + 1)), Err(Refusal::Late));
        // The time is signed as well.
        assert_eq!(sent(NOW, &signed(&key, NOW - 1000)), Err(Refusal::Forged));
        // GitLab with a signing token says beside it what it is about.
        let (time, signature) = (NOW.to_string(), signed(&key, NOW));
        let headers = [
            ("x-gitlab-event", "Issue Hook"),
            ("webhook-id", "m1"),
            ("webhook-timestamp", &time),
            ("webhook-signature", &signature),
        ];
        assert_eq!(check(&headers, BODY, &all).unwrap().event, Event::Other);
    }

    #[test]
    fn a_delivery_is_known_again() {
        let all = keys(&["a key of sixteen"]);
        let hex = |body: &[u8]| hex::encode(mac(b"a key of sixteen", body));
        let mark = |headers: &[(&str, &str)], body: &[u8]| check(headers, body, &all).unwrap().mark;
        let (one, other) = (hex(BODY), hex(b"other"));
        // What is not signed changes nothing.
        let first = mark(
            &[("x-github-event", "push"), ("x-github-delivery", "1"), ("x-hub-signature-256", &one)],
            BODY,
        );
        let again = mark(
            &[("x-github-event", "push"), ("x-github-delivery", "2"), ("x-hub-signature-256", &one)],
            BODY,
        );
        assert_eq!(first, again);
        assert_ne!(first, mark(&[("x-github-event", "push"), ("x-hub-signature-256", &other)], b"other"));
        assert_eq!(Key::new(b"short"), None);
        assert_eq!(Key::new(b"a key of sixteen\n"), Key::new(b"a key of sixteen"));
        assert_eq!(format!("{:?}", all[0]), "***");
    }
}
