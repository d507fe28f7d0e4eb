//! What controller and webhook say of an Application in its status, as far as it
//! explains what a person sees. Pure.

use gitops_api::application::ApplicationStatus;
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_engine::{Loaded, load};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The status of an Application in the cluster that keeps it. Who describes it in
/// a file may have it there as well; where it is not, or may not be read, nobody
/// says anything.
pub async fn status(cluster: &Cluster, loaded: &Loaded) -> ApplicationStatus {
    match &loaded.status {
        Some(status) => status.clone(),
        None => of(cluster, &loaded.application).await,
    }
}

/// The same, as it is by now: a wait may have taken long.
pub async fn status_now(cluster: &Cluster, loaded: &Loaded) -> ApplicationStatus {
    match load::status_of(cluster, &loaded.application).await {
        Ok(status) => status.unwrap_or_default(),
        Err(_) => loaded.status.clone().unwrap_or_default(),
    }
}

async fn of(cluster: &Cluster, application: &AppRef) -> ApplicationStatus {
    load::status_of(cluster, application).await.ok().flatten().unwrap_or_default()
}

fn condition<'a>(status: &'a ApplicationStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

fn is_true(condition: &Condition) -> bool {
    condition.status == "True"
}

/// Why the controller leaves it as it is, or cannot do better; `differs` says
/// that it is not as Git says now.
pub fn by_controller(status: &ApplicationStatus, differs: bool) -> Option<String> {
    let true_one = |kind: &str| condition(status, kind).filter(|condition| is_true(condition));
    if let Some(deleting) = true_one("Deleting") {
        return Some(format!("it is being deleted: {}", deleting.message));
    }
    if let Some(suspended) = true_one("Suspended") {
        return Some(suspended.message.clone());
    }
    let synced = condition(status, "Synced").filter(|condition| !is_true(condition))?;
    // What has been mended since is no answer.
    let counts = differs || synced.status == "Unknown";
    (counts && !synced.message.is_empty()).then(|| synced.message.clone())
}

/// Why the webhook does not hold it to Git, or not to the newest commit.
pub fn by_webhook(status: &ApplicationStatus) -> Option<String> {
    let bad = |kind: &str| condition(status, kind).filter(|condition| !is_true(condition));
    let said = bad("Rendered").or_else(|| bad("Enforced"))?;
    Some(if said.message.is_empty() { said.reason.clone() } else { said.message.clone() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(conditions: &[(&str, &str, &str)]) -> ApplicationStatus {
        let all = conditions.iter().map(|(kind, status, message)| {
            json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-11-28T00:00:00Z"})
        });
        serde_json::from_value(json!({"conditions": all.collect::<Vec<_>>()})).unwrap()
    }

    #[test]
    fn the_controller_says_why_it_leaves_something() {
        let suspended =
            status(&[("Synced", "True", "fine"), ("Suspended", "True", "suspended by ada: INC-12")]);
        assert_eq!(by_controller(&suspended, false).unwrap(), "suspended by ada: INC-12");
        let window = status(&[("Synced", "False", "its windows allow no automatic sync now")]);
        assert_eq!(by_controller(&window, true).unwrap(), "its windows allow no automatic sync now");
        // Meanwhile somebody synced it by hand.
        assert_eq!(by_controller(&window, false), None);
        let broken = status(&[("Synced", "Unknown", "Git cannot be asked")]);
        assert_eq!(by_controller(&broken, false).unwrap(), "Git cannot be asked");
        assert_eq!(by_controller(&status(&[("Synced", "True", "fine")]), true), None);
        assert_eq!(by_controller(&ApplicationStatus::default(), true), None);
    }

    #[test]
    fn the_webhook_says_why_it_does_not_hold() {
        assert_eq!(by_webhook(&ApplicationStatus::default()), None, "there is none");
        let fine = [("Rendered", "True", ""), ("Enforced", "True", "")];
        assert_eq!(by_webhook(&status(&fine)), None);
        let broken =
            status(&[("Rendered", "False", "app/web.yaml:3: it is no YAML"), ("Enforced", "True", "")]);
        assert_eq!(by_webhook(&broken).unwrap(), "app/web.yaml:3: it is no YAML");
        let not_admitted = status(&[("Enforced", "False", "")]);
        assert_eq!(by_webhook(&not_admitted).unwrap(), "R");
    }
}
