//! Which kinds there are. In: the API server's aggregated discovery
//! (KEP-3352), kept on disk by its ETag. Out: resources, scopes, versions.

use std::sync::Arc;

use gitops_core::desired::Scopes;
use gitops_core::object::{Gvk, ObjectKey};
use http::{Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk;
use crate::error::ClusterError;
use crate::transport::{Call, Cluster};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A kind and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    pub gvk: Gvk,
    /// Such as `deployments`.
    pub plural: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// Such as `scale` and `status`.
    pub subresources: Vec<String>,
}

impl Kind {
    /// One that is known without asking what the API server serves.
    pub fn known(gvk: Gvk, plural: &str, namespaced: bool) -> Self {
        Self { gvk, plural: plural.into(), namespaced, verbs: Vec::new(), subresources: Vec::new() }
    }

    /// The path of an object, or of all of them when the name is empty.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = if self.gvk.group.is_empty() {
            format!("/api/{}", self.gvk.version)
        } else {
            format!("/apis/{}", self.gvk.api_version())
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&escaped(namespace));
        }
        path.push('/');
        path.push_str(&self.plural);
        if !name.is_empty() {
            path.push('/');
            path.push_str(&escaped(name));
        }
        path
    }

    /// The path of an object of this kind.
    pub(crate) fn path_of(&self, key: &ObjectKey) -> String {
        self.path(&key.namespace, &key.name)
    }
}

/// One segment of a path (RFC 3986): what Git writes as a name or namespace
/// never reaches beyond it. `.` and `..` become names that no object has.
pub(crate) fn escaped(segment: &str) -> String {
    if segment.chars().all(|c| c == '.') {
        return segment.replace('.', "%252E");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':');
    segment
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// All kinds of an API server, the preferred version of a group first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    kinds: Arc<Vec<Kind>>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// ETag and kinds of `/api` and of `/apis`.
    parts: Vec<(String, Vec<Kind>)>,
}

impl Discovery {
    /// A kind in just this version.
    pub fn kind(&self, gvk: &Gvk) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.gvk == *gvk)
    }

    /// A kind in its preferred version.
    pub fn preferred(&self, group: &str, kind: &str) -> Option<&Kind> {
        self.kinds.iter().find(|known| known.gvk.group == group && known.gvk.kind == kind)
    }

    /// All kinds.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// What helm takes as `--api-versions`.
    pub fn api_versions(&self) -> Vec<String> {
        let mut versions: Vec<String> = self
            .kinds
            .iter()
            .flat_map(|kind| {
                [kind.gvk.api_version(), format!("{}/{}", kind.gvk.api_version(), kind.gvk.kind)]
            })
            .collect();
        versions.sort();
        versions.dedup();
        versions
    }
}

impl Scopes for Discovery {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        self.kind(gvk).map(|kind| kind.namespaced)
    }
}

impl Cluster {
    /// All kinds; two requests, whose answers are empty when nothing changed.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn discovery(&self) -> Result<Discovery, ClusterError> {
        let file = self.cache_dir.as_ref().map(|dir| disk::folder(dir, &self.server).join("discovery.json"));
        let kept: Kept = file.as_ref().and_then(|file| disk::read(file)).unwrap_or_default();
        let (core, groups) =
            futures::try_join!(self.part("/api", kept.parts.first()), self.part("/apis", kept.parts.get(1)))?;
        let parts = vec![core, groups];
        if parts != kept.parts
            && let Some(file) = &file
        {
            disk::write(file, &Kept { parts: parts.clone() });
        }
        let kinds: Vec<Kind> = parts.into_iter().flat_map(|(_, kinds)| kinds).collect();
        Ok(Discovery { kinds: Arc::new(kinds) })
    }

    async fn part(
        &self,
        path: &str,
        kept: Option<&(String, Vec<Kind>)>,
    ) -> Result<(String, Vec<Kind>), ClusterError> {
        let mut headers = vec![(header::ACCEPT, ACCEPT.to_owned())];
        if let Some((tag, _)) = kept.filter(|(tag, _)| !tag.is_empty()) {
            headers.push((header::IF_NONE_MATCH, tag.clone()));
        }
        let answer = self
            .ask(Call {
                method: Method::GET,
                path: path.into(),
                headers: &headers,
                body: Vec::new(),
                what: "discovery",
            })
            .await?;
        if answer.status == StatusCode::NOT_MODIFIED
            && let Some(kept) = kept
        {
            return Ok(kept.clone());
        }
        let tag =
            answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let document: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| ClusterError::Other { what: "discovery".into(), message: error.to_string() })?;
        if !document.get("items").is_some_and(Value::is_array) {
            let message = "the API server does not answer with aggregated discovery: Kubernetes 1.26 or newer is needed".to_owned();
            return Err(ClusterError::Other { what: "discovery".into(), message });
        }
        Ok((tag, kinds_of(&document)))
    }
}

fn kinds_of(document: &Value) -> Vec<Kind> {
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let strings = |value: &Value, field: &str| {
        list(value, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut kinds = Vec::new();
    for group in list(document, "items") {
        let name = text(&group, "/metadata/name");
        for version in list(&group, "versions") {
            for resource in list(&version, "resources") {
                let kind = text(&resource, "/responseKind/kind");
                if kind.is_empty() {
                    continue;
                }
                kinds.push(Kind {
                    gvk: Gvk { group: name.clone(), version: text(&version, "/version"), kind },
                    plural: text(&resource, "/resource"),
                    namespaced: text(&resource, "/scope") == "Namespaced",
                    verbs: strings(&resource, "verbs"),
                    subresources: list(&resource, "subresources")
                        .iter()
                        .map(|sub| text(sub, "/subresource"))
                        .collect(),
                });
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_in_their_place() {
        let kind = Kind::known(Gvk::new("apps/v1", "Deployment"), "deployments", true);
        assert_eq!(kind.path("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(
            kind.path("a/../b?x=", ".."),
            "/apis/apps/v1/namespaces/a%2F..%2Fb%3Fx%3D/deployments/%252E%252E"
        );
        assert_eq!(kind.path("", "system:x"), "/apis/apps/v1/deployments/system:x");
    }

    #[test]
    fn kinds_are_read_from_aggregated_discovery() {
        let document = json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
            {"resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced", "verbs": ["list"], "subresources": [{"subresource": "scale"}]}]}]}]});
        let kinds = kinds_of(&document);
        assert_eq!(
            (kinds.len(), kinds[0].plural.as_str(), kinds[0].namespaced, kinds[0].subresources.as_slice()),
            (1, "deployments", true, &["scale".to_owned()][..])
        );
    }
}
