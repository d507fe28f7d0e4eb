//! What a person asks. In: the request that an Application carries, and its
//! status. Out: what is to be done, once for every request. Pure.

use gitops_api::application::{ApplicationStatus, OperationStatus};
use gitops_api::{Application, Request, Verb};

/// The phase of a request that is being carried out.
pub const RUNNING: &str = "Running";

/// What is said of a request that nobody answers for.
const ANONYMOUS: &str =
    "the webhook has not said who asks: ask again; if it stays so, see kubectl gitops check";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub id: String,
    pub what: What,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Sync(Prune),
    /// Who, and why.
    Suspend(String),
    Resume,
    /// It is not carried out, and why.
    Nothing(String),
}

/// What a requested sync may prune.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Whatever the Application's policy says.
    pub wanted: bool,
    /// More than its budget.
    pub confirmed: bool,
    /// Everything, when Git declares nothing.
    pub allow_empty: bool,
}

impl Asked {
    /// The request that is still to be carried out. One whose carrying out was
    /// broken off goes on.
    pub fn of(application: &Application, status: &ApplicationStatus) -> Option<Self> {
        let done = status.operation.as_ref().filter(|operation| operation.phase != RUNNING);
        let (request, by) = match Request::of(application) {
            Ok(request) => request?,
            // It has no id that could be remembered: said once, as long as it stays.
            Err(error) => {
                let asked = Self { id: "unreadable".into(), what: What::Nothing(error.to_string()) };
                return (done.is_none_or(|done| done.id != asked.id)).then_some(asked);
            }
        };
        if done.is_some_and(|done| done.id == request.id) {
            return None;
        }
        let what = if Request::is_anonymous(&by, Some(status)) {
            What::Nothing(ANONYMOUS.into())
        } else {
            what(&request, &by)
        };
        Some(Self { id: request.id, what })
    }

    /// What the status says of it.
    pub fn operation(&self, phase: &str, message: &str) -> OperationStatus {
        OperationStatus { id: self.id.clone(), phase: phase.into(), message: message.into() }
    }
}

fn what(request: &Request, by: &str) -> What {
    let is_set = |name: &str| request.arguments.get(name).is_some_and(|value| value == "true");
    match request.verb {
        Verb::Sync | Verb::Retry => {
            let confirmed = is_set("confirmPrune");
            let wanted = confirmed || is_set("prune");
            What::Sync(Prune { wanted, confirmed, allow_empty: is_set("allowEmpty") })
        }
        Verb::Suspend => {
            let by = if by.is_empty() { "somebody" } else { by };
            let reason = if request.reason.is_empty() { "no reason given" } else { &request.reason };
            What::Suspend(format!("suspended by {by}: {reason}"))
        }
        Verb::Resume => What::Resume,
        Verb::Rollback => {
            What::Nothing("a rollback is a commit: git revert, then push; the cluster follows".into())
        }
        Verb::Promote | Verb::Abort | Verb::Pause | Verb::Restart => {
            What::Nothing(format!("{:?} is asked of a Rollout, not of an Application", request.verb))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::names::{ANNOTATION_REQUEST, ANNOTATION_REQUESTED_BY};
    use serde_json::{Value, json};

    use super::*;

    fn asked(request: &Value, by: &str, status: &Value) -> Option<Asked> {
        let mut application = Application::new("a", gitops_api::ApplicationSpec::default());
        let annotations = application.metadata.annotations.get_or_insert_default();
        annotations.insert(ANNOTATION_REQUEST.into(), request.to_string());
        if !by.is_empty() {
            annotations.insert(ANNOTATION_REQUESTED_BY.into(), by.into());
        }
        Asked::of(&application, &serde_json::from_value(status.clone()).unwrap())
    }

    #[test]
    fn a_request_is_carried_out_once() {
        let request = json!({"id": "r1", "verb": "sync", "arguments": {"confirmPrune": "true"}});
        let sync = What::Sync(Prune { wanted: true, confirmed: true, allow_empty: false });
        let with =
            |id: &str, phase: &str| asked(&request, "ada", &json!({"operation": {"id": id, "phase": phase}}));
        assert_eq!(asked(&request, "ada", &json!({})).unwrap().what, sync);
        assert_eq!(with("r0", "Succeeded").unwrap().what, sync);
        assert_eq!(with("r1", "Succeeded"), None);
        assert_eq!(with("r1", "Failed"), None);
        // It was broken off.
        assert_eq!(with("r1", "Running").unwrap().what, sync);
    }

    #[test]
    fn where_a_webhook_is_it_has_to_say_who_asks() {
        let judged = json!({"conditions": [{"type": "Enforced", "status": "True", "reason": "Enforced",
            "message": "", "lastTransitionTime": "2026-11-24T10:00:00Z"}]});
        let request = json!({"id": "r1", "verb": "suspend", "reason": "INC-12"});
        let forged = asked(&request, "", &judged).unwrap();
        assert_eq!(forged.what, What::Nothing(ANONYMOUS.into()));
        assert_eq!(
            asked(&request, "ada", &judged).unwrap().what,
            What::Suspend("suspended by ada: INC-12".into())
        );
        assert_eq!(
            asked(&request, "", &json!({})).unwrap().what,
            What::Suspend("suspended by somebody: INC-12".into())
        );
    }

    #[test]
    fn what_is_no_request_is_said_once() {
        let nonsense = json!({"id": "r1", "verb": "destroy"});
        let asked_once = asked(&nonsense, "ada", &json!({})).unwrap();
        assert!(matches!(&asked_once.what, What::Nothing(why) if why.contains("destroy")));
        let said = json!({"operation": {"id": "unreadable", "phase": "Failed"}});
        assert_eq!(asked(&nonsense, "ada", &said), None);
        let rollback = asked(&json!({"id": "r2", "verb": "rollback"}), "ada", &json!({})).unwrap();
        assert!(matches!(rollback.what, What::Nothing(why) if why.contains("git revert")));
    }
}
