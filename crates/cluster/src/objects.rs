//! Single objects: what is there, and how it changes.

use std::time::{Duration, Instant};

use gitops_core::names::FIELD_MANAGER;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::Propagation;
use http::{Method, header};
use serde_json::{Value, json};

use crate::discovery::{Discovery, Kind};
use crate::error::{ClusterError, ErrorKind};
use crate::transport::{Call, Cluster};

/// How an object is applied.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    pub field_manager: &'static str,
    pub dry_run: bool,
    /// Take fields over that others have set.
    pub force: bool,
    /// Refuse fields that the kind does not have.
    pub strict: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { field_manager: FIELD_MANAGER, dry_run: false, force: true, strict: true }
    }
}

impl ApplyOptions {
    fn query(&self) -> String {
        let validation = if self.strict { "Strict" } else { "Ignore" };
        let dry = if self.dry_run { "&dryRun=All" } else { "" };
        format!("fieldManager={}&fieldValidation={validation}{dry}", self.field_manager)
    }
}

/// What an apply did.
#[derive(Clone, Debug)]
pub struct Applied {
    pub object: Value,
    pub created: bool,
}

/// How an object is deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Only the object of this uid.
    pub uid: Option<String>,
    pub dry_run: bool,
    pub propagation: Propagation,
}

impl Cluster {
    /// One object, or none.
    ///
    /// # Errors
    /// When it may not be read or the API server cannot be asked.
    pub async fn get(&self, kind: &Kind, key: &ObjectKey) -> Result<Option<Value>, ClusterError> {
        let what = key.to_string();
        let call = Call {
            method: Method::GET,
            path: kind.path_of(key),
            headers: &[],
            body: Vec::new(),
            what: &what,
        };
        match self.ask(call).await {
            Ok(answer) => read(&what, &answer.body).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies an object on the server's side.
    ///
    /// # Errors
    /// [`ClusterError::Fields`] when others have set fields and they are not to
    /// be taken over; else
    /// What the API server or a webhook says against it.
    pub async fn apply(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        object: &Value,
        options: &ApplyOptions,
    ) -> Result<Applied, ClusterError> {
        let path = format!("{}?force={}&{}", kind.path_of(key), options.force, options.query());
        let answer = self.write(Method::PATCH, path, "application/apply-patch+yaml", object, key).await?;
        Ok(Applied { created: answer.0 == http::StatusCode::CREATED, object: answer.1 })
    }

    /// Applies a JSON patch.
    ///
    /// # Errors
    /// A conflict when its tests fail; else what the API server says.
    pub async fn patch(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        patch: &Value,
        options: &ApplyOptions,
    ) -> Result<Value, ClusterError> {
        let path = format!("{}?{}", kind.path_of(key), options.query());
        Ok(self.write(Method::PATCH, path, "application/json-patch+json", patch, key).await?.1)
    }

    /// Puts an object in the place of the one that is there; only that of its
    /// `metadata.resourceVersion`, if it has one.
    ///
    /// # Errors
    /// A conflict when it has changed meanwhile; else what the API server says.
    pub async fn replace(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        object: &Value,
        options: &ApplyOptions,
    ) -> Result<Value, ClusterError> {
        let path = format!("{}?{}", kind.path_of(key), options.query());
        Ok(self.write(Method::PUT, path, "application/json", object, key).await?.1)
    }

    /// Makes an object that is not there.
    ///
    /// # Errors
    /// A conflict when it is; else what the API server says.
    pub async fn create(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        object: &Value,
        options: &ApplyOptions,
    ) -> Result<Value, ClusterError> {
        let path = format!("{}?{}", kind.path(&key.namespace, ""), options.query());
        Ok(self.write(Method::POST, path, "application/json", object, key).await?.1)
    }

    /// Deletes an object and what it owns. One that is not there is fine.
    ///
    /// # Errors
    /// What the API server or a webhook says against it.
    pub async fn delete(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<(), ClusterError> {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": format!("{:?}", options.propagation)});
        if let Some(uid) = &options.uid {
            body["preconditions"] = json!({"uid": uid});
        }
        if options.dry_run {
            body["dryRun"] = json!(["All"]);
        }
        match self.write(Method::DELETE, kind.path_of(key), "application/json", &body, key).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends a write. All of ours may be sent twice: an apply says the same
    /// again, the others name the version or uid they are meant for.
    async fn write(
        &self,
        method: Method,
        path: String,
        media: &str,
        body: &Value,
        key: &ObjectKey,
    ) -> Result<(http::StatusCode, Value), ClusterError> {
        let what = key.to_string();
        let headers = [(header::CONTENT_TYPE, media.to_owned())];
        let body = body.to_string().into_bytes();
        let answer = self.ask(Call { method, path, headers: &headers, body, what: &what }).await?;
        Ok((answer.status, read(&what, &answer.body)?))
    }

    /// Waits until these kinds are served, as after applying their definitions.
    ///
    /// # Errors
    /// When they are not within `limit`.
    pub async fn wait_served(&self, kinds: &[Gvk], limit: Duration) -> Result<Discovery, ClusterError> {
        let start = Instant::now();
        loop {
            let discovery = self.discovery().await?;
            let Some(missing) = kinds.iter().find(|gvk| discovery.kind(gvk).is_none()) else {
                return Ok(discovery);
            };
            if start.elapsed() > limit {
                return Err(ClusterError::Timeout { what: format!("waiting until {missing} is served") });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn read(what: &str, body: &[u8]) -> Result<Value, ClusterError> {
    serde_json::from_slice(body)
        .map_err(|error| ClusterError::Other { what: what.to_owned(), message: error.to_string() })
}
