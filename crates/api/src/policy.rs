//! How an Application is held: its own word and its Project's floor, as core
//! reads them. Of both, the stricter counts.

use gitops_core::delegation::{Bounds, Free, Grant};
use gitops_core::path::{Path, PathError};
use gitops_core::verdict::{Interactive, Mode, Policy, Untracked};

use crate::application::{
    ApplicationSpec, CustomKinds, EnforcementFloor, EnforcementMode, IgnoreRule, InteractiveMode,
    UntrackedMode,
};
use crate::project::Injector;

/// A path that could not be read, and the field that holds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {error}")]
pub struct PolicyError {
    pub field: String,
    pub error: PathError,
}

fn path(field: impl FnOnce() -> String, text: &str) -> Result<Path, PolicyError> {
    text.parse().map_err(|error| PolicyError { field: field(), error })
}

impl ApplicationSpec {
    /// This Application's policy under a Project's floor and injectors.
    ///
    /// # Errors
    /// When a path of `enforcement.delegate`, `ignore` or the Project's
    /// `injectors` cannot be read.
    pub fn policy(&self, floor: &EnforcementFloor, injectors: &[Injector]) -> Result<Policy, PolicyError> {
        let own = &self.enforcement;
        Ok(Policy {
            mode: mode(own.mode).max(mode(floor.mode)),
            untracked: untracked(own.untracked).max(untracked(floor.untracked)),
            interactive: interactive(own.interactive).max(interactive(floor.interactive)),
            close_custom_kinds: [own.custom_kinds, floor.custom_kinds].contains(&CustomKinds::Closed),
            grants: self.grants(injectors)?,
        })
    }

    fn grants(&self, injectors: &[Injector]) -> Result<Vec<Grant>, PolicyError> {
        let mut grants = Vec::new();
        for (at, rule) in self.enforcement.delegate.iter().enumerate() {
            let path = path(|| format!("spec.enforcement.delegate[{at}].path"), &rule.path)?;
            let bounds = (rule.min.is_some() || rule.max.is_some()).then(|| Bounds {
                min: rule.min,
                max: rule.max,
                by: "enforcement.delegate".into(),
            });
            grants.push(Grant {
                group: Some(rule.group.clone()),
                kind: rule.kind.clone(),
                name: rule.name.clone(),
                free: Free { path, bounds, manager: None },
            });
        }
        for (at, rule) in self.ignore.iter().enumerate() {
            grants.push(Grant {
                group: Some(rule.group.clone()),
                kind: rule.kind.clone(),
                name: rule.name.clone(),
                free: ignored(at, rule)?,
            });
        }
        for (at, rule) in injectors.iter().enumerate() {
            grants.push(Grant {
                group: None,
                kind: rule.kind.clone(),
                name: "*".into(),
                free: Free::any(path(|| format!("Project spec.injectors[{at}].path"), &rule.path)?),
            });
        }
        Ok(grants)
    }
}

fn ignored(at: usize, rule: &IgnoreRule) -> Result<Free, PolicyError> {
    let field = || format!("spec.ignore[{at}].path");
    if rule.path.is_empty() && rule.manager.is_empty() {
        let error = PathError { text: String::new(), at: 0, reason: "a path or a manager is needed" };
        return Err(PolicyError { field: field(), error });
    }
    let path = path(field, &rule.path)?;
    Ok(if rule.manager.is_empty() { Free::any(path) } else { Free::of_manager(path, &rule.manager) })
}

fn mode(mode: EnforcementMode) -> Mode {
    match mode {
        EnforcementMode::Off => Mode::Off,
        EnforcementMode::Audit => Mode::Audit,
        EnforcementMode::Warn => Mode::Warn,
        EnforcementMode::Enforce => Mode::Enforce,
    }
}

fn untracked(mode: UntrackedMode) -> Untracked {
    match mode {
        UntrackedMode::Allow => Untracked::Allow,
        UntrackedMode::Warn => Untracked::Warn,
        UntrackedMode::Deny => Untracked::Deny,
    }
}

fn interactive(mode: InteractiveMode) -> Interactive {
    match mode {
        InteractiveMode::Allow => Interactive::Allow,
        InteractiveMode::Warn => Interactive::Warn,
        InteractiveMode::Deny => Interactive::Deny,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> ApplicationSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_stricter_of_floor_and_application_holds() {
        let relaxed = spec(json!({"enforcement": {"mode": "Off", "interactive": "Allow"}}));
        let strict: EnforcementFloor =
            serde_json::from_value(json!({"mode": "Warn", "untracked": "Deny", "interactive": "Deny"}))
                .unwrap();
        let policy = relaxed.policy(&strict, &[]).unwrap();
        assert_eq!(
            (policy.mode, policy.untracked, policy.interactive),
            (Mode::Warn, Untracked::Deny, Interactive::Deny)
        );
    }

    #[test]
    fn what_is_left_to_others_is_read_by_path_and_pointer() {
        let spec = spec(json!({
            "enforcement": {"delegate": [{"group": "apps", "kind": "Deployment", "name": "web", "path": "spec.replicas", "min": 1, "max": 9}]},
            "ignore": [
                {"kind": "Service", "name": "*", "path": "/spec/ports"},
                {"group": "apps", "kind": "Deployment", "manager": "keel"},
                {"group": "apps", "kind": "*", "path": ".spec.list[] | select(.name == \"a\")", "manager": "x"},
            ],
        }));
        let injectors = [Injector { kind: "Pod".into(), path: "spec.containers[name=istio-proxy]".into() }];
        let policy = spec.policy(&EnforcementFloor::default(), &injectors).unwrap();
        let told: Vec<String> = policy
            .grants
            .iter()
            .map(|grant| format!("{} {} {:?}", grant.kind, grant.free.path, grant.free.manager))
            .collect();
        assert_eq!(
            told,
            [
                "Deployment spec.replicas None",
                "Service spec.ports None",
                "Deployment . Some(\"keel\")",
                "* spec.list[name=a] Some(\"x\")",
                "Pod spec.containers[name=istio-proxy] None"
            ]
        );
        let bounds = policy.grants[0].free.bounds.as_ref().unwrap();
        assert_eq!(bounds.to_string(), "1 to 9, set by enforcement.delegate");
    }

    #[test]
    fn a_path_that_cannot_be_read_is_named() {
        let spec = spec(json!({"ignore": [{"kind": "Service", "path": "spec.ports["}]}));
        let error = spec.policy(&EnforcementFloor::default(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("spec.ignore[0].path: "), "{error}");
        let nothing: ApplicationSpec =
            serde_json::from_value(json!({"ignore": [{"kind": "Service"}]})).unwrap();
        let error = nothing.policy(&EnforcementFloor::default(), &[]).unwrap_err().to_string();
        assert!(error.contains("a path or a manager is needed"), "{error}");
    }
}
