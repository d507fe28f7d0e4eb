//! Registries. In: a repository's tags and manifests. Out: the layer that holds
//! a chart, or the files of an artifact.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncWrite;

use super::http::{chain, none_fits};
use super::{Found, MAX_ARCHIVE, Place, error, version};
use crate::error::SourceError;
use crate::location::{Credentials, Login, RepoUrl};

const CONNECT: Duration = Duration::from_secs(10);
/// Tags that are asked for at once, and in all.
const PAGE: usize = 1000;
const MAX_TAGS: usize = 50_000;

/// Finds an artifact by tag or digest.
pub(super) async fn artifact(
    repo: &RepoUrl,
    reference: &str,
    credentials: &Credentials,
) -> Result<Found, SourceError> {
    let name = repo.registry().unwrap_or_default();
    let image = artifact_image(repo, reference)?;
    layers(repo, image, format!("{name} {reference}"), credentials).await
}

/// The digest of an artifact's manifest, without the manifest.
pub(super) async fn digest(
    repo: &RepoUrl,
    reference: &str,
    credentials: &Credentials,
) -> Result<String, SourceError> {
    let image = artifact_image(repo, reference)?;
    let digest = client(&image, credentials).fetch_manifest_digest(&image, &auth(credentials)).await;
    digest.map_err(|cause| explain(repo, &image, &cause))
}

fn artifact_image(repo: &RepoUrl, reference: &str) -> Result<Reference, SourceError> {
    let (tag, digest) = version::split_digest(reference);
    let tag = if matches!(tag, "" | "HEAD") { "latest" } else { tag };
    let name = repo.registry().unwrap_or_default();
    match digest {
        Some(digest) => image(repo, &format!("{name}@{digest}")),
        None => image(repo, &format!("{name}:{tag}")),
    }
}

/// Finds a chart: it lies at the repository's path followed by its name.
pub(super) async fn chart(
    repo: &RepoUrl,
    name: &str,
    wanted: &str,
    credentials: &Credentials,
) -> Result<Found, SourceError> {
    let base = format!("{}/{name}", repo.registry().unwrap_or_default());
    let chosen = if version::is_exact(wanted) {
        wanted.to_owned()
    } else {
        // Tags hold no plus sign.
        let there: Vec<String> = tags(repo, &image(repo, &base)?, credentials)
            .await?
            .iter()
            .map(|tag| tag.replace('_', "+"))
            .collect();
        version::newest(wanted, there.iter().map(String::as_str))
            .map_err(|reason| error(repo, reason))?
            .ok_or_else(|| none_fits(repo, name, wanted, &there))?
            .to_owned()
    };
    let image = image(repo, &format!("{base}:{}", chosen.replace('+', "_")))?;
    layers(repo, image, format!("{name} {chosen}"), credentials).await
}

fn image(repo: &RepoUrl, text: &str) -> Result<Reference, SourceError> {
    text.parse().map_err(|cause| error(repo, format!("{text:?} is no name of a registry: {cause}")))
}

/// Plain http goes to this machine only.
fn client(image: &Reference, credentials: &Credentials) -> Client {
    let registry = image.registry().to_owned();
    let host = registry.rsplit_once(':').map_or(registry.as_str(), |(host, _)| host);
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let protocol = if local { ClientProtocol::HttpsExcept(vec![registry]) } else { ClientProtocol::Https };
    Client::new(ClientConfig {
        protocol,
        connect_timeout: Some(CONNECT),
        extra_root_certificates: authorities(credentials),
        ..ClientConfig::default()
    })
}

fn authorities(credentials: &Credentials) -> Vec<Certificate> {
    let pem = credentials.authority.as_deref().unwrap_or_default().as_bytes();
    let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    found.map(|der| Certificate { encoding: CertificateEncoding::Der, data: der.to_vec() }).collect()
}

fn auth(credentials: &Credentials) -> RegistryAuth {
    match &credentials.login {
        Login::Basic { username, password } => {
            RegistryAuth::Basic(username.clone(), password.reveal().to_owned())
        }
        Login::Usual | Login::Ssh { .. } => RegistryAuth::Anonymous,
    }
}

async fn tags(
    repo: &RepoUrl,
    image: &Reference,
    credentials: &Credentials,
) -> Result<Vec<String>, SourceError> {
    let (client, auth) = (client(image, credentials), auth(credentials));
    client
        .auth(image, &auth, oci_client::RegistryOperation::Pull)
        .await
        .map_err(|cause| explain(repo, image, &cause))?;
    let mut tags: Vec<String> = Vec::new();
    loop {
        let last = tags.last().cloned();
        let page = client
            .list_tags(image, &auth, Some(PAGE), last.as_deref())
            .await
            .map_err(|cause| explain(repo, image, &cause))?
            .tags;
        let full = page.len() >= PAGE;
        tags.extend(page);
        if !full || tags.len() >= MAX_TAGS {
            return Ok(tags);
        }
    }
}

/// The one layer that holds files.
async fn layers(
    repo: &RepoUrl,
    image: Reference,
    title: String,
    credentials: &Credentials,
) -> Result<Found, SourceError> {
    let (manifest, _) = client(&image, credentials)
        .pull_image_manifest(&image, &auth(credentials))
        .await
        .map_err(|cause| explain(repo, &image, &cause))?;
    let packed: Vec<&OciDescriptor> =
        manifest.layers.iter().filter(|layer| layer.media_type.ends_with("tar+gzip")).collect();
    let [layer] = packed.as_slice() else {
        let kinds: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
        return Err(error(
            repo,
            format!(
                "{title}: one layer of a type that ends in tar+gzip is needed, it has: [{}]",
                kinds.join(", ")
            ),
        ));
    };
    if u64::try_from(layer.size).is_ok_and(|size| size > MAX_ARCHIVE) {
        return Err(error(repo, format!("{title} has more than {} MiB", MAX_ARCHIVE >> 20)));
    }
    Ok(Found { title, digest: layer.digest.clone(), place: Place::Layer(image, layer.digest.clone()) })
}

/// Fetches the layer that was found.
pub(super) async fn layer(
    repo: &RepoUrl,
    image: &Reference,
    found: &Found,
    credentials: &Credentials,
) -> Result<Vec<u8>, SourceError> {
    let Place::Layer(_, digest) = &found.place else { return Ok(Vec::new()) };
    let client = client(image, credentials);
    client
        .auth(image, &auth(credentials), oci_client::RegistryOperation::Pull)
        .await
        .map_err(|cause| explain(repo, image, &cause))?;
    let mut archive = Bounded(Vec::new());
    let descriptor = OciDescriptor { digest: digest.clone(), ..OciDescriptor::default() };
    client.pull_blob(image, &descriptor, &mut archive).await.map_err(|cause| explain(repo, image, &cause))?;
    Ok(archive.0)
}

fn explain(repo: &RepoUrl, image: &Reference, cause: &OciDistributionError) -> SourceError {
    let reason = repo.mask(&chain(cause));
    let missing = |code: &OciErrorCode| {
        matches!(code, OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound)
    };
    match cause {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            SourceError::Credentials { repo: repo.to_string(), reason: "401 Unauthorized".into() }
        }
        OciDistributionError::ImageManifestNotFoundError(_) => {
            error(repo, format!("there is no {}", image.whole()))
        }
        OciDistributionError::RegistryError { envelope, .. }
            if envelope.errors.iter().any(|error| missing(&error.code)) =>
        {
            error(repo, format!("there is no {}", image.whole()))
        }
        OciDistributionError::ServerError { code: 404, .. } => {
            error(repo, format!("there is no {}", image.whole()))
        }
        OciDistributionError::RequestError(_) => SourceError::Network { repo: repo.to_string(), reason },
        _ => error(repo, reason),
    }
}

/// Takes no more than an archive may have: a registry's own word on the size is
/// not enough.
struct Bounded(Vec<u8>);

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if (self.0.len() + bytes.len()) as u64 > MAX_ARCHIVE {
            return Poll::Ready(Err(std::io::Error::other("it is larger than it may be")));
        }
        self.0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
