//! Where things are looked up. In: a cluster, or none. Out: which kinds there
//! are, of what types, and what rendering needs.

use std::collections::BTreeSet;

use gitops_cluster::Cluster;
use gitops_core::desired::Scopes;
use gitops_core::object::Gvk;
use gitops_core::schema::Schemas;
use gitops_engine::Environment;

use crate::applications::Destination;
use crate::error::{Failure, code};
use crate::printer::Printer;
use crate::settings::Settings;

/// Where to look things up: a cluster, or Kubernetes' own kinds.
#[derive(Clone, Debug)]
pub enum Place {
    Cluster(Box<Destination>),
    Nowhere(Box<Environment>),
}

impl Place {
    /// A cluster that has been asked what it knows.
    pub async fn reach(settings: &Settings) -> Result<Self, Failure> {
        Ok(Self::Cluster(Box::new(Destination::reach(settings).await?)))
    }

    /// The same; where it cannot be reached, none, and what follows is told.
    pub async fn reach_if_there(
        settings: &Settings,
        printer: &Printer,
        follows: &str,
    ) -> Result<Self, Failure> {
        match Self::reach(settings).await {
            Err(failure) if failure.code == code::UNREACHABLE => {
                printer.talk(&format!("no cluster was asked ({}): {follows}", failure.message));
                Ok(Self::nowhere(settings, ""))
            }
            reached => reached,
        }
    }

    /// Without a cluster, but for one of this version.
    pub fn nowhere(settings: &Settings, kube_version: &str) -> Self {
        Self::Nowhere(Box::new(settings.environment(kube_version, Vec::new())))
    }

    pub fn destination(&self) -> Option<&Destination> {
        match self {
            Self::Cluster(destination) => Some(destination),
            Self::Nowhere(_) => None,
        }
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        self.destination().map(|destination| &destination.cluster)
    }

    pub fn environment(&self) -> &Environment {
        match self {
            Self::Cluster(destination) => &destination.environment,
            Self::Nowhere(environment) => environment,
        }
    }

    /// The types of kinds.
    pub async fn schemas(&self, kinds: &BTreeSet<Gvk>) -> Result<Schemas, Failure> {
        match self.cluster() {
            Some(cluster) => Ok(cluster.schemas(kinds).await?),
            None => Ok(Schemas::builtin()),
        }
    }
}

impl Scopes for Place {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        match self {
            Self::Cluster(destination) => destination.discovery.namespaced(gvk),
            Self::Nowhere(_) => BuiltIn.namespaced(gvk),
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
