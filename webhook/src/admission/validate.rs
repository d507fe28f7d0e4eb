//! The validating side: judge, and before refusing ask Git once more.

use std::sync::Arc;
use std::time::Instant;

use gitops_core::compare::{World as Closedness, world_of};
use gitops_core::contention::Contention;
use gitops_core::delegation::Free;
use gitops_core::desired::AppRef;
use gitops_core::index::Part;
use gitops_core::names::ANNOTATION_REVISION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::verdict::{
    Candidate, Context, Decision, Facts, Operation, Review, Verdict, audit, denial, judge, paths,
    revision_of, verb, word,
};
use serde_json::Value;

use super::family::Learnt;
use super::{Answer, Request};
use crate::keeper::{Keeper, News, Standing};
use crate::metrics::VerdictLabels;
use crate::overrides;
use crate::world::World;

/// Answers a review.
pub async fn validate(keeper: &Keeper, request: &Request) -> Answer {
    let start = Instant::now();
    let Some(operation) = request.operation() else {
        return Answer::deny(format!("operation {:?} is not known", request.operation));
    };
    let mut world = keeper.world();
    let mut identity = request.identity(&world);
    if identity.is_none() {
        // A kind that was defined a moment ago.
        keeper.learn().await;
        world = keeper.world();
        identity = request.identity(&world);
    }
    let Some((gvk, key)) = identity else {
        return Answer::deny(format!(
            "{} {} is of no kind that is known here",
            request.kind.kind, request.name
        ));
    };
    let case = Case { keeper, request, operation, gvk: &gvk, key: &key };
    let verdict = overrides::apply(keeper, request, &gvk, case.decide(&world).await).await;
    note_refusal(keeper, request, &verdict).await;
    keeper.metrics.admission.observe(start.elapsed().as_secs_f64());
    answer(keeper, request, &verdict, start)
}

/// Who is refused on the same field again and again is fighting over it.
async fn note_refusal(keeper: &Keeper, request: &Request, verdict: &Verdict) {
    let Some(application) = verdict.application.as_ref().filter(|_| verdict.decision == Decision::Deny)
    else {
        return;
    };
    if request.dry_run {
        return;
    }
    let field = verdict.differences.first().map(|located| located.difference.path.to_string());
    let by = Contention {
        application: application.clone(),
        key: verdict.key.clone(),
        field: field.unwrap_or_default(),
        user: request.user_info.username.clone(),
    };
    keeper.refused(&by).await;
}

fn answer(keeper: &Keeper, request: &Request, verdict: &Verdict, start: Instant) -> Answer {
    let result = if verdict.overridden.is_some() { "override" } else { word(verdict.decision) };
    keeper
        .metrics
        .verdicts
        .get_or_create(&VerdictLabels { result: result.into(), rule: verdict.rule.into() })
        .inc();
    let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    if verdict.rule.is_empty() {
        // Most writes by far: a line each would cost as much as judging them.
        tracing::debug!(uid = request.uid, object = %verdict.key, micros, "allowed");
    } else {
        tracing::info!(
            uid = request.uid, user = request.user_info.username, operation = request.operation, object = %verdict.key, subresource = request.sub_resource,
            verdict = result, rule = verdict.rule, revision = verdict.revision.as_deref().unwrap_or(""), paths = paths(verdict),
            micros, "judged"
        );
    }
    let mut answer = match verdict.decision {
        Decision::Deny => Answer::deny(denial(verdict)),
        Decision::Allow | Decision::Warn => Answer::allow(),
    };
    if verdict.decision == Decision::Warn {
        // A warning travels in a header, so it is one line (RFC 7234, 5.5).
        let words: Vec<String> = denial(verdict)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        answer.warnings.push(words.join("; "));
    }
    answer.audit = audit(verdict);
    if let Some((name, reason)) = &verdict.overridden {
        let words = format!("{} is not as Git says: Override {name} lets it pass", verdict.key);
        answer.warnings.push(format!("{words}; when it ends, this is drift"));
        answer.audit.insert("override", format!("{name}: {reason}"));
        answer.audit.insert("verdict", result.into());
    }
    answer
}

/// Rules that Git's news cannot change.
const BY_CLUSTER: &[&str] = &[
    "owners",
    "child",
    "adoption",
    "child-replicas",
    "scale-child",
    "endpoints",
    "interactive",
    "orphan",
    "own-spec",
    "request",
    "second",
];

/// A write that is being judged.
pub(super) struct Case<'a> {
    pub(super) keeper: &'a Keeper,
    pub(super) request: &'a Request,
    pub(super) operation: Operation,
    pub(super) gvk: &'a Gvk,
    pub(super) key: &'a ObjectKey,
}

impl Case<'_> {
    async fn decide(&self, world: &Arc<World>) -> Verdict {
        let (orphaning, standing) = (self.is_orphaning(), self.standing(world).await);
        let mut facts = Facts {
            holds: self.holds(world),
            orphaning,
            behind: standing != Standing::Known,
            mistake: self.mistake(),
            writer: self.request.user_info.username.clone(),
            ..Facts::default()
        };
        facts.scale_path = self.scale_path().await;
        facts.second_of = world.second_of(self.key);
        let mut learnt = Learnt::default();
        let first = self.informed(world, &[], &[], &mut facts, &mut learnt).await;
        if first.decision != Decision::Deny && first.rule.is_empty() {
            return first;
        }
        if first.rule == "own-kinds" {
            let (verb, plural) = verb(&self.key.kind);
            let may = self.may(verb, plural).await;
            facts.may_manage = may;
            facts.may_override = may;
            facts.namespace_terminating = !may && self.is_terminating().await;
            return self.judge(world, &[], &[], &facts);
        }
        if matches!(first.rule, "delete-declared" | "own-kinds" | "orphan" | "behind") {
            facts.namespace_terminating = self.is_terminating().await;
        }
        if let Some(verdict) = self.gated(world, &mut facts, &mut learnt).await {
            return verdict;
        }
        let world = &self.keeper.world();
        // These look at the cluster, not at Git: news would change nothing.
        if BY_CLUSTER.contains(&first.rule) && !facts.namespace_terminating {
            return first;
        }
        let older = self.older(world).await;
        let second = self.judge(world, &older, &[], &facts);
        if second.rule.is_empty() {
            return second;
        }
        if !world.knows(self.gvk) {
            self.keeper.learn().await;
        }
        let asked = self.concerned(world).into_iter().map(|application| self.keeper.refresh(application));
        let news = futures::future::join_all(asked).await;
        let world = self.keeper.world();
        let older = self.older(&world).await;
        // What Git does not know although it has just answered is of a history
        // that was left aside.
        let fresh = !news.is_empty() && news.iter().all(|news| *news == News::Fresh);
        facts.behind = match self.standing(&world).await {
            Standing::Known => false,
            Standing::Unknown => !fresh,
            Standing::Ahead => true,
        };
        (facts.promotion, facts.second_of) = (None, world.second_of(self.key));
        learnt.again("promotion");
        let third = self.informed(&world, &older, &[], &mut facts, &mut learnt).await;
        if !matches!(third.rule, "toward-git" | "mixed-commits") {
            return third;
        }
        let passed = self.passed(&world).await;
        if passed.is_empty() {
            return third;
        }
        self.informed(&world, &older, &passed, &mut facts, &mut learnt).await
    }

    /// What a Rollout changes is judged by its newest status before it is
    /// refused: that is written before the objects that follow from it.
    async fn gated(&self, world: &World, facts: &mut Facts, learnt: &mut Learnt) -> Option<Verdict> {
        let held = world.gating(self.key)?;
        if !self.keeper.regate_soon(&held.loaded.application).await {
            return None;
        }
        let world = self.keeper.world();
        (facts.promotion, facts.second_of) = (None, world.second_of(self.key));
        learnt.again("promotion");
        let again = self.informed(&world, &[], &[], facts, learnt).await;
        again.rule.is_empty().then_some(again)
    }

    /// What the commits declared that lie between the recorded one and the tip
    /// and that nobody names. Without a record nothing older than the tip counts.
    async fn passed(&self, world: &World) -> Vec<Arc<Part>> {
        let recorded = revision_of(self.request.old_object.as_ref());
        match world.owner(self.key).filter(|held| !held.is_gated(self.key)).zip(recorded) {
            Some((held, recorded)) => self.keeper.passed(held, recorded).await,
            None => Vec::new(),
        }
    }

    /// Judges, and looks up what the rules ask for.
    async fn informed(
        &self,
        world: &World,
        older: &[Arc<Part>],
        passed: &[Arc<Part>],
        facts: &mut Facts,
        learnt: &mut Learnt,
    ) -> Verdict {
        loop {
            let verdict = self.judge(world, older, passed, facts);
            if !self.learn(world, verdict.rule, facts, learnt).await {
                return verdict;
            }
        }
    }

    /// Where the commit at which the object was last accepted stands.
    async fn standing(&self, world: &World) -> Standing {
        let parent;
        let mut old = self.request.old_object.as_ref();
        if self.request.sub_resource == "scale" {
            parent = self.parent(world).await;
            old = parent.as_ref();
        }
        // A child has its owner's annotations, and is judged by it.
        let owned = old.is_some_and(|old| old.pointer("/metadata/ownerReferences/0").is_some());
        let claimed = || world.claimed(old.filter(|_| !owned));
        let Some(held) = world.owner(self.key).or_else(claimed) else {
            return if self.keeper.waits_for(old) { Standing::Ahead } else { Standing::Known };
        };
        match revision_of(old) {
            Some(recorded) => self.keeper.standing(held, recorded).await,
            None => Standing::Known,
        }
    }

    /// The field that `/scale` of a custom kind sets, by its definition.
    async fn scale_path(&self) -> Option<gitops_core::path::Path> {
        if self.request.sub_resource != "scale" || world_of(self.gvk) == Closedness::Closed {
            return None;
        }
        let (plural, group) = (&self.request.resource.resource, &self.gvk.group);
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}");
        let definition = self.keeper.cluster.get_json(&path).await.ok()?;
        let versions = definition.pointer("/spec/versions")?.as_array()?;
        let version = versions.iter().find(|version| version["name"] == self.gvk.version)?;
        version
            .pointer("/subresources/scale/specReplicasPath")?
            .as_str()?
            .trim_start_matches('.')
            .parse()
            .ok()
    }

    /// The object of a subresource that comes without its parent's metadata.
    async fn parent(&self, world: &World) -> Option<Value> {
        world.owner(self.key)?;
        let kind = world.discovery.kind(self.gvk)?;
        self.keeper.cluster.get(kind, self.key).await.ok()?
    }

    /// Judges by the tip and by `older`, and by those of `passed` that the write
    /// matches as a whole.
    fn judge(&self, world: &World, older: &[Arc<Part>], passed: &[Arc<Part>], facts: &Facts) -> Verdict {
        let root = facts.lineage.as_ref().and_then(|lineage| lineage.root.as_ref());
        let owner = world.owner(self.key).or_else(|| world.owner(&root?.key));
        let parts: Vec<&Arc<Part>> =
            owner.map(|held| &held.part).into_iter().chain(older).chain(passed).collect();
        let objects: Vec<_> = parts.iter().map(|part| part.get(self.key)).collect();
        let mut candidates: Vec<Candidate<'_>> = parts
            .iter()
            .zip(&objects)
            .map(|(part, object)| Candidate { revision: &part.revision, object: object.as_ref() })
            .collect();
        let passed = candidates.split_off(candidates.len() - passed.len());
        let holding = if self.key.kind == "Namespace" { &self.key.name } else { &self.key.namespace };
        let policy = match owner {
            Some(held) if world.owner(self.key).is_some() => held.policy.clone(),
            // Nobody declares it: whoever it names as its owner makes it no freer
            // than its namespace is.
            Some(held) => world.policy_of(holding).and(&held.policy),
            None => world.policy_of(holding),
        };
        let delegated = owner.map_or(&[][..], |held| held.part.delegated().of(self.key));
        let mut free = policy.free(self.key, delegated);
        if self.operation == Operation::Create {
            free = free.into_iter().map(Free::at_creation).collect();
        }
        let review = Review {
            operation: self.operation,
            gvk: self.gvk,
            key: self.key,
            subresource: &self.request.sub_resource,
            old: self.request.old_object.as_ref().filter(|old| !old.is_null()),
            new: self.request.object.as_ref().filter(|new| !new.is_null()),
            now: jiff::Timestamp::now().as_second(),
        };
        let context = Context {
            schemas: &world.schemas,
            policy: &policy,
            application: owner.map(|held| &held.loaded.application),
            candidates: &candidates,
            free: &free,
            facts,
        };
        let passed = passed.into_iter().filter(|candidate| context.is_at(candidate, &review));
        let all: Vec<Candidate<'_>> = candidates.iter().copied().chain(passed).collect();
        judge(&review, &Context { candidates: &all, ..context })
    }

    /// The Applications whose newer commits might say otherwise: the one that
    /// declares the object, or all of its namespace.
    fn concerned<'w>(&self, world: &'w World) -> Vec<&'w AppRef> {
        match world.owner(self.key) {
            Some(held) => vec![&held.loaded.application],
            None => world.applications_in(&self.key.namespace).collect(),
        }
    }

    /// Declared objects that go along with this one.
    fn holds(&self, world: &World) -> usize {
        let object = self.request.old_object.as_ref().or(self.request.object.as_ref());
        match (self.key.group.as_str(), self.key.kind.as_str()) {
            ("", "Namespace") => world.index.declared_in(&self.key.name) + world.held_from(&self.key.name),
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                let text = |pointer: &str| {
                    object.and_then(|object| object.pointer(pointer)?.as_str()).unwrap_or_default()
                };
                world.index.declared_of(text("/spec/group"), text("/spec/names/kind"))
            }
            _ => 0,
        }
    }

    /// What the commits declared that the object and the write name, as far as
    /// they lie between the recorded one and the tip.
    async fn older(&self, world: &World) -> Vec<Arc<Part>> {
        // An older commit's version is let in by the Rollout alone.
        let Some(held) = world.owner(self.key).filter(|held| !held.is_gated(self.key)) else {
            return Vec::new();
        };
        let revision = |object: &Option<Value>| {
            object
                .as_ref()
                .and_then(|object| {
                    object.get("metadata")?.get("annotations")?.get(ANNOTATION_REVISION)?.as_str()
                })
                .map(str::to_owned)
        };
        let (recorded, claimed) = (revision(&self.request.old_object), revision(&self.request.object));
        let mut wanted = Vec::new();
        // Without a record nothing older than the tip counts.
        if let Some(recorded) = &recorded {
            wanted.extend(claimed.filter(|claimed| claimed != recorded));
            wanted.push(recorded.clone());
        }
        let mut parts = Vec::new();
        for revision in wanted.into_iter().filter(|revision| *revision != held.part.revision) {
            parts
                .extend(self.keeper.between(held, &revision, recorded.as_deref(), &held.part.revision).await);
        }
        parts
    }

    /// Whether the object's namespace is going away.
    async fn is_terminating(&self) -> bool {
        if self.key.namespace.is_empty() {
            return false;
        }
        let path = format!("/api/v1/namespaces/{}", self.key.namespace);
        let namespace = self.keeper.cluster.get_json(&path).await.unwrap_or_default();
        namespace.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string)
    }
}
