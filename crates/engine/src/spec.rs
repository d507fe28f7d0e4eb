//! What of an Application's spec no schema can say. In: a spec, and the time. Out: the
//! first mistake, with its field: told when it is written, not when it is needed.

use std::time::Duration;

use gitops_api::application::{Application, ApplicationSpec, EnforcementFloor, Retry, SyncPolicy};
use gitops_source::Credentials;
use jiff::Timestamp;

use crate::error::EngineError;
use crate::load::Loaded;
use crate::program::duration;
use crate::rules::Rules;
use crate::windows::Windows;

/// A field that holds what cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Mistake {
    /// Such as `spec.sync.windows[0].schedule`.
    pub field: String,
    pub reason: String,
}

/// The first pause after a failed sync, and the longest.
///
/// # Errors
/// When one is no duration.
pub fn pauses(retry: &Retry) -> Result<(Duration, Duration), Mistake> {
    let read = |field: &str, text: &str| {
        let field = format!("spec.sync.retry.{field}");
        duration(text)
            .map_err(|reason| Mistake { field, reason: format!("{text:?} is no duration: {reason}") })
    };
    Ok((read("backoff", &retry.backoff)?, read("max", &retry.max)?))
}

/// Whether it can be read when an Application is synced.
///
/// # Errors
/// When a window or a pause cannot be read.
pub fn times(sync: &SyncPolicy, now: Timestamp) -> Result<(), Mistake> {
    Windows::at(&sync.windows, now)?;
    pauses(&sync.retry)?;
    Ok(())
}

/// The first mistake of a spec, in a sentence; what sources it has is not looked at.
fn mistake(spec: &ApplicationSpec, now: Timestamp) -> Option<String> {
    let read = || -> Result<(), String> {
        times(&spec.sync, now).map_err(|mistake| mistake.to_string())?;
        spec.sync_options()?;
        spec.policy(&EnforcementFloor::default(), &[]).map_err(|error| error.to_string())?;
        Rules::compile("", "spec.health", &spec.health).map_err(reason)?;
        Ok(())
    };
    read().err()
}

/// The first mistake of an Application that is in a cluster, its sources included.
pub fn mistake_of(application: &Application, now: Timestamp) -> Option<String> {
    let sources = || Loaded::from_resource(application, &[], &Credentials::default()).err().map(reason);
    mistake(&application.spec, now).or_else(sources)
}

/// Without what says which Application it is of.
fn reason(error: EngineError) -> String {
    match error {
        EngineError::Application { reason, .. } => reason,
        error => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(spec: Value) -> Option<String> {
        let mut all = json!({"source": {"repo": "https://example.com/x.git", "path": "app"}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({
            "apiVersion": "kubectl-gitops.dev/v1alpha1",
            "kind": "Application",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": all,
        });
        mistake_of(&serde_json::from_value(object).unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn mistakes_are_told_with_their_field() {
        assert_eq!(told(json!({})), None);
        let window = |schedule: &str| json!({"sync": {"windows": [{"kind": "Allow", "schedule": schedule, "duration": "1h"}]}});
        assert_eq!(told(window("0 8 * * 1-5")), None);
        let cases = [
            (window("0 25 * * *"), "spec.sync.windows[0].schedule: "),
            (
                json!({"sync": {"retry": {"backoff": "5 apples"}}}),
                "spec.sync.retry.backoff: \"5 apples\" is no duration",
            ),
            (json!({"sync": {"retry": {"max": ""}}}), "spec.sync.retry.max: "),
            (json!({"sync": {"options": ["Prun=true"]}}), "spec.sync.options: "),
            (json!({"ignore": [{"kind": "Service", "path": "spec..x"}]}), "spec.ignore[0].path: "),
            (
                json!({"enforcement": {"delegate": [{"kind": "Deployment", "name": "web", "path": "a["}]}}),
                "spec.enforcement.delegate[0].path: ",
            ),
            (json!({"health": [{"kind": "Db", "cel": "self."}]}), "spec.health[0].cel (Db): "),
            (json!({"source": {"repo": "ftp://example.com/x"}}), "ftp://example.com/x"),
        ];
        for (spec, says) in cases {
            let found = told(spec.clone()).unwrap_or_default();
            assert!(
                found.starts_with(says) || says.starts_with("ftp") && found.contains(says),
                "{spec}: {found}"
            );
        }
    }
}
