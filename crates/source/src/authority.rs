//! Authorities of one's own, by which the certificates of internal hosts are
//! known. In: PEM. Out: what reqwest and git take.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use gix::bstr::ByteSlice;
use gix::protocol::transport::client::blocking_io::http;
use reqwest::{Certificate, ClientBuilder};

use crate::error::SourceError;
use crate::location::Credentials;

/// The certificates of a text.
///
/// # Errors
/// When it holds none.
pub fn certificates(pem: &str) -> Result<Vec<Certificate>, String> {
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("the certificates of the authority are no PEM".into()),
    }
}

/// A client that knows these authorities beside the system's.
pub(crate) fn client(credentials: &Credentials) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    match own(credentials).as_slice() {
        [] => builder,
        own => builder.tls_certs_merge(own.iter().cloned()),
    }
}

/// As they were read; whoever reads them checks them.
pub(crate) fn own(credentials: &Credentials) -> Vec<Certificate> {
    credentials.authority.as_deref().map(certificates).and_then(Result::ok).unwrap_or_default()
}

/// A file of them for git, which knows no others then: beside them it holds the
/// system's and those of a file that Git's own configuration names.
pub(crate) fn file(pem: &str, configured: Option<&Path>) -> Result<tempfile::NamedTempFile, SourceError> {
    let system = rustls_native_certs::load_native_certs().certs;
    let system: Vec<_> = system.iter().map(|one| pem::Pem::new("CERTIFICATE", one.as_ref())).collect();
    let configured = configured.map(read).transpose()?.unwrap_or_default();
    let written = tempfile::NamedTempFile::new().and_then(|mut file| {
        for part in [pem.as_bytes(), &configured, pem::encode_many(&system).as_bytes()] {
            file.write_all(part)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        Ok(file)
    });
    written.map_err(SourceError::io(std::env::temp_dir()))
}

/// What a file holds, if there is a certificate in it.
fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let wrong = |reason: String| SourceError::Authority { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&text) {
        Ok(found) if !found.is_empty() => Ok(text),
        _ => Err(wrong("there is no certificate in PEM in it".into())),
    }
}

/// Lets a fetch from `address` know them beside the system's, and those of Git's
/// own configuration (`http.sslCAInfo`, `http.URL.sslCAInfo`).
///
/// # Errors
/// When what Git's configuration names cannot be used.
pub(crate) fn configure(
    options: &mut http::Options,
    repository: &gix::Repository,
    address: &str,
    credentials: &Credentials,
) -> Result<(), SourceError> {
    let mut known = own(credentials);
    let path = of_url(repository, address)?.or_else(|| options.ssl_ca_info.clone());
    if let Some(path) = path.filter(|_| address.starts_with("https://")) {
        known.extend(Certificate::from_pem_bundle(&read(&path)?).unwrap_or_default());
    }
    if known.is_empty() {
        return Ok(());
    }
    let backend = http::reqwest::Options {
        configure_client: Some(Box::new(move |builder| Ok(builder.tls_certs_merge(known.iter().cloned())))),
        configure_request: None,
    };
    options.backend = Some(Arc::new(Mutex::new(backend)));
    Ok(())
}

/// Of the section whose URL is the longest beginning of this one (gix reads the
/// section without a URL alone).
fn of_url(repository: &gix::Repository, address: &str) -> Result<Option<PathBuf>, SourceError> {
    let config = repository.config_snapshot();
    let Some(sections) = config.plumbing().sections_by_name("http") else { return Ok(None) };
    let sections = sections.filter_map(|section| {
        let url = section.header().subsection_name()?.to_str().ok()?.trim_end_matches('/').to_owned();
        let rest = address.strip_prefix(&url)?;
        let path = gix::config::Path::from(section.value("sslCAInfo")?);
        (rest.is_empty() || rest.starts_with('/')).then_some((url.len(), path))
    });
    let Some((_, path)) = sections.max_by_key(|(length, _)| *length) else { return Ok(None) };
    let named = PathBuf::from(path.value.to_str_lossy().into_owned());
    let (home, installed) = (gix::path::env::home_dir(), repository.install_dir().ok());
    let context = gix::config::path::interpolate::Context {
        git_install_dir: installed.as_deref(),
        home_dir: home.as_deref(),
        home_for_user: Some(gix::config::path::interpolate::home_for_user),
    };
    let found = path.interpolate(context);
    found.map(Some).map_err(|error| SourceError::Authority { path: named, reason: error.to_string() })
}
