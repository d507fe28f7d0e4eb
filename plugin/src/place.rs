//! Where things are looked up. In: a cluster, or none. Out: which kinds there
//! are, and of what types.

use gitops_core::desired::Scopes;
use gitops_core::object::Gvk;
use gitops_core::schema::Schemas;
use gitops_engine::Environment;

use crate::applications::Destination;
use crate::error::Failure;

/// Where to look things up: a cluster, or Kubernetes' own kinds.
#[derive(Debug)]
pub enum Place {
    Cluster(Box<Destination>),
    Nowhere(Box<Environment>),
}

impl Place {
    pub fn scopes(&self) -> &dyn Scopes {
        match self {
            Self::Cluster(destination) => &destination.discovery,
            Self::Nowhere(_) => &BuiltIn,
        }
    }

    pub fn destination(&self) -> Option<&Destination> {
        match self {
            Self::Cluster(destination) => Some(destination),
            Self::Nowhere(_) => None,
        }
    }

    pub async fn schemas(&self, gvk: &Gvk) -> Result<Schemas, Failure> {
        match self {
            Self::Cluster(destination) => Ok(destination.cluster.schemas(&[gvk.clone()].into()).await?),
            Self::Nowhere(_) => Ok(Schemas::builtin()),
        }
    }
}

/// Kubernetes' own kinds by name; all others count as namespaced.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn;

const CLUSTER_SCOPED: &[&str] = &[
    "Namespace",
    "Node",
    "PersistentVolume",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "StorageClass",
    "VolumeAttachment",
    "CSIDriver",
    "CSINode",
    "PriorityClass",
    "RuntimeClass",
    "IngressClass",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "FlowSchema",
    "PriorityLevelConfiguration",
    "CertificateSigningRequest",
    "ClusterTrustBundle",
    "IPAddress",
    "ServiceCIDR",
    "DeviceClass",
    "ResourceSlice",
    "VolumeAttributesClass",
];

impl Scopes for BuiltIn {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        let ours =
            gvk.group == gitops_core::names::GROUP && matches!(gvk.kind.as_str(), "Project" | "Override");
        let built_in = gitops_core::compare::world_of(gvk) == gitops_core::compare::World::Closed;
        Some(!(ours || built_in && CLUSTER_SCOPED.contains(&gvk.kind.as_str())))
    }
}
