//! Reviews and their answers. In: an AdmissionReview's bytes. Out: an answer
//! with the request's uid, whatever happens.

mod family;
mod mutate;
mod own;
pub mod salvage;
mod validate;

use std::collections::BTreeMap;

use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::verdict::Operation;
use serde::Deserialize;
use serde_json::{Value, json};

pub use mutate::mutate;
pub use validate::validate;

use crate::world::World;

/// An AdmissionReview (admission.k8s.io/v1), as far as it is looked at.
#[derive(Debug, Deserialize)]
pub struct AdmissionReview {
    pub request: Request,
}

/// A group, version and kind of the API server's.
#[derive(Debug, Deserialize)]
pub struct KindName {
    #[serde(default)]
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// A group, version and resource of the API server's.
#[derive(Debug, Deserialize)]
pub struct ResourceName {
    #[serde(default)]
    pub group: String,
    pub resource: String,
}

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub uid: String,
    pub kind: KindName,
    pub resource: ResourceName,
    #[serde(default)]
    pub sub_resource: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    pub operation: String,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub user_info: UserInfo,
    #[serde(default)]
    pub object: Option<Value>,
    #[serde(default)]
    pub old_object: Option<Value>,
    /// Of a DELETE: its DeleteOptions.
    #[serde(default)]
    pub options: Option<Value>,
}

/// Who writes. A verdict looks at it for Overrides alone; else it is for logs
/// and access reviews.
#[derive(Debug, Default, Deserialize)]
pub struct UserInfo {
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub uid: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Request {
    fn operation(&self) -> Option<Operation> {
        match self.operation.as_str() {
            "CREATE" => Some(Operation::Create),
            "UPDATE" => Some(Operation::Update),
            "DELETE" => Some(Operation::Delete),
            "CONNECT" => Some(Operation::Connect),
            _ => None,
        }
    }

    /// The object's kind and key; of a subresource's parent. On a
    /// deletecollection the request has no name, the object does.
    fn identity(&self, world: &World) -> Option<(Gvk, ObjectKey)> {
        // What is asked for by CONNECT is no object: its parent is.
        let of_parent = self.kind.kind == "Scale" || self.operation == "CONNECT";
        let parent = (!self.sub_resource.is_empty() && of_parent).then(|| {
            let kinds = world.discovery.kinds().iter();
            kinds
                .filter(|kind| kind.gvk.group == self.resource.group && kind.plural == self.resource.resource)
                .map(|kind| kind.gvk.clone())
                .next()
        });
        let gvk = match parent {
            Some(parent) => parent?,
            None => Gvk {
                group: self.kind.group.clone(),
                version: self.kind.version.clone(),
                kind: self.kind.kind.clone(),
            },
        };
        let object = self.object.as_ref().or(self.old_object.as_ref());
        let of_object = |field: &str| {
            object.and_then(|object| object.get("metadata")?.get(field)?.as_str()).map(str::to_owned)
        };
        let name = of_object("name").filter(|name| !name.is_empty()).unwrap_or_else(|| self.name.clone());
        let namespace = of_object("namespace")
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| self.namespace.clone());
        // The API server fills `namespace` of a Namespace's review with its name.
        let namespace =
            if gvk.group.is_empty() && gvk.kind == "Namespace" { String::new() } else { namespace };
        let key = ObjectKey { group: gvk.group.clone(), kind: gvk.kind.clone(), namespace, name };
        Some((gvk, key))
    }
}

/// An answer, before it is written.
#[derive(Debug, Default)]
pub struct Answer {
    pub allowed: bool,
    pub message: String,
    pub warnings: Vec<String>,
    pub audit: BTreeMap<&'static str, String>,
    pub patch: Option<Value>,
}

impl Answer {
    pub fn allow() -> Self {
        Self { allowed: true, ..Self::default() }
    }

    pub fn deny(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// As the API server reads it.
    pub fn into_review(self, uid: &str) -> Value {
        use base64::Engine;
        let mut response = json!({"uid": uid, "allowed": self.allowed});
        if !self.allowed {
            response["status"] = json!({"code": 403, "reason": "Forbidden", "message": self.message});
        }
        if !self.warnings.is_empty() {
            response["warnings"] = json!(self.warnings);
        }
        if !self.audit.is_empty() {
            response["auditAnnotations"] = json!(self.audit);
        }
        if let Some(patch) = self.patch {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = base64::engine::general_purpose::STANDARD.encode(patch.to_string()).into();
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }
}
