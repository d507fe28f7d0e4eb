//! What goes when an Application is deleted. In: a survey, and what a person
//! agrees to. Out: the objects that go, and those that stay and why.

use std::fmt;

use gitops_core::names::{ANNOTATION_OWNER, LABEL_APPLICATION};
use gitops_core::plan::{Action, HookStep, Options, Phase, Pruning, Stage, Step};
use serde_json::Value;

use crate::load::Loaded;
use crate::survey::Survey;

/// What goes takes what is in it along.
const CONTAINERS: [&str; 3] = ["Namespace", "CustomResourceDefinition", "PersistentVolumeClaim"];

/// What somebody agrees to; nobody does by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Namespaces, definitions and claims go, and what is in them.
    pub contents: bool,
    /// What says `Delete=confirm` goes.
    pub confirmed: bool,
}

/// Why an object stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It is another's.
    Foreign(String),
    /// No sync has written it.
    Nobodys,
    /// Git says so.
    Never,
    /// Git asks for a confirmation.
    Unconfirmed,
    /// What is in it would go along.
    Container,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(owner) => write!(f, "it belongs to {owner}"),
            Self::Nobodys => f.write_str("no sync has written it"),
            Self::Never => f.write_str("Git says Delete=false"),
            Self::Unconfirmed => f.write_str("Git says Delete=confirm"),
            Self::Container => f.write_str("what is in it would go along"),
        }
    }
}

/// What of a survey goes, and what stays.
pub fn sorted<'a>(
    loaded: &Loaded,
    survey: &'a Survey,
    consent: Consent,
) -> (Vec<&'a Step>, Vec<(&'a Step, Stays)>) {
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    for step in &survey.plan.steps {
        let Some(live) = survey.live.get(&step.key) else { continue };
        let asked = match step.options.delete {
            Some(Pruning::Never) => Some(Stays::Never),
            Some(Pruning::Confirm) if !consent.confirmed => Some(Stays::Unconfirmed),
            _ => None,
        };
        match why_it_stays(loaded, live, &step.key.kind, consent.contents).or(asked) {
            Some(why) => staying.push((step, why)),
            None => going.push(step),
        }
    }
    (going, staying)
}

/// Hooks of earlier runs that are still there, but for those that this deletion
/// runs itself.
pub fn left_behind(loaded: &Loaded, survey: &Survey, runs_hooks: bool) -> Vec<Step> {
    let runs = |hook: &&HookStep| matches!(hook.phase, Phase::PreDelete | Phase::PostDelete) && runs_hooks;
    let mut steps: Vec<Step> = Vec::new();
    for hook in survey.plan.hooks.iter().filter(|hook| !runs(hook)) {
        let Some(live) = survey.live.get(&hook.key) else { continue };
        let known = steps.iter().any(|step| step.key == hook.key);
        if known || why_it_stays(loaded, live, &hook.key.kind, false).is_some() {
            continue;
        }
        steps.push(Step {
            key: hook.key.clone(),
            gvk: hook.gvk.clone(),
            action: Action::Prune,
            differences: Vec::new(),
            stage: Stage::Prune,
            wave: hook.wave,
            group: 0,
            options: Options::default(),
        });
    }
    steps
}

fn why_it_stays(loaded: &Loaded, live: &Value, kind: &str, with_contents: bool) -> Option<Stays> {
    let mark = |field: &str, name: &str| live.get("metadata")?.get(field)?.get(name)?.as_str();
    let owner = mark("annotations", ANNOTATION_OWNER);
    if owner != Some(loaded.application.to_string().as_str())
        || mark("labels", LABEL_APPLICATION) != Some(loaded.application.name.as_str())
    {
        return Some(owner.map_or(Stays::Nobodys, |owner| Stays::Foreign(owner.to_owned())));
    }
    (CONTAINERS.contains(&kind) && !with_contents).then_some(Stays::Container)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_its_own_goes() {
        let loaded = crate::fixture::loaded();
        let live = |owner: &str, name: &str| json!({"metadata": {"labels": {"kubectl-gitops.dev/application": name}, "annotations": {"kubectl-gitops.dev/owner": owner}}});
        let why = |live: &Value, kind: &str, all: bool| why_it_stays(&loaded, live, kind, all);
        assert_eq!(why(&live("shop/web", "web"), "Deployment", false), None);
        assert_eq!(why(&live("shop/db", "db"), "Deployment", true), Some(Stays::Foreign("shop/db".into())));
        assert_eq!(why(&json!({"metadata": {}}), "Deployment", true), Some(Stays::Nobodys));
        assert_eq!(why(&live("shop/web", "web"), "Namespace", false), Some(Stays::Container));
        assert_eq!(why(&live("shop/web", "web"), "Namespace", true), None);
    }
}
