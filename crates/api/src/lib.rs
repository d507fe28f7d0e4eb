//! The custom resources of kubectl-gitops. In: YAML of a repository or of a
//! cluster. Out: typed resources, what of them is not carried out yet, and
//! their CustomResourceDefinitions.

pub mod analysis;
pub mod application;
pub mod overrides;
pub mod policy;
pub mod project;
pub mod request;
pub mod rollout;
mod sync;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use analysis::{AnalysisTemplate, AnalysisTemplateSpec};
pub use application::{Application, ApplicationSpec, ApplicationStatus};
pub use overrides::{Override, OverrideSpec};
pub use policy::PolicyError;
pub use project::{Project, ProjectSpec, Refusal};
pub use request::{Request, Verb};
pub use rollout::{Rollout, RolloutSpec};

/// The definitions of all our kinds.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Project::crd(), Application::crd(), Rollout::crd(), AnalysisTemplate::crd(), Override::crd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_definition_with_rules() {
        let crds = crds();
        assert_eq!(crds.len(), 5);
        for crd in crds {
            let text = serde_json::to_string(&crd).unwrap_or_default();
            assert!(text.contains("x-kubernetes-validations"), "{}", crd.spec.names.kind);
            assert!(!text.contains("\"additionalProperties\":false"), "{}", crd.spec.names.kind);
        }
    }
}
