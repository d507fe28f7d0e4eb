//! How long a deletion may take. In: what the status says and since when, and how
//! long this replica has tried. Out: whether it is given up. Pure.

use std::time::Duration;

use gitops_api::Application;

/// How long hooks, and then objects, may hold it up; what is left is left behind.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// How long one replica tries before it gives up what others have tried.
const TRIED: Duration = Duration::from_secs(60);

/// Whether its objects are going already, as its status says.
pub(super) fn has_begun(application: &Application) -> bool {
    let conditions = application.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|known| known.type_ == "Deleting" && known.reason == reason(true))
}

/// For how long its status has said that it is where it is: what others have tried
/// counts, too.
pub(super) fn said(application: &Application, begun: bool, now: jiff::Timestamp) -> Duration {
    let conditions = application.status.iter().flat_map(|status| &status.conditions);
    let here =
        conditions.into_iter().find(|known| known.type_ == "Deleting" && known.reason == reason(begun));
    here.map(|known| now.duration_since(known.last_transition_time.0))
        .and_then(|passed| Duration::try_from(passed).ok())
        .unwrap_or_default()
}

pub(super) fn reason(begun: bool) -> &'static str {
    if begun { "Objects" } else { "Hooks" }
}

/// Whether it has taken too long where it is. Who has just begun, after all had
/// stood still, has to try as well.
pub(super) fn is_late(said: Duration, tried: Duration) -> bool {
    tried > PATIENCE || said > PATIENCE && tried > TRIED
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn deleting(reason: &str, since: &str) -> Application {
        let mut application = Application::new("a", gitops_api::ApplicationSpec::default());
        let status = json!({"conditions": [{"type": "Deleting", "status": "True", "reason": reason,
            "message": "", "lastTransitionTime": since}]});
        application.status = Some(serde_json::from_value(status).unwrap());
        application
    }

    #[test]
    fn a_restart_begins_no_new_patience() {
        let application = deleting("Objects", "2026-11-24T10:00:00Z");
        let now: jiff::Timestamp = "2026-11-24T10:11:00Z".parse().unwrap();
        assert_eq!(said(&application, true, now), Duration::from_secs(660));
        // Its hooks have just ended; clocks differ.
        assert_eq!(said(&application, false, now), Duration::ZERO);
        assert_eq!(said(&application, true, "2026-11-24T09:59:00Z".parse().unwrap()), Duration::ZERO);
        assert!(has_begun(&application) && !has_begun(&deleting("Hooks", "2026-11-24T10:00:00Z")));
    }

    #[test]
    fn it_is_given_up_after_all_have_tried_long_enough() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (said, tried, late) in [
            (minutes(0), minutes(9), false),
            // The status cannot be written.
            (minutes(0), minutes(11), true),
            (minutes(9), minutes(5), false),
            // It stood still while no controller ran.
            (minutes(60), minutes(1), false),
            (minutes(60), minutes(2), true),
        ] {
            assert_eq!(is_late(said, tried), late, "{said:?} {tried:?}");
        }
    }
}
