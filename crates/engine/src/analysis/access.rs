//! How a measurement gets in. In: what a metric says of its access, and the
//! address that it asks. Out: headers, certificates, and what no message may
//! say. A Secret names the only address that it is sent to, so that whoever
//! writes a template learns nothing of it and has it sent nowhere else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gitops_api::analysis::Access;
use gitops_cluster::{Cluster, ErrorKind};
use gitops_core::names::{LABEL_SECRET_TYPE, SECRET_TYPE_ANALYSIS};
use gitops_source::authority::certificates;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::error::AnalysisError;
use crate::load::decode;

/// Shorter values are no secrets, and would mask every word.
const SHORTEST: usize = 4;

/// The number of a tenant is no secret where it has no more digits than this, or
/// is sent in the header that is for it; hiding it would change what is measured.
const LONGEST_TENANT: usize = 6;
const TENANT: &str = "x-scope-orgid";

/// What stands where a secret stood.
const MASKED: &str = "***";

/// What is sent, who is trusted, and what is masked.
#[derive(Clone, Default)]
pub(super) struct Entry {
    pub(super) headers: HeaderMap,
    /// PEM; none: the system's.
    pub(super) ca: Option<String>,
    secrets: Vec<String>,
    /// One of them, which values may hold.
    tenant: Option<String>,
}

impl Entry {
    /// Whether something is sent that is for one address alone.
    pub(super) fn is_bound(&self) -> bool {
        !self.headers.is_empty()
    }

    /// A text of others without what was sent to them.
    pub(super) fn mask(&self, text: &str) -> String {
        without(text, self.secrets.iter())
    }

    /// The same of all texts in a document of which values are taken: the number of
    /// a tenant stays.
    pub(super) fn masked(&self, document: Value) -> Value {
        let secrets: Vec<&String> =
            self.secrets.iter().filter(|secret| Some(*secret) != self.tenant.as_ref()).collect();
        if secrets.is_empty() { document } else { documented(document, &secrets) }
    }

    /// A document that is told, of which no value is taken.
    pub(super) fn told(&self, document: Value) -> String {
        let secrets: Vec<&String> = self.secrets.iter().collect();
        self.mask(&documented(document, &secrets).to_string())
    }
}

fn without<'a>(text: &str, secrets: impl Iterator<Item = &'a String>) -> String {
    let forms = secrets.flat_map(|secret| forms(secret));
    forms.fold(text.to_owned(), |text, secret| text.replace(&secret, MASKED))
}

/// A document without these texts; a number stays unless it is one of them.
fn documented(document: Value, secrets: &[&String]) -> Value {
    let mask = |text: &str| without(text, secrets.iter().copied());
    match document {
        Value::String(text) => mask(&text).into(),
        Value::Number(number) if secrets.iter().any(|secret| **secret == number.to_string()) => MASKED.into(),
        Value::Array(all) => all.into_iter().map(|one| documented(one, secrets)).collect(),
        Value::Object(all) => {
            all.into_iter().map(|(key, value)| (mask(&key), documented(value, secrets))).collect()
        }
        other => other,
    }
}

/// How a text may stand in another one: as it is, quoted, in a URL, in HTML. The
/// longest come first, or a part of one would stay.
fn forms(secret: &str) -> Vec<String> {
    let quoted = Value::from(secret).to_string();
    let quoted = quoted.trim_matches('"').to_owned();
    // As Go's encoder of JSON does.
    let escaped = quoted.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let html = html.replace('"', "&#34;").replace('\'', "&#39;");
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let mut all = vec![secret.to_owned(), quoted, escaped, html, encoded];
    all.sort_by_key(|form| std::cmp::Reverse(form.len()));
    all.dedup();
    all
}

/// What is wrong with it by itself.
///
/// # Errors
/// Why.
pub(super) fn check(access: &Access) -> Result<(), String> {
    access.ca_bundle.as_deref().map_or(Ok(()), |pem| certificates(pem).map(drop))
}

/// Reads what a metric's access names, for this address.
///
/// # Errors
/// When something is not there, may not be read, or is not for this address.
pub(super) async fn entry(
    cluster: &Cluster,
    namespace: &str,
    access: Option<&Access>,
    url: &Url,
) -> Result<Entry, AnalysisError> {
    let Some(access) = access else { return Ok(Entry::default()) };
    let mut entry = Entry { ca: access.ca_bundle.clone(), ..Entry::default() };
    if let Some(reference) = &access.ca_config_map_ref {
        let map = read(cluster, "ConfigMap", "configmaps", namespace, &reference.name).await?;
        let ca = map.value.pointer("/data/ca.crt").and_then(Value::as_str).map(str::to_owned);
        entry.ca = Some(ca.ok_or_else(|| map.lacks("ca.crt"))?);
    }
    let Some(reference) = &access.secret_ref else { return Ok(entry) };
    let secret = read(cluster, "Secret", "secrets", namespace, &reference.name).await?;
    secret.is_for(url)?;
    secret.enter(&mut entry)?;
    Ok(entry)
}

/// An object that was read.
struct Found {
    what: String,
    value: Value,
}

async fn read(
    cluster: &Cluster,
    kind: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Found, AnalysisError> {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let what = format!("{kind} {namespace}/{name}");
    let path = format!("/api/v1/namespaces/{}/{plural}/{}", escape(namespace), escape(name));
    let wrong = |reason: &str| AnalysisError::Access { what: what.clone(), reason: reason.into() };
    match cluster.get_json(&path).await {
        Ok(value) => Ok(Found { what, value }),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => wrong("it is not there"),
            ErrorKind::Forbidden => {
                wrong("it may not be read: name its namespace in the chart's secretNamespaces")
            }
            _ => error.into(),
        }),
    }
}

impl Found {
    fn wrong(&self, reason: impl Into<String>) -> AnalysisError {
        AnalysisError::Access { what: self.what.clone(), reason: reason.into() }
    }

    fn lacks(&self, key: &str) -> AnalysisError {
        self.wrong(format!("it holds no {key}"))
    }

    fn field(&self, name: &str) -> Option<String> {
        let text = decode(self.value.get("data")?.get(name)?.as_str()?)?;
        Some(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Whoever made the Secret has said that it is for measurements, and where.
    fn is_for(&self, url: &Url) -> Result<(), AnalysisError> {
        let labels = self.value.pointer("/metadata/labels");
        let kind = labels.and_then(|labels| labels.get(LABEL_SECRET_TYPE)?.as_str());
        if kind != Some(SECRET_TYPE_ANALYSIS) {
            return Err(self.wrong(format!(
                "it is not for measurements: it has no label {LABEL_SECRET_TYPE}: {SECRET_TYPE_ANALYSIS}"
            )));
        }
        let address = self.field("address").ok_or_else(|| self.lacks("address"))?;
        let meant = Url::parse(&address).map_err(|_| self.wrong("its address is no URL"))?;
        if meant.origin() != url.origin() {
            let asked = url.origin().ascii_serialization();
            return Err(self.wrong(format!("it is for another address than {asked}")));
        }
        Ok(())
    }

    fn enter(&self, entry: &mut Entry) -> Result<(), AnalysisError> {
        let value = |name: &str, text: &str| {
            let mut value = HeaderValue::from_str(text)
                .map_err(|_| self.wrong(format!("its {name} cannot be sent in a header")))?;
            value.set_sensitive(true);
            Ok::<_, AnalysisError>(value)
        };
        if let Some(token) = self.field("token") {
            entry.headers.insert(AUTHORIZATION, value("token", &format!("Bearer {token}"))?);
            entry.secrets.push(token);
        } else if let (Some(username), Some(password)) = (self.field("username"), self.field("password")) {
            let pair = STANDARD.encode(format!("{username}:{password}"));
            entry.headers.insert(AUTHORIZATION, value("password", &format!("Basic {pair}"))?);
            entry.secrets.extend([pair, password]);
        }
        if let (Some(name), Some(text)) = (self.field("header"), self.field("value")) {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| self.wrong("its header is no name of one"))?;
            let is_number = text.len() <= LONGEST_TENANT && text.bytes().all(|sign| sign.is_ascii_digit());
            if is_number || name == TENANT {
                entry.tenant = Some(text.clone());
            }
            entry.headers.insert(name, value("value", &text)?);
            entry.secrets.push(text);
        }
        let ca = self.field("ca.crt");
        if entry.headers.is_empty() && ca.is_none() {
            return Err(self.wrong(
                "it holds neither token, nor username and password, nor header and value, nor ca.crt",
            ));
        }
        if let (None, Some(ca)) = (&entry.ca, ca) {
            entry.ca = Some(ca);
        }
        entry.secrets.retain(|secret| secret.len() >= SHORTEST);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(data: &[(&str, &str)], labels: Value) -> Found {
        let data: serde_json::Map<String, Value> =
            data.iter().map(|(key, text)| ((*key).to_owned(), STANDARD.encode(text).into())).collect();
        Found {
            what: "Secret shop/metrics".into(),
            value: json!({"metadata": {"labels": labels}, "data": data}),
        }
    }

    fn labelled(data: &[(&str, &str)]) -> Found {
        secret(data, json!({LABEL_SECRET_TYPE: SECRET_TYPE_ANALYSIS}))
    }

    #[test]
    fn a_secret_says_where_it_goes() {
        let url = Url::parse("https://prometheus.example:9090/api/v1/query?query=up").unwrap();
        for (found, expected) in [
            (labelled(&[("address", "https://prometheus.example:9090")]), ""),
            (labelled(&[("address", "https://prometheus.example:9090/behind/a/path\n")]), ""),
            (
                labelled(&[("address", "http://prometheus.example:9090")]),
                "for another address than https://prom",
            ),
            (labelled(&[("address", "https://evil.example")]), "for another address"),
            (labelled(&[("address", "prometheus")]), "no URL"),
            (labelled(&[]), "holds no address"),
            (secret(&[("address", "https://prometheus.example:9090")], json!({})), "has no label"),
        ] {
            let told = found.is_for(&url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(if expected.is_empty() { told.is_empty() } else { told.contains(expected) }, "{told}");
        }
    }

    #[test]
    fn what_is_sent_is_masked() {
        let entered = |data: &[(&str, &str)]| {
            let mut entry = Entry::default();
            labelled(data).enter(&mut entry).map(|()| entry)
        };
        let entry = entered(&[
            ("username", "ada"),
            ("password", "hunter2"),
            ("header", "X-Scope"),
            ("value", "team-a"),
        ]);
        let entry = entry.unwrap_or_default();
        assert_eq!(entry.headers["x-scope"], "team-a");
        assert_eq!(entry.headers[AUTHORIZATION], format!("Basic {}", STANDARD.encode("ada:hunter2")));
        assert!(format!("{:?}", entry.headers).contains("Sensitive"));
        assert_eq!(entry.mask("no hunter2 of team-a"), "no *** of ***");
        let tenant = entered(&[("header", "X-Scope-OrgID"), ("value", "1435")]).unwrap_or_default();
        assert_eq!(tenant.masked(json!(["1435811.4", 1435])), json!(["1435811.4", 1435]));
        assert_eq!(tenant.mask("no tenant 1435"), "no tenant ***");
        // Whatever it is: a number, an object, a text in quotes.
        for key in ["881234567890", r#"{"token":"s3cr3t"}"#, r#""s3cr3t""#] {
            let keyed = entered(&[("header", "X-Api-Key"), ("value", key)]).unwrap_or_default();
            assert_eq!(keyed.mask(&format!("bad key {key}")), "bad key ***", "{key}");
            let document = json!({"key": key, "error": format!("bad key {key}"), "value": 8812});
            let masked = json!({"key": "***", "error": "bad key ***", "value": 8812});
            assert_eq!(keyed.masked(document.clone()), masked, "{key}");
            assert_eq!(keyed.told(document), masked.to_string(), "{key}");
        }
        let keyed = entered(&[("header", "X-Api-Key"), ("value", "881234567890")]).unwrap_or_default();
        let number = || json!({"bad": 881_234_567_890_u64});
        assert_eq!(
            (keyed.masked(number()), keyed.told(number())),
            (json!({"bad": "***"}), r#"{"bad":"***"}"#.into())
        );
        // However it is written.
        let odd = entered(&[("token", "a&b<\"c\">/é")]).unwrap_or_default();
        let text = r#"is a&b<"c">/é, "a&b<\"c\">/é", a\u0026b\u003c\"c\"\u003e/é, a&amp;b&lt;&#34;c&#34;&gt;/é, a%26b%3C%22c%22%3E%2F%C3%A9"#;
        assert_eq!(odd.mask(text), r#"is ***, "***", ***, ***, ***"#);
        let document = json!({"a&b<\"c\">/é": [1, "x a&b<\"c\">/é", null]});
        assert_eq!(odd.masked(document), json!({"***": [1, "x ***", null]}));
        let bearer = entered(&[("token", "abc123")]).unwrap_or_default();
        assert_eq!(bearer.headers[AUTHORIZATION], "Bearer abc123");
        let ca = entered(&[("ca.crt", "pem")]).unwrap_or_default();
        assert!(!ca.is_bound() && ca.ca.as_deref() == Some("pem"));
        assert!(entered(&[("username", "ada")]).is_err());
        assert!(entered(&[("token", "a\nb")]).is_err());
    }
}
