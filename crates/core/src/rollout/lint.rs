//! What will not work in a Rollout. In: the Rollout and the objects beside it in
//! Git. Out: sentences, each with a way out; no cluster is asked.

use serde_json::Value;

use super::desired::Objects;
use super::references::{references, tells_content};
use super::spec::{Means, Spec, Step, Strategy, versioned};
use super::traffic::GATEWAY;
use crate::desired::DesiredObject;
use crate::names::LABEL_TRACK;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field of the Rollout that it is about, such as `spec.target`.
    pub field: &'static str,
    /// Whether the Rollout cannot work so; else it may surprise.
    pub error: bool,
    pub message: String,
    pub hint: String,
}

/// A Pod's name and a label's value may be this long.
const MAX_NAME: usize = 63;

/// Everything that is wrong.
pub fn lint(spec: &Spec, objects: &Objects) -> Vec<Finding> {
    let mut found = Findings { field: TARGET, all: Vec::new() };
    let Some(target) = objects.get(&spec.target) else {
        found.error(
            format!("{} is not declared beside its Rollout", spec.target),
            "declare it in the same Application, or mend spec.target",
        );
        return found.all;
    };
    kind(spec, target, &mut found);
    volumes(spec, target, &mut found);
    contents(spec, objects, target, &mut found);
    found.field = TRAFFIC;
    services(spec, objects, target, &mut found);
    found.field = STRATEGY;
    steps(spec, &mut found);
    found.field = TARGET;
    replicas(spec, objects, target, &mut found);
    found.all
}

/// What is wrong with a Rollout by itself, where the objects beside it are not
/// known.
pub fn lint_alone(spec: &Spec) -> Vec<Finding> {
    let mut found = Findings { field: STRATEGY, all: Vec::new() };
    steps(spec, &mut found);
    found.all
}

/// Why no new version may begin, if something cannot work: it would get out
/// otherwise than the Rollout says, or not come back.
pub fn obstacle(spec: &Spec, objects: &Objects) -> Option<String> {
    let Finding { field, message, hint, .. } = lint(spec, objects).into_iter().find(|found| found.error)?;
    Some(format!("{field}: {message} ({hint})"))
}

const TARGET: &str = "spec.target";
const STRATEGY: &str = "spec.strategy";
const TRAFFIC: &str = "spec.traffic";

#[derive(Debug)]
struct Findings {
    field: &'static str,
    all: Vec<Finding>,
}

impl Findings {
    fn error(&mut self, message: String, hint: &str) {
        self.all.push(Finding { field: self.field, error: true, message, hint: hint.into() });
    }

    fn warn(&mut self, message: String, hint: &str) {
        self.all.push(Finding { field: self.field, error: false, message, hint: hint.into() });
    }
}

fn kind(spec: &Spec, target: &DesiredObject, found: &mut Findings) {
    if !super::spec::is_workload(&target.gvk) && spec.means() != Means::Field {
        found.error(
            format!("{} is no Deployment or StatefulSet, and no weight field is named", target.key),
            "name the field in spec.traffic.weightPath",
        );
    }
    let strategy = target.value.pointer("/spec/updateStrategy/type").and_then(Value::as_str);
    if strategy == Some("OnDelete") {
        found.error(
            format!("{} has updateStrategy OnDelete: its Pods change when someone deletes them", target.key),
            "leave spec.updateStrategy out: the Rollout sets it",
        );
    }
    if spec.means() == Means::Partition
        && target.value.pointer("/spec/updateStrategy/rollingUpdate/partition").is_some()
    {
        found.error(
            format!("{} declares a partition, and the Rollout sets it", target.key),
            "leave spec.updateStrategy.rollingUpdate.partition out of Git",
        );
    }
    if target.value.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        found.error(
            format!("{} is paused: no version of it is rolled out", target.key),
            "leave spec.paused out; the Rollout holds versions back",
        );
    }
    if spec.has_second() && spec.second().name.len() > MAX_NAME {
        found.error(
            format!("the name {} is longer than {MAX_NAME} characters", spec.second().name),
            "shorten the target's name, or use the strategy recreate",
        );
    }
}

/// A second workload cannot have what attaches once.
fn volumes(spec: &Spec, target: &DesiredObject, found: &mut Findings) {
    let claims = list(&target.value, "/spec/volumeClaimTemplates");
    if spec.has_second() && spec.target.kind == "StatefulSet" && !claims.is_empty() {
        found.error(
            format!("{} has volumes of its own, which a second workload would not share", target.key),
            "use canary, rolling or recreate: they change it Pod by Pod",
        );
    }
    let volumes = list(&target.value, "/spec/template/spec/volumes");
    if let Some(volume) = volumes.iter().find(|volume| volume.get("persistentVolumeClaim").is_some())
        && spec.has_second()
    {
        found.warn(
            format!(
                "{} mounts the claim {}: if it attaches to one node only, the new Pods wait for it",
                target.key,
                volume
                    .pointer("/persistentVolumeClaim/claimName")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            ),
            "use recreate, unless the claim is ReadWriteMany",
        );
    }
}

/// What both versions read under one name follows Git at once.
fn contents(spec: &Spec, objects: &Objects, target: &DesiredObject, found: &mut Findings) {
    let Some(part) = target.value.pointer(versioned(spec.means())) else { return };
    let changes = |object: &&DesiredObject| {
        matches!(object.key.kind.as_str(), "ConfigMap" | "Secret")
            && !tells_content(&object.key.name)
            && object.value.pointer("/immutable") != Some(&Value::Bool(true))
    };
    let named = references(part, &spec.target.namespace);
    let named = named.iter().filter_map(|key| objects.get(key)).filter(changes);
    let named: Vec<String> = named.map(|object| object.key.to_string()).collect();
    if !named.is_empty() {
        found.warn(
            format!("no step holds back what changes in {}: the old version's Pods that start later read it, too", named.join(", ")),
            "let the name change with the content: kustomize's configMapGenerator and secretGenerator append a hash",
        );
    }
}

fn services(spec: &Spec, objects: &Objects, target: &DesiredObject, found: &mut Findings) {
    let labels = target.value.pointer("/spec/template/metadata/labels");
    for name in [spec.stable_service(), spec.new_service()].into_iter().flatten() {
        let Some(service) = objects.get(&spec.beside("", "Service", name)) else {
            found.error(
                format!("Service {name} is not declared beside the Rollout"),
                "declare it, or mend its name in the Rollout",
            );
            continue;
        };
        let selector = service.value.pointer("/spec/selector").and_then(Value::as_object);
        let chosen =
            |(key, value): (&String, &Value)| labels.and_then(|labels| labels.get(key)) == Some(value);
        if !selector.is_some_and(|selector| !selector.is_empty() && selector.iter().all(chosen)) {
            found.error(
                format!("Service {name} does not select the Pods of {}", target.key),
                "select labels of its Pod template; the Rollout adds what tells versions apart",
            );
        }
        if selector.is_some_and(|selector| selector.contains_key(LABEL_TRACK)) {
            found.error(
                format!("Service {name} selects {LABEL_TRACK}, which the Rollout sets"),
                "leave that label out of its selector",
            );
        }
    }
    if spec.stable_service().is_some() && spec.stable_service() == spec.new_service() {
        found.error("both Services of the Rollout are the same".into(), "declare a second Service");
    }
    for route in &spec.traffic.routes {
        match objects.get(&spec.beside(GATEWAY, &route.kind, &route.name)) {
            None => found.error(
                format!("{} {} is not declared beside the Rollout", route.kind, route.name),
                "declare it, or mend its name in spec.traffic.routes",
            ),
            Some(declared) if !refers(&declared.value, spec.stable_service()) => found.error(
                format!("{} {} sends nothing to spec.traffic.stableService", route.kind, route.name),
                "name that Service in one of its backendRefs",
            ),
            Some(_) => {}
        }
    }
    if !spec.traffic.routes.is_empty() && (spec.stable_service().is_none() || spec.new_service().is_none()) {
        found.error("routes need two Services".into(), "set spec.traffic.stableService and canaryService");
    }
}

fn refers(route: &Value, service: Option<&str>) -> bool {
    let rules = list(route, "/spec/rules");
    let mut references = rules.iter().flat_map(|rule| list(rule, "/backendRefs"));
    references.any(|reference| reference.get("name").and_then(Value::as_str) == service)
}

fn steps(spec: &Spec, found: &mut Findings) {
    let (weights, routed): (Vec<u8>, bool) = match &spec.strategy {
        Strategy::Canary(steps) => (
            steps
                .iter()
                .filter_map(|step| if let Step::SetWeight(weight) = step { Some(*weight) } else { None })
                .collect(),
            steps.iter().any(|step| matches!(step, Step::SetHeader(_) | Step::SetMirror(_))),
        ),
        Strategy::Rolling { batches, .. } => (batches.clone(), false),
        _ => return,
    };
    if let Some(pair) = weights.windows(2).find(|pair| pair[1] < pair[0]) {
        let message = format!("the weight goes down from {} to {}", pair[0], pair[1]);
        match spec.means() {
            Means::Partition => {
                found.error(message, "let it rise: a StatefulSet's Pod that was updated stays so");
            }
            _ => found.warn(message, "let it rise, unless that is meant"),
        }
    }
    if routed && spec.traffic.routes.is_empty() {
        found.error(
            "headers and mirrors need a route".into(),
            "name an HTTPRoute in spec.traffic.routes, or leave these steps out",
        );
    }
    if let Strategy::Canary(steps) = &spec.strategy
        && steps.iter().any(|step| matches!(step, Step::SetScale(_)))
        && spec.means() != Means::Routes
    {
        found.warn(
            "setScale does nothing here: Pods and weight are the same".into(),
            "name Services in spec.traffic, or leave the step out",
        );
    }
    let seconds = |step: &Step| if let Step::Pause(Some(seconds)) = step { *seconds } else { 0 };
    if let Strategy::Canary(steps) = &spec.strategy
        && steps.iter().map(seconds).sum::<i64>() >= spec.total_deadline
    {
        found.error(
            format!("its pauses alone take the {} seconds after which it is aborted", spec.total_deadline),
            "raise spec.deadlines.total",
        );
    }
}

fn replicas(spec: &Spec, objects: &Objects, target: &DesiredObject, found: &mut Findings) {
    let declared = target.value.pointer("/spec/replicas").and_then(Value::as_i64);
    let scaled = objects.values().find(|object| {
        matches!(object.key.kind.as_str(), "HorizontalPodAutoscaler" | "ScaledObject")
            && object.value.pointer("/spec/scaleTargetRef/name").and_then(Value::as_str)
                == Some(&spec.target.name)
    });
    match (spec.means(), scaled) {
        (Means::Replicas, Some(scaler)) => found.warn(
            format!("{} sets the target's replicas: weights by numbers of Pods are rough", scaler.key),
            "divide requests by a route: spec.traffic",
        ),
        (Means::Partition, Some(scaler)) => found.warn(
            format!(
                "{} scales a StatefulSet: Pods that it adds between two steps have the new version",
                scaler.key
            ),
            "declare spec.replicas and leave the autoscaler out, or expect more Pods of it than a step says",
        ),
        _ => {}
    }
    if declared == Some(1) && spec.means() == Means::Partition {
        found.warn(
            format!("{} has one Pod: there is no step between the old and the new version", target.key),
            "raise its replicas, or use recreate",
        );
    }
    if declared == Some(0) {
        found.warn(format!("{} has no replicas: nothing is tried", target.key), "give it at least one");
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
