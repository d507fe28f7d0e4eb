//! Rollouts of the cluster. In: a name. Out: the Rollout with what core makes
//! of it, or who is meant instead.

use std::collections::BTreeMap;

use gitops_api::analysis::{AnalysisTemplate, AnalysisTemplateSpec};
use gitops_api::rollout::{RolloutStatus, Strategy, TemplateRef};
use gitops_api::{Application, Rollout, request};
use gitops_cluster::{Cluster, ErrorKind, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{ANNOTATION_OWNER, API_VERSION, GROUP, SYSTEM_NAMESPACE};
use gitops_core::object::ObjectKey;
use gitops_core::rollout::outlook::{self, Mark, Stage};
use gitops_core::rollout::spec::{Rule, Spec};
use gitops_core::rollout::state::{Phase, State};
use gitops_engine::analysis::Metrics;
use gitops_engine::load;
use gitops_engine::rollout::Rolling;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::asking;
use crate::error::{Failure, code};
use crate::output::RolloutNote;
use crate::settings::Settings;

/// A Rollout, and where it stands.
#[derive(Clone, Debug)]
pub struct Seen {
    pub rollout: Rollout,
    pub spec: Spec,
    /// Idle where nobody has looked at it yet.
    pub state: State,
    /// Whether somebody has.
    pub is_driven: bool,
}

impl Seen {
    fn new(rollout: Rollout, templates: &Templates) -> Result<Self, Failure> {
        let reference = reference(&rollout);
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::other(format!("Rollout {reference} cannot be read: {error}"))
        };
        let namespace = &reference.namespace;
        let of_it = templates.of(namespace);
        let metrics = Metrics::new(&rollout.spec, namespace, &reference.name, &of_it);
        let rules =
            |template: &TemplateRef| metrics.rules(template).unwrap_or_else(|_| vec![unknown(template)]);
        let spec = rollout.spec.to_core(namespace, &|template| Ok(rules(template)));
        let spec =
            spec.map_err(|error| unreadable(&error).hint("mend it in Git: kubectl gitops rollout lint"))?;
        let state = rollout.status.as_ref().map(RolloutStatus::state).transpose();
        let state = state.map_err(|error| {
            unreadable(&error)
                .hint("use the kubectl-gitops of the version that is installed: kubectl gitops version")
        })?;
        let state = state.flatten();
        Ok(Self { is_driven: state.is_some(), state: state.unwrap_or_default(), rollout, spec })
    }

    /// As a survey met it; none where nothing can be made of it.
    pub fn of_rolling(rolling: &Rolling) -> Option<Self> {
        let rollout = read::<Rollout>(rolling.live.clone()?).ok()?;
        Self::new(rollout, &Templates::default()).ok()
    }

    /// Whether another version than the newest one runs because of it.
    pub fn is_under_way(&self) -> bool {
        self.state.phase != Phase::Idle
    }

    /// Whether it decides about an object.
    pub fn concerns(&self, key: &ObjectKey) -> bool {
        let spec = &self.spec;
        let mut keys = vec![spec.target.clone(), spec.second()];
        let services = [spec.stable_service(), spec.new_service()].into_iter().flatten();
        keys.extend(services.map(|name| spec.beside("", "Service", name)));
        let routes = spec.traffic.routes.iter();
        keys.extend(routes.map(|route| spec.beside("gateway.networking.k8s.io", &route.kind, &route.name)));
        keys.contains(key)
    }

    /// Phase, step and what it waits for, in a sentence.
    pub fn words(&self) -> String {
        let stages = outlook::stages(&self.spec, &self.state, self.state.entered);
        let step = self.progress(&stages);
        let step = if step.is_empty() { step } else { format!(", step {step}") };
        // Not by the second: a line is told when something changes.
        let waits = outlook::waits(&self.spec, &self.state, self.state.entered);
        let waits = if waits.is_empty() { waits } else { format!(": {waits}") };
        format!("{:?}{step}{waits}", self.state.phase)
    }

    /// The command that gets it on; none where nothing does.
    pub fn command(&self) -> Option<String> {
        let verb = *outlook::requests(&self.state).first()?;
        let AppRef { namespace, name } = self.reference();
        Some(format!("kubectl gitops rollout {verb} {name} -n {namespace}"))
    }

    /// For the report of an Application.
    pub fn note(&self) -> RolloutNote {
        let stages = outlook::stages(&self.spec, &self.state, self.state.entered);
        RolloutNote {
            name: self.reference().name,
            phase: format!("{:?}", self.state.phase),
            step: self.progress(&stages),
            message: self.words(),
            command: self.command(),
        }
    }

    /// Its identity.
    pub fn key(&self) -> ObjectKey {
        let AppRef { namespace, name } = self.reference();
        ObjectKey { group: GROUP.into(), kind: "Rollout".into(), namespace, name }
    }

    /// Namespace and name.
    pub fn reference(&self) -> AppRef {
        reference(&self.rollout)
    }

    /// The strategy's name, as in the spec.
    pub fn strategy(&self) -> &'static str {
        match &self.rollout.spec.strategy {
            Strategy { canary: Some(_), .. } => "canary",
            Strategy { rolling: Some(_), .. } => "rolling",
            Strategy { recreate: Some(_), .. } => "recreate",
            _ => "blueGreen",
        }
    }

    /// The Application that declares it.
    pub fn application(&self) -> Option<AppRef> {
        let owner = self.rollout.metadata.annotations.as_ref()?.get(ANNOTATION_OWNER)?;
        let (namespace, name) = owner.split_once('/')?;
        Some(AppRef { namespace: namespace.into(), name: name.into() })
    }

    /// How far it is, such as `2 of 5`; empty where nothing is on its way.
    pub fn progress(&self, stages: &[Stage]) -> String {
        let here = stages.iter().position(|stage| stage.mark == Mark::Now);
        here.map(|at| format!("{} of {}", at + 1, stages.len())).unwrap_or_default()
    }
}

fn reference(rollout: &Rollout) -> AppRef {
    AppRef {
        namespace: rollout.metadata.namespace.clone().unwrap_or_default(),
        name: rollout.metadata.name.clone().unwrap_or_default(),
    }
}

/// The kind Rollout.
pub fn kind() -> Kind {
    load::own("Rollout", "rollouts", true)
}

/// The namespace that is meant where none is written.
pub fn namespace(settings: &Settings, cluster: &Cluster) -> String {
    settings.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned())
}

/// The Rollout of this name, written as `web` or `rollout/web`.
pub async fn find(cluster: &Cluster, namespace: &str, name: &str) -> Result<Seen, Failure> {
    if let Some(seen) = look(cluster, namespace, name).await? {
        return Ok(seen);
    }
    let there = list(cluster, "rollouts", Some(namespace)).await?;
    let there: Vec<Rollout> = there.into_iter().filter_map(|live| read(live).ok()).collect();
    Err(missing(&there, namespace, bare(name)))
}

/// The same; none where it is not there.
pub async fn look(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Seen>, Failure> {
    let key = ObjectKey {
        group: GROUP.into(),
        kind: "Rollout".into(),
        namespace: namespace.to_owned(),
        name: bare(name).to_owned(),
    };
    let templates = Templates::read(cluster, Some(namespace)).await;
    match cluster.get(&kind(), &key).await? {
        Some(live) => Seen::new(read(live)?, &templates).map(Some),
        None => Ok(None),
    }
}

fn bare(name: &str) -> &str {
    name.strip_prefix("rollout/").unwrap_or(name)
}

/// All Rollouts of a namespace, or of all of them; one that cannot be read is
/// told beside the others.
pub async fn all(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<Vec<(AppRef, Result<Seen, Failure>)>, Failure> {
    let found = list(cluster, "rollouts", namespace).await?;
    let templates =
        if found.is_empty() { Templates::default() } else { Templates::read(cluster, namespace).await };
    let text = |live: &Value, pointer: &str| live.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let seen = found.into_iter().map(|live| {
        let namespace = text(&live, "/metadata/namespace").unwrap_or_default();
        let name = text(&live, "/metadata/name").unwrap_or_default();
        let seen = read::<Rollout>(live).and_then(|rollout| Seen::new(rollout, &templates));
        (AppRef { namespace, name }, seen)
    });
    Ok(seen.collect())
}

/// Those that a survey met and that are under way.
pub fn under_way(rollouts: &[Rolling]) -> Vec<Seen> {
    let seen = rollouts.iter().filter_map(Seen::of_rolling);
    seen.filter(Seen::is_under_way).collect()
}

async fn list(cluster: &Cluster, plural: &str, namespace: Option<&str>) -> Result<Vec<Value>, Failure> {
    let within = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let list = cluster.get_json(&format!("/apis/{API_VERSION}{within}/{plural}")).await;
    let mut list = list.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure {
            message: "the cluster has no Rollouts: their definition is not installed".into(),
            hint: Some("install the chart; see what it takes: kubectl gitops check --pre".into()),
            code: code::REFUSED,
        },
        _ => error.into(),
    })?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

fn read<T: DeserializeOwned>(live: Value) -> Result<T, Failure> {
    let name = live.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    serde_json::from_value(live).map_err(|error| {
        Failure::other(format!("{name} cannot be read: {error}"))
            .hint("use the kubectl-gitops of the version that is installed: kubectl gitops version")
    })
}

/// Who is meant instead: the one whose target has that name, else those there
/// are.
fn missing(there: &[Rollout], namespace: &str, name: &str) -> Failure {
    let names: Vec<String> = there.iter().filter_map(|rollout| rollout.metadata.name.clone()).collect();
    let aimed = there.iter().find(|rollout| rollout.spec.target.name == name);
    let aimed = aimed.and_then(|rollout| rollout.metadata.name.as_deref());
    let mut near: Vec<&String> =
        names.iter().filter(|other| strsim::jaro_winkler(other, name) > 0.8).collect();
    near.sort_by(|a, b| strsim::jaro_winkler(b, name).total_cmp(&strsim::jaro_winkler(a, name)));
    let hint = match (aimed, near.as_slice(), names.as_slice()) {
        (Some(aimed), ..) => format!("{name} is the target of Rollout {aimed}"),
        (None, [], []) => {
            "there are none here; see those of all namespaces: kubectl gitops rollout list -A".into()
        }
        (None, [], names) => format!("there are: {}", names.join(", ")),
        (None, near, _) => {
            let near: Vec<&str> = near.iter().map(|name| name.as_str()).collect();
            format!("is {} meant?", near.join(" or "))
        }
    };
    Failure {
        message: format!("Rollout {namespace}/{name} is not there"),
        hint: Some(hint),
        code: code::REFUSED,
    }
}

/// AnalysisTemplates, by namespace and name.
#[derive(Clone, Debug, Default)]
struct Templates(BTreeMap<(String, String), AnalysisTemplateSpec>);

impl Templates {
    /// Those of a namespace and of the system's. Who may not read them sees
    /// less of an analysis.
    async fn read(cluster: &Cluster, namespace: Option<&str>) -> Self {
        let mut found = Self::default();
        let mut places = vec![namespace];
        places.extend(namespace.map(|_| Some(SYSTEM_NAMESPACE)));
        for place in places {
            let all = list(cluster, "analysistemplates", place).await.unwrap_or_default();
            for template in all.into_iter().filter_map(|live| read::<AnalysisTemplate>(live).ok()) {
                let key = |text: Option<String>| text.unwrap_or_default();
                let AnalysisTemplate { metadata, spec } = template;
                found.0.insert((key(metadata.namespace), key(metadata.name)), spec);
            }
        }
        found
    }

    /// Those that count in a namespace, by name.
    fn of(&self, namespace: &str) -> BTreeMap<String, Result<AnalysisTemplateSpec, String>> {
        let within = |place: &str| {
            let all = self.0.iter().filter(|((at, _), _)| at == place);
            all.map(|((_, name), spec)| (name.clone(), Ok(spec.clone()))).collect::<Vec<_>>()
        };
        // What is in the namespace wins.
        within(SYSTEM_NAMESPACE).into_iter().chain(within(namespace)).collect()
    }
}

/// One rule that stands for all of a template that is not known.
fn unknown(template: &TemplateRef) -> Rule {
    Rule {
        name: template.name.clone(),
        interval: 0,
        count: 1,
        failure_limit: 0,
        inconclusive_limit: 0,
        min_samples: 0,
    }
}

/// Whether a webhook judges the Application that a Rollout is of, so that it
/// stamps who asks.
pub async fn is_judged(cluster: &Cluster, seen: &Seen) -> bool {
    let Some(application) = seen.application() else { return false };
    let live: Option<Application> = asking::find(cluster, &application).await.ok().flatten();
    live.is_some_and(|live| request::is_judged(live.status.as_ref()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(name: &str, target: &str) -> Rollout {
        serde_json::from_value(json!({"apiVersion": API_VERSION, "kind": "Rollout", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "strategy": {"canary": {"steps": [{"setWeight": 10}, {"analysis": {"templates": [{"name": "errors"}]}}]}}}}))
        .unwrap()
    }

    #[test]
    fn who_is_meant_is_told() {
        let there = [rollout("web", "web"), rollout("shop-api", "api")];
        let hint = |name: &str| missing(&there, "shop", name).hint.unwrap();
        assert_eq!(hint("wep"), "is web meant?");
        assert_eq!(hint("api"), "api is the target of Rollout shop-api");
        assert_eq!(hint("zzz"), "there are: web, shop-api");
        assert!(missing(&[], "shop", "web").hint.unwrap().contains("list -A"));
    }

    #[test]
    fn an_unknown_template_still_counts_as_one() {
        let seen = Seen::new(rollout("web", "web"), &Templates::default()).unwrap();
        let stages = outlook::stages(&seen.spec, &seen.state, 0);
        let stages: Vec<&str> = stages.iter().map(|stage| stage.what.as_str()).collect();
        assert_eq!(stages, ["weight 10 %", "analysis errors", "promote"]);
        assert!(!seen.is_driven);
        assert_eq!((seen.strategy(), seen.progress(&[])), ("canary", String::new()));
    }
}
