//! One object's write. In: a step of the plan. Out: what became of it. What is
//! refused for a moment is tried again, from what is there by then.

use std::collections::BTreeMap;
use std::time::Duration;

use gitops_cluster::{ApplyOptions, ClusterError, DeleteOptions, Discovery, ErrorKind, Kind};
use gitops_core::compare::{CompareOptions, Difference, Op, compare, mask};
use gitops_core::delegation::{Delegated, begin, carry};
use gitops_core::desired::{AppRef, DesiredObject, stamp};
use gitops_core::names::GROUP;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::path::Path;
use gitops_core::plan::{Action, Options, Step};
use gitops_core::verdict::Policy;
use serde_json::Value;

use super::marking::is_unmarked;
use super::waiting::generation;
use super::{DryRun, Outcome, Result, Run, adopt, hooks, patch};
use crate::contest::{conflict, contested};
use crate::error::EngineError;

/// What a write left behind.
#[derive(Debug, Default)]
struct Written {
    generation: i64,
    note: String,
    /// The object as it is now.
    answer: Option<Value>,
    marked: bool,
}

impl Written {
    fn now(answer: Value, note: impl Into<String>) -> Self {
        Self { generation: generation(&answer), note: note.into(), answer: Some(answer), marked: false }
    }
}

/// Everything that a write takes.
pub(super) struct Worker<'a> {
    pub(super) run: &'a Run<'a>,
    policy: Policy,
    delegated: Delegated,
    /// Objects that are another Application's.
    contested: BTreeMap<ObjectKey, AppRef>,
}

impl<'a> Worker<'a> {
    pub(super) async fn new(run: &'a Run<'a>) -> std::result::Result<Self, EngineError> {
        let (policy, delegated) = (run.loaded.policy()?, run.survey.desired.delegated());
        let contested = contested(run.cluster, &run.survey.discovery, run.loaded, run.survey).await?;
        Ok(Self { run, policy, delegated, contested })
    }

    /// Whether it failed because it is another Application's: that stops
    /// nothing else.
    pub(super) fn is_contested(&self, key: &ObjectKey) -> bool {
        self.contested.contains_key(key)
    }

    /// Does one step; `failure` is why nothing is done any more.
    pub(super) async fn step(&self, step: &Step, discovery: &Discovery, failure: Option<&str>) -> Result {
        let (outcome, written) = match self.carry_out(step, discovery, failure).await {
            Ok(written) => (Outcome::Done, written),
            Err(outcome) => (outcome, Written::default()),
        };
        Result {
            key: step.key.clone(),
            gvk: step.gvk.clone(),
            action: step.action,
            differences: step.differences.clone(),
            outcome,
            generation: written.generation,
            answer: written.answer.filter(|_| self.run.options.answers),
            is_expiring: self.run.survey.expiring(&step.key).is_some(),
            health: None,
            hook: None,
            note: written.note,
            marked: written.marked,
        }
    }

    async fn carry_out(
        &self,
        step: &Step,
        discovery: &Discovery,
        failure: Option<&str>,
    ) -> std::result::Result<Written, Outcome> {
        let skipped = |reason: &str| Err(Outcome::Skipped(reason.to_owned()));
        let options = self.run.options;
        if let Some(owner) = self.contested.get(&step.key) {
            return Err(Outcome::Failed(conflict(&step.key, owner, &self.run.loaded.application)));
        }
        if let Some(reason) = self.run.survey.held.get(&step.key) {
            return skipped(reason);
        }
        if step.action == Action::Unchanged {
            return Ok(self.mark(step, discovery).await);
        }
        if let Some(reason) = self.run.stop.before_write().await.or(failure) {
            return skipped(reason);
        }
        if step.is_kept() {
            return skipped("it is to be kept (Prune=false)");
        }
        if step.action == Action::Prune && !self.run.survey.prunes(&step.key, options.prune) {
            return skipped("pruning was not asked for (--prune)");
        }
        if options.dry_run == DryRun::Client {
            return Ok(Written::default());
        }
        match self.tried_again(step, discovery).await {
            Err(error) if self.is_unchecked(&step.key, &step.gvk, &error, discovery) => {
                self.elsewhere(step, discovery).await
            }
            other => other.map_err(Outcome::Failed),
        }
    }

    /// Marks an object that is as Git says. It stays as it is where that is refused.
    async fn mark(&self, step: &Step, discovery: &Discovery) -> Written {
        let (run, key) = (self.run, &step.key);
        let writes = run.options.dry_run == DryRun::None;
        // Before anything is read: of most objects nothing is.
        if !writes || !is_unmarked(step, run.survey) || run.stop.before_write().await.is_some() {
            return Written::default();
        }
        let (object, live) = (run.survey.desired.objects.get(key), run.survey.live.get(key));
        let known = object.zip(live).zip(discovery.kind(&step.gvk));
        let Some(((object, live), kind)) = known else { return Written::default() };
        let stamped = self.stamped(object, Some(live), kind);
        // Never made anew for that.
        let options = Options { replace: None, ..step.options.clone() };
        let step = &Step { options, ..step.clone() };
        match self.change(step, kind, &stamped, Some(live), &[]).await {
            Ok(written) => Written { marked: true, ..written },
            Err(error) => {
                tracing::info!(object = %key, %error, "it is as Git says, but cannot be marked");
                Written::default()
            }
        }
    }

    /// A webhook that has not heard of the commit yet refuses at first, and
    /// asks Git meanwhile. What has changed since the survey is looked at anew.
    async fn tried_again(
        &self,
        step: &Step,
        discovery: &Discovery,
    ) -> std::result::Result<Written, ClusterError> {
        const TRIES: u32 = 3;
        let mut live = self.run.survey.live.get(&step.key).cloned();
        let mut differences = step.differences.clone();
        for attempt in 1.. {
            let result = match (step.action, self.run.survey.desired.objects.get(&step.key)) {
                (Action::Prune, _) => self.prune(step, live.as_ref(), discovery).await,
                (_, Some(object)) => self.write(step, object, live.as_ref(), &differences, discovery).await,
                (_, None) => Ok(Written::default()),
            };
            match result {
                Err(ClusterError::Denied { webhook, .. }) if attempt < TRIES && webhook.ends_with(GROUP) => {
                    tokio::time::sleep(Duration::from_millis(700)).await;
                }
                Err(ClusterError::Conflict { .. }) if attempt < TRIES && step.action != Action::Prune => {
                    let Some(kind) = discovery.kind(&step.gvk) else { return result };
                    live = self.run.cluster.get(kind, &step.key).await?;
                    differences = self.differences(step, live.as_ref());
                }
                other => return other,
            }
        }
        unreachable!("the loop returns at its last try")
    }

    fn differences(&self, step: &Step, live: Option<&Value>) -> Vec<Difference> {
        let Some((object, live)) = self.run.survey.desired.objects.get(&step.key).zip(live) else {
            return Vec::new();
        };
        let free = self.policy.free(&step.key, self.delegated.of(&step.key));
        let options = CompareOptions { world: self.policy.world(&object.gvk), free: &free };
        compare(&self.run.survey.schemas, &object.gvk, &object.value, live, &options)
    }

    /// On the server's dry run, what stands on things that a real sync would
    /// make first cannot be judged.
    pub(super) fn is_unchecked(
        &self,
        key: &ObjectKey,
        gvk: &Gvk,
        error: &ClusterError,
        discovery: &Discovery,
    ) -> bool {
        let namespace = ObjectKey {
            group: String::new(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: key.namespace.clone(),
        };
        let made_here =
            self.run.survey.desired.objects.contains_key(&namespace) || self.run.loaded.creates_namespace();
        self.run.options.dry_run == DryRun::Server
            && error.kind() == ErrorKind::NotFound
            && (made_here || discovery.kind(gvk).is_none())
    }

    /// What would be made in a namespace that is not there yet is shown to the
    /// API server in another one: that checks its fields and nothing else.
    async fn elsewhere(&self, step: &Step, discovery: &Discovery) -> std::result::Result<Written, Outcome> {
        let skipped = |reason: &str| Err(Outcome::Skipped(reason.to_owned()));
        let object = self.run.survey.desired.objects.get(&step.key);
        let (Some(kind), Some(object)) = (discovery.kind(&step.gvk), object) else {
            return skipped("its kind is not there yet, so the server cannot check it");
        };
        let key = ObjectKey { namespace: "default".into(), ..step.key.clone() };
        let mut value = object.value.clone();
        value["metadata"]["namespace"] = "default".into();
        let options = ApplyOptions { dry_run: true, strict: strict(step), ..ApplyOptions::default() };
        match self.run.cluster.create(kind, &key, &value, &options).await {
            Err(error) if matches!(error.kind(), ErrorKind::Invalid) => Err(Outcome::Failed(error)),
            Ok(_) => skipped(
                "its namespace is not there yet: its fields are right; quotas, permissions and webhooks could not be checked",
            ),
            Err(_) => skipped("its namespace is not there yet, so the server cannot check it"),
        }
    }

    async fn write(
        &self,
        step: &Step,
        object: &DesiredObject,
        live: Option<&Value>,
        differences: &[Difference],
        discovery: &Discovery,
    ) -> std::result::Result<Written, ClusterError> {
        let kind = discovery
            .kind(&object.gvk)
            .ok_or_else(|| ClusterError::NotFound { what: object.gvk.to_string() })?;
        let mut stamped = self.stamped(object, live, kind);
        let mut changed = self.change(step, kind, &stamped, live, differences).await;
        // An apply never lets them pass by itself.
        if let Err(ClusterError::Invalid { message, .. }) = &changed
            && let Some(known) = adopt::declared(&stamped, message).filter(|_| !strict(step))
        {
            stamped = known;
            changed = self.change(step, kind, &stamped, live, differences).await;
        }
        match changed {
            Err(ClusterError::Immutable { what, message, fields }) => {
                let claim = kind.gvk.group.is_empty() && kind.gvk.kind == "PersistentVolumeClaim";
                let allowed = (step.options.may_recreate() || self.run.options.replace)
                    && (!claim || self.run.options.force);
                if !allowed {
                    let message = immutable(object, &fields, differences, &message);
                    return Err(ClusterError::Immutable { what, message, fields });
                }
                self.recreate(step, kind, &stamped).await
            }
            other => other,
        }
    }

    fn stamped(&self, object: &DesiredObject, live: Option<&Value>, kind: &Kind) -> Value {
        let mut stamped = stamp(object, &self.run.loaded.application, &self.run.survey.desired.revision);
        let free = self.policy.free(&object.key, self.delegated.of(&object.key));
        match live {
            Some(live) => carry(&mut stamped, live, &free),
            None => begin(&mut stamped, &free),
        }
        carry_replicas(&mut stamped, live);
        // It was taken for namespaced as long as its kind was not known.
        if !kind.namespaced
            && let Some(metadata) = stamped.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("namespace");
        }
        stamped
    }

    async fn change(
        &self,
        step: &Step,
        kind: &Kind,
        stamped: &Value,
        live: Option<&Value>,
        differences: &[Difference],
    ) -> std::result::Result<Written, ClusterError> {
        let (cluster, key) = (self.run.cluster, &step.key);
        let options = ApplyOptions {
            dry_run: self.run.options.dry_run == DryRun::Server,
            strict: strict(step),
            ..ApplyOptions::default()
        };
        let Some(live) = live else {
            let applied = cluster.apply(kind, key, stamped, &options).await?;
            return Ok(Written::now(applied.object, ""));
        };
        if step.options.replace == Some(true) {
            let mut whole = stamped.clone();
            whole["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            let replaced = cluster.replace(kind, key, &whole, &options).await?;
            return Ok(Written::now(replaced, "replaced as a whole"));
        }
        // An apply cannot take away what others added, nor change a template
        // and what was left in it at once: then all goes in one patch first.
        if differences
            .iter()
            .any(|difference| difference.op == Op::Add || patch::changes_strategy(difference))
        {
            let patch = patch::to_git(live, stamped, differences);
            cluster.patch(kind, key, &patch, &options).await?;
        }
        let (applied, note) = adopt::apply(self.run, kind, step, stamped, &options).await?;
        if step.options.migrate != Some(false) && !options.dry_run {
            adopt::migrate(cluster, kind, key, &applied).await?;
        }
        Ok(Written::now(applied, note))
    }

    /// Deletes and makes anew. A sync that ends in between is mended by the
    /// next one, which finds nothing and creates.
    async fn recreate(
        &self,
        step: &Step,
        kind: &Kind,
        stamped: &Value,
    ) -> std::result::Result<Written, ClusterError> {
        let note = "made anew";
        if self.run.options.dry_run == DryRun::Server {
            return Ok(Written { note: note.into(), ..Written::default() });
        }
        hooks::gone(self.run, kind, &step.key).await?;
        let options = ApplyOptions { strict: strict(step), ..ApplyOptions::default() };
        let applied = self.run.cluster.apply(kind, &step.key, stamped, &options).await?;
        Ok(Written::now(applied.object, note))
    }

    async fn prune(
        &self,
        step: &Step,
        live: Option<&Value>,
        discovery: &Discovery,
    ) -> std::result::Result<Written, ClusterError> {
        let Some(kind) = discovery.kind(&step.gvk) else { return Ok(Written::default()) };
        let uid = live.and_then(|live| live.pointer("/metadata/uid")?.as_str()).map(str::to_owned);
        let options = DeleteOptions {
            uid,
            dry_run: self.run.options.dry_run == DryRun::Server,
            propagation: step.options.propagation.unwrap_or_default(),
        };
        self.run.cluster.delete(kind, &step.key, &options).await?;
        Ok(Written::default())
    }
}

fn strict(step: &Step) -> bool {
    step.options.validate != Some(false)
}

/// Which fields cannot be changed, with both values; the API server's words
/// where it names none that differs.
fn immutable(object: &DesiredObject, fields: &[String], differences: &[Difference], message: &str) -> String {
    const SHOWN: usize = 3;
    let fields: Vec<Path> = fields.iter().filter_map(|field| field.parse().ok()).collect();
    let told: Vec<String> = differences
        .iter()
        .filter(|difference| {
            let path = &difference.path;
            fields.iter().any(|field| path.starts_with(field) || field.starts_with(path))
        })
        .take(SHOWN)
        .map(|difference| {
            let mut difference = difference.clone();
            mask(&object.gvk, &mut difference, &object.origin.confidential);
            let value = |value: &Option<Value>| value.as_ref().map_or("absent".into(), ToString::to_string);
            let (path, is, git) = (&difference.path, value(&difference.tried), value(&difference.git));
            format!("{path} cannot be changed: it is {is}, Git says {git}")
        })
        .collect();
    if told.is_empty() { message.to_owned() } else { told.join("; ") }
}

/// Replicas that Git leaves out stay what they are: dropping them from an
/// apply would reset a running workload to 1.
fn carry_replicas(stamped: &mut Value, live: Option<&Value>) {
    let scaled = matches!(
        stamped.get("kind").and_then(Value::as_str),
        Some("Deployment" | "StatefulSet" | "ReplicaSet")
    );
    if !scaled || stamped.pointer("/spec/replicas").is_some() {
        return;
    }
    if let Some(replicas) = live.and_then(|live| live.pointer("/spec/replicas")) {
        stamped["spec"]["replicas"] = replicas.clone();
    }
}
