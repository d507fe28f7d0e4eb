//! What a cluster holds of an Application, and what a sync would do. Diff,
//! status and sync stand on the same survey.

use std::collections::{BTreeMap, BTreeSet};

use gitops_cluster::{Cluster, Discovery, Live};
use gitops_core::delegation::{Free, Grant};
use gitops_core::desired::{AppRef, DesiredSet};
use gitops_core::names::{ANNOTATION_OWNER, ANNOTATION_REVISION, LABEL_APPLICATION};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::{Action, Budget, Doubt, Options, Plan, Select, plan};
use gitops_core::schema::Schemas;
use gitops_core::verdict::Policy;
use serde_json::Value;

use crate::desired::{Environment, desired};
use crate::error::EngineError;
use crate::load::Loaded;
use crate::memory::{Memory, Places, expiring};
use crate::sync::{Outcome, Report};

/// Earlier commits that are rendered to find out what they declared.
const MAX_EARLIER: usize = 20;

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
    /// The Applications of the same file, which need not be in the cluster.
    pub beside: BTreeSet<AppRef>,
    /// Objects that Git no longer declares here and that are let be, and why.
    pub held: BTreeMap<ObjectKey, String>,
}

impl Survey {
    /// What speaks against pruning what the plan says, of what is selected.
    pub fn doubt(&self, budget: Budget, select: &Select, allow_empty: bool) -> Option<Doubt> {
        let mut plan = self.plan.clone();
        plan.steps.retain(|step| {
            let object = self.live.get(&step.key);
            step.action != Action::Prune
                || !self.held.contains_key(&step.key)
                    && select.takes(&step.key, &step.gvk, step.action, object)
        });
        budget.doubt(&plan, allow_empty)
    }
}

/// Lists what is there and plans what would change. Nothing is written to the
/// cluster.
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
) -> Result<Survey, EngineError> {
    let memory = Memory::of(&environment.cache_dir, cluster.server(), &loaded.application);
    let places = memory.read();
    let kinds: BTreeSet<Gvk> = set.objects.values().map(|object| object.gvk.clone()).collect();
    let wanted = wanted(&set, &places);
    let (live, schemas) = tokio::try_join!(cluster.list(discovery, &wanted), cluster.schemas(&kinds))?;
    let earlier = earlier(loaded, environment, discovery, &set, &live).await?;
    let options = loaded.sync_options()?;
    let mut plan = plan(&set, |key| live.get(key), &earlier, &schemas, &policy(loaded)?, &options)
        .map_err(EngineError::Desired)?;
    for step in plan.steps.iter_mut().filter(|step| step.action == Action::Create) {
        let known = expiring(set.objects.get(&step.key));
        if known.is_some_and(|(name, hash)| places.run.get(&name) == Some(&hash)) {
            step.action = Action::Unchanged;
        }
    }
    let (discovery, moved, beside, held) =
        (discovery.clone(), BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    Ok(Survey { desired: set, live, plan, schemas, discovery, options, moved, beside, held })
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

/// Where to look: the kinds and namespaces of this commit and those remembered.
fn wanted(set: &DesiredSet, places: &Places) -> BTreeMap<Gvk, BTreeSet<String>> {
    let mut wanted: BTreeMap<Gvk, BTreeSet<String>> = BTreeMap::new();
    for (key, object) in &set.objects {
        wanted.entry(object.gvk.clone()).or_default().insert(key.namespace.clone());
    }
    for gvk in &places.kinds {
        wanted.entry(gvk.clone()).or_default().extend(places.namespaces.iter().cloned());
    }
    wanted
}

/// What is remembered after a survey: everything declared now, and what is
/// still there from before.
pub(crate) fn remember(cluster: &Cluster, loaded: &Loaded, environment: &Environment, survey: &Survey) {
    let memory = Memory::of(&environment.cache_dir, cluster.server(), &loaded.application);
    let before = memory.read();
    let mut places = Places { run: before.run, hooks: before.hooks, ..Places::default() };
    places.run.retain(|name, _| {
        let declared = survey.desired.objects.values().filter_map(|object| expiring(Some(object)));
        declared.into_iter().any(|(known, _)| known == *name)
    });
    let mut note = |key: &ObjectKey, gvk: &Gvk| {
        places.kinds.insert(gvk.clone());
        places.namespaces.insert(key.namespace.clone());
    };
    survey.desired.objects.values().for_each(|object| note(&object.key, &object.gvk));
    survey.plan.steps.iter().for_each(|step| note(&step.key, &step.gvk));
    memory.write(&places);
}

/// Remembers the Jobs that a sync has made, or found as Git says.
pub(crate) fn remember_run(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &Survey,
    report: &Report,
) {
    let memory = Memory::of(&environment.cache_dir, cluster.server(), &loaded.application);
    let mut places = memory.read();
    let done = report.results.iter().filter(|result| matches!(result.outcome, Outcome::Done));
    places.run.extend(done.filter_map(|result| expiring(survey.desired.objects.get(&result.key))));
    memory.write(&places);
}

/// Live objects that an earlier commit declared and this one does not. A label
/// alone proves nothing: the commit that an object names is rendered again,
/// and has to declare it.
async fn earlier(
    loaded: &Loaded,
    environment: &Environment,
    discovery: &Discovery,
    set: &DesiredSet,
    live: &Live,
) -> Result<Vec<(ObjectKey, Gvk)>, EngineError> {
    let owner = loaded.application.to_string();
    let mut by_revision: BTreeMap<String, Vec<(ObjectKey, Gvk)>> = BTreeMap::new();
    for (key, object) in live.iter() {
        let mark = |field: &str, name: &str| object.get("metadata")?.get(field)?.get(name)?.as_str();
        let ours = mark("labels", LABEL_APPLICATION) == Some(&loaded.application.name)
            && mark("annotations", ANNOTATION_OWNER) == Some(&owner);
        if !ours
            || set.objects.contains_key(key)
            || object.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
        {
            continue;
        }
        if let (Some(revision), Ok(gvk)) = (mark("annotations", ANNOTATION_REVISION), Gvk::of(object)) {
            by_revision.entry(revision.to_owned()).or_default().push((key.clone(), gvk));
        }
    }
    let mut found = Vec::new();
    for (revision, objects) in by_revision.into_iter().take(MAX_EARLIER) {
        match desired(loaded, environment, &revision, discovery).await {
            Ok(before) => {
                found.extend(objects.into_iter().filter(|(key, _)| before.objects.contains_key(key)))
            }
            Err(error) => {
                tracing::warn!(%revision, %error, "what this commit declared is not known; nothing of it is pruned")
            }
        }
    }
    Ok(found)
}
