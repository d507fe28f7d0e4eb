//! The types of kinds. In: the API server's OpenAPI v3 documents. Out: compact
//! schemas, kept on disk by the hashes that the API server gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gitops_core::object::Gvk;
use gitops_core::schema::Schemas;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk;
use crate::error::ClusterError;
use crate::transport::{Call, Cluster};

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Kinds that were asked for; those the document does not know, too.
    asked: BTreeSet<Gvk>,
    schemas: Schemas,
}

/// How long the documents are taken as they were.
const FRESH: Duration = Duration::from_secs(10);

/// URLs by name, such as `apis/apps/v1`.
type Documents = BTreeMap<String, String>;

/// Types that are kept in memory.
#[derive(Debug, Default)]
pub(crate) struct Types {
    root: tokio::sync::Mutex<Option<(Instant, Documents)>>,
    /// By URL.
    schemas: tokio::sync::Mutex<BTreeMap<String, Compiled>>,
}

/// The kinds that were asked for, and their types.
type Compiled = (BTreeSet<Gvk>, Arc<Schemas>);

/// The document of each kind; a kind may have none.
fn sorted(kinds: &BTreeSet<Gvk>, root: &Documents) -> BTreeMap<String, Vec<Gvk>> {
    let mut by_document: BTreeMap<String, Vec<Gvk>> = BTreeMap::new();
    for gvk in kinds {
        let name = if gvk.group.is_empty() {
            format!("api/{}", gvk.version)
        } else {
            format!("apis/{}", gvk.api_version())
        };
        if let Some(url) = root.get(&name) {
            by_document.entry(url.clone()).or_default().push(gvk.clone());
        }
    }
    by_document
}

/// Raise it when compiled schemas mean something else.
const VERSION: u32 = 2;

impl Cluster {
    /// The schemas of these kinds. Kinds without one are left out.
    ///
    /// # Errors
    /// When the API server cannot be asked, or a document is broken.
    pub async fn schemas(&self, kinds: &BTreeSet<Gvk>) -> Result<Schemas, ClusterError> {
        let Some(types) = &self.types else {
            return self.read(sorted(kinds, &self.documents().await?)).await;
        };
        // One at a time: what one has read, the others have then.
        let begun = Instant::now();
        let mut known = types.root.lock().await;
        let fresh = known.as_ref().filter(|(since, _)| since.elapsed() < FRESH);
        if let Some(by_document) = fresh.map(|(_, root)| sorted(kinds, root)) {
            drop(known);
            let schemas = self.read(by_document).await?;
            // One that is not known may just have been defined.
            if kinds.iter().all(|gvk| schemas.has(gvk)) {
                return Ok(schemas);
            }
            known = types.root.lock().await;
            // Another one has asked since this one wants to know.
            let newer = known.as_ref().filter(|(since, _)| *since >= begun);
            if let Some(by_document) = newer.map(|(_, root)| sorted(kinds, root)) {
                drop(known);
                return self.read(by_document).await;
            }
        }
        let asked = Instant::now();
        let root = self.documents().await?;
        let by_document = sorted(kinds, &root);
        *known = Some((asked, root));
        drop(known);
        self.read(by_document).await
    }

    async fn read(&self, by_document: BTreeMap<String, Vec<Gvk>>) -> Result<Schemas, ClusterError> {
        let documents = by_document.into_iter().map(|(url, kinds)| self.remembered(url, kinds));
        let mut schemas = Schemas::new();
        for part in futures::future::try_join_all(documents).await? {
            schemas.extend(&part);
        }
        Ok(schemas)
    }

    /// The documents that there are: their URLs, with their hashes.
    async fn documents(&self) -> Result<Documents, ClusterError> {
        let root = self.get_json("/openapi/v3").await?;
        let paths = root.get("paths").and_then(Value::as_object).into_iter().flatten();
        let url = |path: &Value| path.get("serverRelativeURL")?.as_str().map(str::to_owned);
        Ok(paths.filter_map(|(name, path)| Some((name.clone(), url(path)?))).collect())
    }

    async fn remembered(&self, url: String, kinds: Vec<Gvk>) -> Result<Arc<Schemas>, ClusterError> {
        let Some(types) = &self.types else { return Ok(Arc::new(self.document(url, kinds).await?)) };
        let mut known = types.schemas.lock().await;
        if let Some((asked, schemas)) = known.get(&url)
            && kinds.iter().all(|gvk| asked.contains(gvk))
        {
            return Ok(schemas.clone());
        }
        let schemas = Arc::new(self.document(url.clone(), kinds.clone()).await?);
        // An older document of the same name is asked for no more.
        let name = url.split('?').next().unwrap_or_default().to_owned();
        let mut asked: BTreeSet<Gvk> = kinds.into_iter().collect();
        asked.extend(known.get(&url).into_iter().flat_map(|(asked, _)| asked.iter().cloned()));
        known.retain(|other, _| other.split('?').next() != Some(&name));
        known.insert(url, (asked, schemas.clone()));
        Ok(schemas)
    }

    /// One document; its URL holds its hash, so that what was compiled from it
    /// stays right.
    async fn document(&self, url: String, kinds: Vec<Gvk>) -> Result<Schemas, ClusterError> {
        let name =
            format!("schema-{VERSION}-{}.json", url.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let file = self.cache_dir.as_ref().map(|dir| disk::folder(dir, &self.server).join(name));
        let kept: Option<Kept> = file.as_ref().and_then(|file| disk::read(file));
        let mut asked = kept.as_ref().map(|kept| kept.asked.clone()).unwrap_or_default();
        if let Some(kept) = kept
            && kinds.iter().all(|gvk| kept.asked.contains(gvk))
        {
            return Ok(kept.schemas);
        }
        let document = self.get_json(&url).await?;
        asked.extend(kinds);
        let wanted: Vec<Gvk> = asked.iter().cloned().collect();
        let mut schemas = Schemas::new();
        schemas
            .add_document(&document, &wanted)
            .map_err(|error| ClusterError::Other { what: url.clone(), message: error.to_string() })?;
        if let Some(file) = &file {
            disk::write(file, &Kept { asked, schemas: schemas.clone() });
        }
        Ok(schemas)
    }

    /// The API server's version, such as `v1.37.2`.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn version(&self) -> Result<String, ClusterError> {
        let version = self.get_json("/version").await?;
        Ok(version.get("gitVersion").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// A JSON document at a path.
    ///
    /// # Errors
    /// When the API server cannot be asked, or does not answer in JSON.
    pub async fn get_json(&self, path: &str) -> Result<Value, ClusterError> {
        let answer = self
            .ask(Call { method: Method::GET, path: path.into(), headers: &[], body: Vec::new(), what: path })
            .await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| ClusterError::Other { what: path.into(), message: error.to_string() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server that knows a kind only after a while; how often it was asked
    /// which documents there are.
    fn server(later: Arc<AtomicUsize>, roots: Arc<AtomicUsize>) -> Cluster {
        let service = tower::service_fn(move |request: Request<Body>| {
            let (later, roots) = (later.clone(), roots.clone());
            async move {
                let is_defined = later.load(Ordering::Relaxed) > 0;
                let answer = if request.uri().path() == "/openapi/v3" {
                    roots.fetch_add(1, Ordering::Relaxed);
                    // Long enough that the others wait for it.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let url = format!("/openapi/v3/apis/example.com/v1?hash={is_defined}");
                    json!({"paths": {"apis/example.com/v1": {"serverRelativeURL": url}}})
                } else {
                    let kind = json!([{"group": "example.com", "version": "v1", "kind": "Shop"}]);
                    let shop = json!({"type": "object", "x-kubernetes-group-version-kind": kind});
                    let schemas = if is_defined { json!({"shop": shop}) } else { json!({}) };
                    json!({"components": {"schemas": schemas}})
                };
                Ok::<_, std::io::Error>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Cluster::from_client(kube::Client::new(service, "default"), "https://test", "default", None)
            .remembering()
    }

    #[tokio::test]
    async fn a_kind_that_is_new_is_asked_for_once() {
        let (later, roots) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let cluster = server(later.clone(), roots.clone());
        let shop = Gvk { group: "example.com".into(), version: "v1".into(), kind: "Shop".into() };
        let kinds: BTreeSet<Gvk> = [shop.clone()].into();
        assert!(!cluster.schemas(&kinds).await.unwrap().has(&shop));
        later.store(1, Ordering::Relaxed);
        let before = roots.load(Ordering::Relaxed);
        let many = futures::future::join_all((0..8).map(|_| cluster.schemas(&kinds))).await;
        assert!(many.into_iter().all(|found| found.unwrap().has(&shop)));
        assert_eq!(roots.load(Ordering::Relaxed) - before, 1);
    }
}
