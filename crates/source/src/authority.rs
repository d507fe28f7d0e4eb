//! Authorities of one's own, by which the certificates of internal hosts are
//! known. In: PEM. Out: what reqwest and git take.

use std::io::Write;
use std::path::PathBuf;
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

/// A file of them for git, which knows no others then.
pub(crate) fn file(pem: &str) -> Result<tempfile::NamedTempFile, SourceError> {
    let written = tempfile::NamedTempFile::new().and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        Ok(file)
    });
    written.map_err(SourceError::io(std::env::temp_dir()))
}

/// Lets a fetch from `address` know them beside the system's, and those of Git's
/// own configuration (`http.sslCAInfo`, `http.URL.sslCAInfo`).
pub(crate) fn configure(
    options: &mut http::Options,
    repository: &gix::Repository,
    address: &str,
    credentials: &Credentials,
) {
    let path = of_url(repository, address).or_else(|| options.ssl_ca_info.clone());
    let configured = path.and_then(|path| std::fs::read(path).ok());
    let configured = configured.and_then(|pem| Certificate::from_pem_bundle(&pem).ok());
    let mut known = own(credentials);
    known.extend(configured.into_iter().flatten());
    if known.is_empty() {
        return;
    }
    let backend = http::reqwest::Options {
        configure_client: Some(Box::new(move |builder| Ok(builder.tls_certs_merge(known.iter().cloned())))),
        configure_request: None,
    };
    options.backend = Some(Arc::new(Mutex::new(backend)));
}

/// Of the section whose URL is the longest beginning of this one (gix reads the
/// section without a URL alone).
fn of_url(repository: &gix::Repository, address: &str) -> Option<PathBuf> {
    let config = repository.config_snapshot();
    let sections = config.plumbing().sections_by_name("http")?.filter_map(|section| {
        let url = section.header().subsection_name()?.to_str().ok()?.trim_end_matches('/').to_owned();
        let rest = address.strip_prefix(&url)?;
        let path = section.value("sslCAInfo")?.to_str().ok().map(PathBuf::from)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((url.len(), path))
    });
    sections.max_by_key(|(length, _)| *length).map(|(_, path)| path)
}
