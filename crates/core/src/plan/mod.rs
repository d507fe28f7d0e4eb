//! What a sync would do. In: the desired set, the live objects, what an
//! earlier commit declared. Out: steps in order, each with its differences,
//! and the hooks to be run between them.

pub mod annotations;
pub mod budget;
pub mod depends;
mod hooks;
pub mod options;
mod order;
pub mod select;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::compare::{CompareOptions, Difference, compare, mask_message};
use crate::delegation::Delegated;
use crate::desired::{DesiredError, DesiredObject, DesiredSet};
use crate::object::{Gvk, ObjectKey};
use crate::schema::Schemas;
use crate::verdict::Policy;

pub use annotations::{DeletePolicy, Phase, Role, is_hook};
pub use budget::{Budget, Doubt};
pub use hooks::{HookState, hook_state};
pub use options::{Conflicts, Options, Propagation, Pruning};
pub use order::order_of;
pub use select::Select;

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Update,
    Prune,
    Unchanged,
}

/// What is done first, and what last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Apply,
    Prune,
    /// After everything else is healthy.
    PruneLast,
}

/// One object's part of a sync.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub action: Action,
    /// For updates: what differs from Git.
    pub differences: Vec<Difference>,
    pub stage: Stage,
    pub wave: i32,
    /// Steps of one group may run side by side; groups run one after another.
    pub group: u32,
    /// The object's own and its Application's.
    pub options: Options,
}

impl Step {
    /// Whether it would be pruned but asks to stay.
    pub fn is_kept(&self) -> bool {
        self.action == Action::Prune && self.options.prune == Some(Pruning::Never)
    }

    /// Whether a person has to say that it may be pruned.
    pub fn asks(&self) -> bool {
        self.action == Action::Prune && self.options.prune == Some(Pruning::Confirm)
    }
}

/// Something to be run in a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookStep {
    pub key: ObjectKey,
    pub gvk: Gvk,
    pub phase: Phase,
    pub wave: i32,
    /// Its kind's place, as for steps of one wave.
    pub order: u32,
    pub delete: BTreeSet<DeletePolicy>,
}

/// Steps in the order in which they are carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// By phase, wave, kind and name. They are no state: never drift, never
    /// pruned.
    pub hooks: Vec<HookStep>,
    /// How many objects Git declares, hooks left out.
    pub declared: usize,
}

impl Plan {
    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Unchanged)
    }

    /// How many steps have this action.
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }
}

/// The plan that brings the live objects to what Git says. `earlier` are live
/// objects that an earlier commit declared and this one does not; `policy`
/// says what is left to others; `options` are the Application's. Objects that are
/// there and the `same`, as an earlier comparison of just these two has found, are
/// not compared.
///
/// # Errors
/// When an annotation in Git that says how to sync cannot be read.
pub fn plan<'a>(
    desired: &DesiredSet,
    live: impl Fn(&ObjectKey) -> Option<&'a Value>,
    earlier: &[(ObjectKey, Gvk)],
    schemas: &Schemas,
    policy: &Policy,
    options: &Options,
    same: impl Fn(&ObjectKey) -> bool,
) -> Result<Plan, Vec<DesiredError>> {
    let delegated = desired.delegated();
    let (mut plan, mut errors) = (Plan::default(), Vec::new());
    for (key, object) in &desired.objects {
        let (role, wave, own) = match read(object) {
            Ok(read) => read,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        match role {
            Role::Skip => continue,
            Role::Hook(hook) => {
                plan.hooks.extend(hook.phases.iter().map(|phase| HookStep {
                    key: key.clone(),
                    gvk: object.gvk.clone(),
                    phase: *phase,
                    wave,
                    order: order_of(&key.kind),
                    delete: hook.delete.clone(),
                }));
                continue;
            }
            Role::Kept => plan.declared += 1,
        }
        let live = if same(key) { None } else { Some(live(key)) };
        let (action, differences) = match live {
            None => (Action::Unchanged, Vec::new()),
            Some(None) => (Action::Create, Vec::new()),
            Some(Some(live)) => {
                let differences = differences(object, live, schemas, policy, &delegated);
                (if differences.is_empty() { Action::Unchanged } else { Action::Update }, differences)
            }
        };
        plan.steps.push(Step {
            key: key.clone(),
            gvk: object.gvk.clone(),
            action,
            differences,
            stage: Stage::Apply,
            wave,
            group: 0,
            options: own.over(options),
        });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let gone = earlier.iter().filter(|(key, _)| !desired.objects.contains_key(key));
    plan.steps.extend(gone.filter_map(|(key, gvk)| prune(key, gvk, live(key), options)));
    arrange(&mut plan);
    Ok(plan)
}

/// What is otherwise in the cluster than Git says, but for what is left to others.
pub fn differences(
    object: &DesiredObject,
    live: &Value,
    schemas: &Schemas,
    policy: &Policy,
    delegated: &Delegated,
) -> Vec<Difference> {
    let free = policy.free(&object.key, delegated.of(&object.key));
    let options = CompareOptions { world: policy.world(&object.gvk), free: &free };
    compare(schemas, &object.gvk, &object.value, live, &options)
}

/// What an object in Git says about its sync.
fn read(object: &DesiredObject) -> Result<(Role, i32, Options), DesiredError> {
    let read = || {
        let value = object.value.notes();
        Ok((annotations::role(value)?, annotations::wave(value)?, annotations::options(value)?))
    };
    read().map_err(|mistake: annotations::Mistake| DesiredError::Invalid {
        origin: object.origin.to_string(),
        gvk: object.gvk.clone(),
        name: object.key.name.clone(),
        reason: mask_message(&mistake.to_string(), object),
    })
}

/// Whether an object stays when Git no longer declares it, without being counted:
/// hooks are left to their own delete policies, and what is not to be counted is let
/// be.
pub fn is_never_pruned(live: &Value) -> bool {
    is_hook(live) || annotations::may_be_extraneous(live)
}

/// What Git no longer declares goes as the live object says; one whose word
/// cannot be read stays.
fn prune(key: &ObjectKey, gvk: &Gvk, live: Option<&Value>, options: &Options) -> Option<Step> {
    if live.is_some_and(is_never_pruned) {
        return None;
    }
    let own = live.map_or_else(|| Ok(Options::default()), annotations::options);
    let options =
        own.unwrap_or_else(|_| Options { prune: Some(Pruning::Never), ..Options::default() }).over(options);
    Some(Step {
        key: key.clone(),
        gvk: gvk.clone(),
        action: Action::Prune,
        differences: Vec::new(),
        stage: if options.prune_last == Some(true) { Stage::PruneLast } else { Stage::Prune },
        wave: live.and_then(|live| annotations::wave(live).ok()).unwrap_or(0),
        group: 0,
        options,
    })
}

/// By stage, wave, kind and name; what is pruned goes the other way round.
fn arrange(plan: &mut Plan) {
    let place = |step: &Step| {
        let (wave, kind) = (i64::from(step.wave), i64::from(order_of(&step.key.kind)));
        if step.stage == Stage::Apply { (step.stage, wave, kind) } else { (step.stage, -wave, -kind) }
    };
    let prunes = plan.steps.iter().position(|step| step.stage != Stage::Apply).unwrap_or(plan.steps.len());
    plan.steps[prunes..].sort_by(|a, b| b.key.cmp(&a.key));
    // Those of one kind are in order already, and stay so.
    plan.steps.sort_by(|a, b| {
        place(a).cmp(&place(b)).then_with(|| match a.stage {
            Stage::Apply => a.key.kind.cmp(&b.key.kind),
            Stage::Prune | Stage::PruneLast => Ordering::Equal,
        })
    });
    let (mut group, mut before) = (0, None);
    for step in &mut plan.steps {
        let here = place(step);
        if before.is_some_and(|before| before != here) {
            group += 1;
        }
        before = Some(here);
        step.group = group;
    }
    plan.hooks.sort_by(|a, b| {
        (a.phase, a.wave, a.order, &a.key.kind, &a.key).cmp(&(b.phase, b.wave, b.order, &b.key.kind, &b.key))
    });
}
