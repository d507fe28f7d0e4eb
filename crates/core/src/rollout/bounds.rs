//! What a state may say beside versions and settings: numbers and names that
//! objects follow from. In: the state before and after a write, and what Git and
//! the live target have. Out: what neither of them allows.

use std::collections::BTreeMap;

use super::spec::{Means, Spec};
use super::state::{Setting, State, Version};
use crate::delegation::Bounds;

/// What Git and the live target have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grounds {
    /// Replicas that the newest commit declares.
    pub declared: Option<i64>,
    /// Those that the target has now; asked for only where Git leaves them out.
    pub live: Option<i64>,
    /// Between which others may set them.
    pub bounds: Option<Bounds>,
    /// What Kubernetes calls Pods of the target, and the hash of the version that
    /// they have of those that the state names; only names that are new.
    pub pods: BTreeMap<String, String>,
}

/// Who asked for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    /// As the record has it: `promote --full` is one.
    pub verb: String,
    pub by: String,
    pub reason: String,
}

/// The names of Pods that a write brings in.
pub fn new_names<'a>(before: &State, after: &'a State) -> Vec<&'a str> {
    let pairs = [(&before.stable_pods, &after.stable_pods), (&before.new_pods, &after.new_pods)];
    pairs.into_iter().filter(|(was, is)| was != is).filter_map(|(_, is)| is.as_deref()).collect()
}

/// What is wrong with a state, if something is. `asked` is the request that the
/// Rollout carries.
pub fn objection(
    spec: &Spec,
    (before, after): (&State, &State),
    grounds: &Grounds,
    asked: Option<&Request>,
) -> Option<String> {
    replicas(before, after, grounds)
        .or_else(|| pods(spec, before, after, grounds))
        .or_else(|| refused(before, after))
        .or_else(|| record(before, after, asked))
}

/// The second workload, and what the target keeps, are shares of it.
fn replicas(before: &State, after: &State, grounds: &Grounds) -> Option<String> {
    // Nobody else scales a target that comes back from there.
    if after.from_zero && !before.from_zero && after.setting.share > 0 {
        return Some("it was not scaled to zero".into());
    }
    let is = after.replicas;
    if is == before.replicas {
        return None;
    }
    if let Some(declared) = grounds.declared {
        return (is != declared).then(|| format!("it cannot have {is} replicas: Git says {declared}"));
    }
    // A kind that counts no Pods has one.
    let (live, bounds) = (grounds.live.unwrap_or(1), grounds.bounds.as_ref());
    if is == live || bounds.is_some_and(|bounds| bounds.admit(&is.into())) {
        return None;
    }
    let between = bounds.map(|bounds| format!(", and it may be {bounds}")).unwrap_or_default();
    Some(format!("it cannot have {is} replicas: {live} run{between}"))
}

/// Services select Pods by these names, and some Pods are deleted by them.
fn pods(spec: &Spec, before: &State, after: &State, grounds: &Grounds) -> Option<String> {
    let hash = |version: &Option<Version>| version.as_ref().map(|version| version.hash.clone());
    let names = [
        (&before.stable_pods, &after.stable_pods, hash(&after.stable), "the promoted version"),
        (&before.new_pods, &after.new_pods, hash(&after.new), "the new version"),
    ];
    for (was, is, version, what) in names {
        let Some(name) = is.as_ref().filter(|_| was != is) else { continue };
        if version.is_none() || grounds.pods.get(name) != version.as_ref() {
            return Some(format!("no Pods of {what} are called {name:?}"));
        }
    }
    let divided = spec.stable_service().is_some() && matches!(spec.means(), Means::Routes | Means::Partition);
    let forgotten = after.stable_pods.is_none() && after.setting != Setting::REST;
    (divided && forgotten)
        .then(|| "which Pods have the promoted version is not forgotten while both run".to_owned())
}

/// Only what was on its way in is not tried again.
fn refused(before: &State, after: &State) -> Option<String> {
    let refused = after.refused.as_ref().filter(|_| before.refused != after.refused)?;
    let new = after.new.as_ref().map(|new| &new.hash);
    (new != Some(refused)).then(|| format!("version {refused} was not on its way in"))
}

/// A record says what the Rollout's request says.
fn record(before: &State, after: &State, asked: Option<&Request>) -> Option<String> {
    let record = after.record.as_ref().filter(|_| before.record != after.record)?;
    let same = |asked: &Request| {
        let Request { id, verb, by, reason } = asked;
        (&record.id, &record.verb, &record.by, &record.reason) == (id, verb, by, reason)
    };
    let same = asked.is_some_and(same);
    (!same).then(|| format!("nobody has asked for what its record says: {} by {}", record.verb, record.by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::simulation::spec;
    use crate::rollout::spec::{Size, Strategy};
    use crate::rollout::state::Record;

    fn canary() -> Spec {
        spec(Strategy::Canary(Vec::new()))
    }

    fn blue_green() -> Spec {
        spec(Strategy::BlueGreen {
            active_service: "web".into(),
            preview_service: None,
            preview_replicas: Size::Percent(50),
            auto_promote: true,
            before: Vec::new(),
            after: Vec::new(),
            scale_down_delay: 0,
        })
    }

    fn version(hash: &str) -> Option<Version> {
        Some(Version { revision: format!("c-{hash}"), hash: hash.into() })
    }

    fn told(spec: &Spec, before: &State, after: &State, grounds: &Grounds) -> String {
        objection(spec, (before, after), grounds, None).unwrap_or_default()
    }

    #[test]
    fn replicas_are_those_of_git_or_of_who_scales() {
        let (spec, before) = (canary(), State { replicas: 4, ..State::default() });
        let bounds = |min, max| Some(Bounds { min: Some(min), max: Some(max), by: "HPA web".into() });
        let by_git =
            Grounds { declared: Some(6), live: Some(9), bounds: bounds(1, 20), ..Grounds::default() };
        let by_hand = Grounds { live: Some(9), ..Grounds::default() };
        let scaled = Grounds { live: Some(9), bounds: bounds(2, 10), ..Grounds::default() };
        for (grounds, replicas, expected) in [
            (&by_git, 4, ""),
            (&by_git, 6, ""),
            (&by_git, 9, "Git says 6"),
            (&by_git, 0, "Git says 6"),
            (&by_hand, 9, ""),
            (&by_hand, 10, "9 run"),
            (&scaled, 10, ""),
            (&scaled, 11, "9 run, and it may be 2 to 10, set by HPA web"),
            (&scaled, -1, "9 run"),
            (&Grounds::default(), 1, ""),
            (&Grounds::default(), 500, "1 run"),
        ] {
            let told = told(&spec, &before, &State { replicas, ..before.clone() }, grounds);
            assert!(if expected.is_empty() { told.is_empty() } else { told.contains(expected) }, "{told}");
        }
    }

    #[test]
    fn only_what_was_scaled_to_zero_comes_back_from_there() {
        let (spec, grounds) = (canary(), Grounds::default());
        let state = |share, from_zero| State {
            setting: Setting { share, ..Setting::REST },
            from_zero,
            ..State::default()
        };
        assert_eq!(told(&spec, &state(100, false), &state(0, true), &grounds), "");
        assert_eq!(told(&spec, &state(0, true), &state(100, true), &grounds), "");
        assert!(told(&spec, &state(100, false), &state(100, true), &grounds).contains("not scaled to zero"));
    }

    #[test]
    fn pods_are_called_what_their_version_is_called() {
        let spec = blue_green();
        let setting = Setting { second: Some(Size::Count(0)), ..Setting::REST };
        let before = State { stable: version("a"), new: version("b"), ..State::default() };
        let after = |stable: Option<&str>, new: Option<&str>| State {
            stable_pods: stable.map(str::to_owned),
            new_pods: new.map(str::to_owned),
            setting: setting.clone(),
            ..before.clone()
        };
        let named = |name: &str, hash: &str| (name.to_owned(), hash.to_owned());
        let grounds = Grounds { pods: [named("p-a", "a"), named("p-b", "b")].into(), ..Grounds::default() };
        for (after, expected) in [
            (after(Some("p-a"), None), ""),
            (after(Some("p-a"), Some("p-b")), ""),
            (after(Some("p-b"), None), "no Pods of the promoted version are called \"p-b\""),
            (after(Some("evil"), None), "no Pods of the promoted"),
            (after(Some("p-a"), Some("p-a")), "no Pods of the new version"),
            (after(None, None), "not forgotten"),
        ] {
            let told = told(&spec, &before, &after, &grounds);
            assert!(if expected.is_empty() { told.is_empty() } else { told.contains(expected) }, "{told}");
        }
        // What was looked up once stays.
        let held = after(Some("p-a"), None);
        let later = State { at: 3, ..held.clone() };
        assert_eq!(told(&spec, &held, &later, &Grounds::default()), "");
        assert_eq!(new_names(&held, &later), Vec::<&str>::new());
        assert_eq!(new_names(&before, &after(Some("x"), Some("y"))), ["x", "y"]);
        let over = State { stable_pods: None, setting: Setting::REST, ..held.clone() };
        assert_eq!(told(&spec, &held, &over, &Grounds::default()), "");
    }

    #[test]
    fn only_the_new_version_is_refused() {
        let (spec, before) = (canary(), State { new: version("b"), ..State::default() });
        let after = |hash: &str| State { refused: Some(hash.into()), ..before.clone() };
        assert_eq!(told(&spec, &before, &after("b"), &Grounds::default()), "");
        assert!(told(&spec, &before, &after("c"), &Grounds::default()).contains("was not on its way in"));
        let retried = State { refused: None, ..after("b") };
        assert_eq!(told(&spec, &after("b"), &retried, &Grounds::default()), "");
    }

    #[test]
    fn a_record_is_of_who_asked() {
        let record = |id: &str, by: &str| {
            let (id, by) = (id.to_owned(), by.to_owned());
            Some(Record { id, verb: "promote".into(), by, reason: "INC-1".into(), at: 1 })
        };
        let asked =
            Request { id: "1".into(), verb: "promote".into(), by: "ada".into(), reason: "INC-1".into() };
        let (spec, before) = (canary(), State::default());
        let told = |record: Option<Record>, asked: Option<&Request>| {
            let after = State { record, ..State::default() };
            objection(&spec, (&before, &after), &Grounds::default(), asked).unwrap_or_default()
        };
        assert_eq!(told(record("1", "ada"), Some(&asked)), "");
        assert!(told(record("1", "bob"), Some(&asked)).contains("promote by bob"));
        let taken_back = record("1", "ada").map(|record| Record { verb: "abort".into(), ..record });
        assert!(told(taken_back, Some(&asked)).contains("abort by ada"));
        assert!(told(record("2", "ada"), Some(&asked)).contains("nobody has asked"));
        assert!(told(record("1", "ada"), None).contains("nobody has asked"));
        assert_eq!(told(None, None), "");
    }
}
