//! What a cluster holds of an Application, and what a sync would do. Diff,
//! status and sync stand on the same survey.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use gitops_cluster::{Cluster, Discovery, Live, Marks};
use gitops_core::delegation::{Free, Grant};
use gitops_core::desired::{AppRef, DesiredObject, DesiredSet};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Action, Budget, Doubt, Options, Plan, Select, Step, plan};
use gitops_core::schema::Schemas;
use gitops_core::verdict::Policy;

use crate::ahead::{self, Ahead, Reads, Wanted};
use crate::desired::Environment;
use crate::earlier::{Earlier, earlier};
use crate::error::EngineError;
use crate::known::{self, Known};
use crate::lists::Lists;
use crate::load::Loaded;
use crate::memory::{Memory, Places, expiring, may_expire};
use crate::places::{self, Synced};
use crate::rollout::gate::{Ground, Rolling, resources};
use crate::sync::{Outcome, Report};

/// The cluster's state beside Git's.
#[derive(Clone, Debug)]
pub struct Survey {
    pub desired: DesiredSet,
    pub live: Live,
    pub plan: Plan,
    pub schemas: Schemas,
    pub discovery: Discovery,
    /// The Application's sync options.
    pub options: Options,
    /// Objects that were another Application's and are this one's now.
    pub moved: BTreeSet<ObjectKey>,
    /// Applications of the same file that own objects which are there. They
    /// need not be in the cluster.
    pub beside: BTreeSet<AppRef>,
    /// Objects that Git no longer declares here and that are let be, and why.
    pub held: BTreeMap<ObjectKey, String>,
    /// The Rollouts that Git declares, which are worked into the desired set.
    pub rollouts: Vec<Rolling>,
    /// What the newest commit itself says of the objects that Rollouts change.
    plain: BTreeMap<ObjectKey, Option<DesiredObject>>,
    /// Second workloads of Rollouts that are over: they go whatever is said of
    /// pruning.
    pub leftovers: BTreeSet<ObjectKey>,
    /// What was remembered of the Application.
    places: Places,
    /// Where else it may have objects: what may not be listed, and what bears its marks.
    elsewhere: Wanted,
}

impl Survey {
    /// What speaks against pruning what the plan says, of what is selected.
    pub fn doubt(&self, budget: Budget, select: &Select, allow_empty: bool) -> Option<Doubt> {
        let goes = |step: &Step| {
            !self.held.contains_key(&step.key)
                && !self.leftovers.contains(&step.key)
                && select.takes(&step.key, &step.gvk, step.action, self.live.get(&step.key))
        };
        if self.plan.count(Action::Prune) == 0 {
            return None;
        }
        // What stays counts, too: the budget is a share of all.
        let mut plan = self.plan.clone();
        plan.steps.retain(|step| step.action != Action::Prune || goes(step));
        budget.doubt(&plan, allow_empty)
    }

    /// The name and the hash under which a declared Job is remembered.
    pub(crate) fn expiring(&self, key: &ObjectKey) -> Option<(String, String)> {
        if may_expire(key) { expiring(self.desired.objects.get(key)?) } else { None }
    }

    /// Where objects are, and where a sync makes some: everything declared now, and
    /// what is still there from before.
    pub fn places(&self) -> Places {
        self.places_after(self.places.clone())
    }

    fn places_after(&self, before: Places) -> Places {
        let jobs: BTreeSet<String> =
            self.desired.objects.values().filter_map(expiring).map(|(name, _)| name).collect();
        let (kinds, namespaces) =
            (self.elsewhere.keys().cloned().collect(), self.elsewhere.values().flatten().cloned().collect());
        let mut places = Places { kinds, namespaces, ..before };
        places.run.retain(|name, _| jobs.contains(name));
        let declared = self.desired.objects.values().map(|object| (&object.gvk, &object.key));
        let steps = self.plan.steps.iter().map(|step| (&step.gvk, &step.key));
        for (gvk, namespaces) in places::of(declared.chain(steps)) {
            places.kinds.insert(gvk);
            places.namespaces.extend(namespaces);
        }
        places
    }

    /// Whether an object that Git no longer declares goes.
    pub fn prunes(&self, key: &ObjectKey, wanted: bool) -> bool {
        wanted || self.leftovers.contains(key)
    }

    /// The same after a sync, from what its writes were answered
    /// ([`crate::SyncOptions::answers`]). None where only the API server can tell:
    /// something was deleted, run or refused, or is not this Application's alone.
    ///
    /// # Errors
    /// When the Application holds what cannot be read.
    pub fn after(
        mut self,
        cluster: &Cluster,
        loaded: &Loaded,
        environment: &Environment,
        report: Report,
    ) -> Result<Option<Self>, EngineError> {
        let policy = policy(loaded)?;
        let is_its_own = self.moved.is_empty() && self.held.is_empty() && self.rollouts.is_empty();
        // Answers do not tell who holds a field after the last write.
        let by_manager = policy.grants.iter().any(|grant| grant.free.manager.is_some());
        let is_whole = !report.interrupted && !report.lost && !report.timed_out && report.broken.is_none();
        if !is_its_own || by_manager || !is_whole {
            return Ok(None);
        }
        for result in report.results {
            match (result.action, result.outcome, result.answer) {
                _ if result.hook.is_some() => return Ok(None),
                (Action::Unchanged, Outcome::Done, Some(answer)) if result.marked => {
                    self.live.put(result.key, answer);
                }
                (Action::Unchanged, Outcome::Done, _) | (Action::Prune, Outcome::Skipped(_), _) => {}
                (Action::Create | Action::Update, Outcome::Done, Some(answer)) => {
                    self.live.put(result.key, answer);
                }
                _ => return Ok(None),
            }
        }
        let prunes = self.plan.steps.iter().filter(|step| step.action == Action::Prune);
        let earlier: Vec<(ObjectKey, Gvk)> =
            prunes.map(|step| (step.key.clone(), step.gvk.clone())).collect();
        let memory = Memory::at(cluster, environment, &loaded.application);
        let known = (&self.schemas, &policy, &self.options);
        let unchanged = self.plan.steps.iter().filter(|step| step.action == Action::Unchanged);
        let same: HashSet<&ObjectKey> = unchanged.map(|step| &step.key).collect();
        let is_same = |key: &ObjectKey| same.contains(key);
        self.plan = planned((&self.desired, &self.live, &earlier), known, &memory.read(), is_same)?;
        Ok(Some(self))
    }

    /// What the newest commit declares, without what Rollouts make of it.
    pub fn declared(self) -> DesiredSet {
        let mut set = self.desired;
        for (key, object) in self.plain {
            match object {
                Some(object) => set.objects.insert(key, object),
                None => set.objects.remove(&key),
            };
        }
        set
    }
}

/// How a survey looks at a cluster.
#[derive(Debug)]
pub struct Looking {
    /// What is listed already is not asked for.
    pub ahead: Option<Ahead>,
    pub synced: Synced,
    pub reads: Reads,
    /// Shared with others that nobody has ever synced: nothing was written for this
    /// one a moment ago.
    pub lists: Option<Arc<Lists>>,
}

/// Lists what is there and plans what would change, with Rollouts worked in.
/// Nothing is written to the cluster.
///
/// # Errors
/// When the API server cannot be asked.
#[tracing::instrument(name = "compare", skip_all, fields(application = %loaded.application, revision = set.revision, objects = set.objects.len()))]
pub async fn survey(
    cluster: &Cluster,
    discovery: &Discovery,
    loaded: &Loaded,
    environment: &Environment,
    set: DesiredSet,
    looking: Looking,
) -> Result<Survey, EngineError> {
    let Looking { mut ahead, synced, reads, lists: shared } = looking;
    let memory = Memory::at(cluster, environment, &loaded.application);
    let ground = Ground { cluster, discovery, loaded, environment };
    let (set, rollouts, plain) = gated(&ground, set).await?;
    let declared = places::of(set.objects.values().map(|object| (&object.gvk, &object.key)));
    let kinds = declared.keys().cloned().collect();
    let policy = policy(loaded)?;
    let form = |gvk: &Gvk| reads.form(&policy, gvk);
    let early = match &mut ahead {
        Some(ahead) => (ahead.schemas(&kinds).await, ahead.noted().await),
        None => (None, None),
    };
    let lists = ahead::list((cluster, discovery), declared, form, ahead, shared.as_deref());
    let schemas = async {
        match early.0 {
            Some(schemas) => Ok(schemas),
            None => Ok(cluster.schemas(&kinds).await?),
        }
    };
    let places = places::find((cluster, discovery), loaded, &memory, &set, synced, early.1);
    let lists = async { Ok(lists.await?) };
    let ((mut live, listed), schemas, places) = tokio::try_join!(lists, schemas, places)?;
    let mut elsewhere = places::list_beside((cluster, discovery), &listed, &places, form, &mut live).await?;
    let delegated = set.delegated();
    let version = &environment.kube_version;
    let ground = known::Ground { version, schemas: &schemas, policy: &policy, delegated: &delegated };
    let mut known = Known::read(&memory, reads, ground);
    known.look(&set, &live);
    if reads == Reads::Changed {
        let own = loaded.application.to_string();
        // Who drives a Rollout reads its workloads, whatever Git says of them.
        let is_read = |key: &ObjectKey, marks: &Marks| {
            let is_own = marks.owner.as_ref().is_some_and(|owner| **owner == own);
            let is_left = is_own && rollouts.is_empty() && known.is_known(key);
            !is_left && (is_own || set.objects.contains_key(key))
        };
        // It is known by now, and as large as the rest.
        live.forget_seals();
        let changed = cluster.unseal(discovery, &mut live, is_read).await?;
        known.forget(&changed);
    }
    let Earlier { found: earlier, leftovers, marked } =
        earlier(loaded, environment, discovery, &set, &live).await?;
    for (key, gvk) in marked {
        elsewhere.entry(gvk).or_default().insert(key.namespace);
    }
    let options = loaded.sync_options()?;
    let same = known.same(&set, &live)?;
    let is_same = |key: &ObjectKey| same.contains(key);
    let plan = planned((&set, &live, &earlier), (&schemas, &policy, &options), &places, is_same)?;
    known.keep(&plan);
    let (discovery, moved, beside, held) =
        (discovery.clone(), BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let survey = Survey {
        desired: set,
        live,
        plan,
        schemas,
        discovery,
        options,
        moved,
        beside,
        held,
        rollouts,
        plain,
        leftovers,
        places,
        elsewhere,
    };
    // Nobody syncs what is as Git says, and it may leave Git later.
    if survey.plan.is_settled() {
        memory.write(&survey.places());
    }
    Ok(survey)
}

/// What differs. A Job that has run and is gone is not made again. What is the
/// `same` is not compared.
fn planned(
    (set, live, earlier): (&DesiredSet, &Live, &[(ObjectKey, Gvk)]),
    (schemas, policy, options): (&Schemas, &Policy, &Options),
    places: &Places,
    same: impl Fn(&ObjectKey) -> bool,
) -> Result<Plan, EngineError> {
    let mut plan = plan(set, |key| live.get(key), earlier, schemas, policy, options, same)
        .map_err(EngineError::Desired)?;
    let creates = |step: &&mut Step| step.action == Action::Create && may_expire(&step.key);
    for step in plan.steps.iter_mut().filter(creates) {
        let known = set.objects.get(&step.key).and_then(expiring);
        if known.is_some_and(|(name, hash)| places.run.get(&name) == Some(&hash)) {
            step.action = Action::Unchanged;
        }
    }
    Ok(plan)
}

/// What a commit itself says of objects that Rollouts change.
pub type Plain = BTreeMap<ObjectKey, Option<DesiredObject>>;

/// The set with its Rollouts worked in, the Rollouts as they stand, and what the
/// set said before of the objects that changed.
///
/// # Errors
/// When the API server cannot be asked, or a version is not to be found in Git.
pub async fn gated(
    ground: &Ground<'_>,
    mut set: DesiredSet,
) -> Result<(DesiredSet, Vec<Rolling>, Plain), EngineError> {
    let keys = resources(set.objects.values().map(|object| (&object.key, &object.gvk)));
    if keys.is_empty() {
        return Ok((set, Vec::new(), Plain::new()));
    }
    let mut rollouts = ground.rollouts(&set, &keys, &set.revision).await?;
    let overlay = ground.overlay(&set, &mut rollouts, &set.revision).await?;
    let mut plain = Plain::new();
    for (key, object) in overlay {
        plain.insert(key.clone(), set.objects.insert(key, object));
    }
    Ok((set, rollouts, plain))
}

/// What an Application leaves to others. A restart is a request of its time and
/// no difference afterwards.
///
/// # Errors
/// When it or its Project holds a path that cannot be read.
pub fn policy(loaded: &Loaded) -> Result<Policy, EngineError> {
    let mut policy = loaded.policy()?;
    if let Ok(path) = "spec.template.metadata.annotations[\"kubectl.kubernetes.io/restartedAt\"]".parse() {
        policy.grants.push(Grant { group: None, kind: "*".into(), name: "*".into(), free: Free::any(path) });
    }
    Ok(policy)
}

/// Remembers where a survey has found objects, and where a sync of it makes some.
pub(crate) fn remember(cluster: &Cluster, loaded: &Loaded, environment: &Environment, survey: &Survey) {
    let memory = Memory::at(cluster, environment, &loaded.application);
    let before = memory.read();
    memory.write(&survey.places_after(Places { deleting: false, ..before }));
}

/// Remembers the Jobs that a sync has made, or found as Git says.
pub(crate) fn remember_run(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &Survey,
    report: &Report,
) {
    let memory = Memory::at(cluster, environment, &loaded.application);
    let done = report.results.iter().filter(|result| matches!(result.outcome, Outcome::Done));
    memory.advance(|places| places.run.extend(done.filter_map(|result| survey.expiring(&result.key))));
}
