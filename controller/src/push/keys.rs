//! The keys that push events are signed with. In: a Secret of the controller's
//! namespace, each of its values a key, so that a new one is put beside the old
//! one for as long as hosts still sign with that. Out: the keys, as they are now.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::signature::Key;
use crate::error::Error;

/// How long keys are taken as they were.
const FRESH: Duration = Duration::from_secs(30);
/// Before they are read once more for a signature that none of them has made.
const AGAIN: Duration = Duration::from_secs(2);

/// The keys.
#[derive(Debug)]
pub struct Keys {
    namespace: String,
    secret: String,
    kept: tokio::sync::Mutex<Option<(Instant, Vec<Key>)>>,
}

impl Keys {
    pub fn new(namespace: &str, secret: &str) -> Self {
        let kept = tokio::sync::Mutex::default();
        Self { namespace: namespace.to_owned(), secret: secret.to_owned(), kept }
    }

    /// The keys; `anew` when those of before do not fit, since they may have been
    /// changed just now.
    ///
    /// # Errors
    /// When they have never been read and cannot be.
    pub async fn read(&self, client: Client, anew: bool) -> Result<Vec<Key>, Error> {
        let mut kept = self.kept.lock().await;
        let limit = if anew { AGAIN } else { FRESH };
        if let Some((_, keys)) = kept.as_ref().filter(|(since, _)| since.elapsed() < limit) {
            return Ok(keys.clone());
        }
        match self.ask(client).await {
            Ok(keys) => {
                *kept = Some((Instant::now(), keys.clone()));
                Ok(keys)
            }
            Err(error) => match kept.as_ref() {
                Some((_, keys)) => {
                    tracing::warn!(%error, "the keys of push events are taken as they were");
                    Ok(keys.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn ask(&self, client: Client) -> Result<Vec<Key>, Error> {
        let what = format!("Secret {}/{}", self.namespace, self.secret);
        let failed = |reason: String| Error::Keys { what: what.clone(), reason };
        let api: Api<Secret> = Api::namespaced(client, &self.namespace);
        let secret = api.get_opt(&self.secret).await.map_err(|error| failed(error.to_string()))?;
        let data = secret.ok_or_else(|| failed("it is not there".into()))?.data.unwrap_or_default();
        let mut keys = Vec::new();
        for (name, value) in &data {
            match Key::new(&value.0) {
                Some(key) => keys.push(key),
                None => {
                    tracing::warn!(secret = what, name, "it is too short for a key: 16 characters are needed")
                }
            }
        }
        if keys.is_empty() {
            return Err(failed("it holds no key of at least 16 characters".into()));
        }
        Ok(keys)
    }
}
