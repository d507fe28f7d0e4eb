//! The certificate: made by this program, kept in a Secret that all replicas
//! share, renewed when two thirds of its life are over.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;
use crate::settings::Settings;

const LEAF_DAYS: i64 = 90;
const CA_DAYS: i64 = 3650;
const DAY: i64 = 86_400;

/// A certificate with its key, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub ca: String,
    ca_key: String,
    leaf: String,
    key: String,
}

impl Certificate {
    /// A fresh authority and certificate for these names.
    fn new(names: &[String], now: i64) -> Result<Self, Error> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gitops-webhook-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        validity(&mut params, now, CA_DAYS);
        let ca = params.self_signed(&ca_key)?.pem();
        Self { ca, ca_key: ca_key.serialize_pem(), leaf: String::new(), key: String::new() }
            .renewed(names, now)
    }

    /// The same authority's next certificate.
    fn renewed(&self, names: &[String], now: i64) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(&self.ca, KeyPair::from_pem(&self.ca_key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "gitops-webhook");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        validity(&mut params, now, LEAF_DAYS);
        let leaf = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { leaf, key: key.serialize_pem(), ..self.clone() })
    }

    /// When it expires, in Unix seconds.
    pub fn expiry(&self) -> Option<i64> {
        let der = CertificateDer::from_pem_slice(self.leaf.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        Some(parsed.validity().not_after.timestamp())
    }

    fn is_due(&self, names: &[String], now: i64) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(self.leaf.as_bytes()) else { return true };
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else { return true };
        let alternatives = parsed
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|names| names.value.general_names.clone())
            .unwrap_or_default();
        let named = |name: &String| {
            alternatives.iter().any(|alternative| match alternative {
                x509_parser::extensions::GeneralName::DNSName(known) => known == name,
                x509_parser::extensions::GeneralName::IPAddress(bytes) => {
                    name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.octets() == *bytes)
                }
                _ => false,
            })
        };
        parsed.validity().not_after.timestamp() - now < LEAF_DAYS * DAY / 3 || !names.iter().all(named)
    }

    /// For the server: TLS 1.2 and up.
    pub fn server(&self) -> Result<Arc<rustls::ServerConfig>, Error> {
        let tls = |error: &dyn std::fmt::Display| Error::Tls(error.to_string());
        let chain = CertificateDer::pem_slice_iter(self.leaf.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| tls(&error))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| tls(&error))?;
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| tls(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The authority as a webhook configuration wants it.
    pub fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca)
    }

    fn read(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
        Some(Self {
            ca: text("ca.crt")?,
            ca_key: text("ca.key")?,
            leaf: text("tls.crt")?,
            key: text("tls.key")?,
        })
    }

    fn into_secret(self, name: &str, version: Option<String>) -> Secret {
        let data =
            [("ca.crt", self.ca), ("ca.key", self.ca_key), ("tls.crt", self.leaf), ("tls.key", self.key)];
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".into()),
            data: Some(
                data.into_iter()
                    .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
                    .collect(),
            ),
            ..Secret::default()
        }
    }
}

fn validity(params: &mut CertificateParams, now: i64, days: i64) {
    // An hour back, for clocks that are not quite right.
    let at = |seconds: i64| {
        let date = jiff::Timestamp::from_second(seconds)
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        rcgen::date_time_ymd(
            i32::from(date.year()),
            u8::try_from(date.month()).unwrap_or(1),
            u8::try_from(date.day()).unwrap_or(1),
        )
    };
    params.not_before = at(now - 3600);
    params.not_after = at(now + days * DAY);
}

/// The names under which the API server calls this program.
fn names(settings: &Settings) -> Vec<String> {
    match settings.url.as_ref().and_then(|url| url.host_str()) {
        Some(host) => vec![host.to_owned()],
        None => {
            let (service, namespace) = (&settings.service, &settings.namespace);
            vec![
                service.clone(),
                format!("{service}.{namespace}"),
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.cluster.local"),
            ]
        }
    }
}

/// The certificate of the Secret; made or renewed where that is due. Replicas
/// that do so at once agree on the one whose write came first.
pub async fn current(client: &kube::Client, settings: &Settings) -> Result<Certificate, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    let names = names(settings);
    for _ in 0..5 {
        let now = jiff::Timestamp::now().as_second();
        let there = secrets.get_opt(&settings.secret).await?;
        let known = there.as_ref().and_then(Certificate::read);
        let fresh = match known {
            Some(certificate) if !certificate.is_due(&names, now) => return Ok(certificate),
            Some(certificate) => certificate.renewed(&names, now)?,
            None => Certificate::new(&names, now)?,
        };
        let version = there.and_then(|secret| secret.metadata.resource_version);
        let secret = fresh.clone().into_secret(&settings.secret, version.clone());
        let written = match version {
            None => secrets.create(&PostParams::default(), &secret).await,
            Some(_) => secrets.replace(&settings.secret, &PostParams::default(), &secret).await,
        };
        match written {
            Ok(_) => return Ok(fresh),
            // Another replica was first.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Tls(format!("Secret {}/{} changes all the time", settings.namespace, settings.secret)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_by_the_same_authority_in_time() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let names = vec!["gitops-webhook.gitops-system.svc".to_owned()];
        let now = 1_780_000_000;
        let first = Certificate::new(&names, now).unwrap();
        assert!(!first.is_due(&names, now + 50 * DAY));
        assert!(first.is_due(&names, now + 61 * DAY));
        assert!(first.is_due(&["other".to_owned()], now));
        let second = first.renewed(&names, now + 61 * DAY).unwrap();
        assert_eq!(first.ca, second.ca);
        assert_ne!(first.leaf, second.leaf);
        assert!(second.server().is_ok());
        let secret = second.clone().into_secret("x", None);
        assert_eq!(Certificate::read(&secret), Some(second));
    }
}
