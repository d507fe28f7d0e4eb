//! Whether more Pods find room. In: a pod template, how many more there are to
//! be, the namespace's quotas, and the nodes with their Pods. Out: what is
//! lacking, in words. Affinities are left to the scheduler: a Pod that waits for
//! one of those is told of by its own reason.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::compare::nanos;

/// Billionths of each resource.
type Amounts = BTreeMap<String, i128>;

const ONE: i128 = 1_000_000_000;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn amounts(value: Option<&Value>) -> Amounts {
    let fields = value.and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), nanos(value)?))).collect()
}

/// What a Pod of this spec asks for; `field` is `requests` or `limits`. Requests
/// that are left out are the limits (core/v1 defaulting).
fn asked(spec: &Value, field: &str) -> Amounts {
    let of = |container: &Value| {
        let limits = amounts(container.pointer("/resources/limits"));
        let mut own = amounts(container.pointer(&format!("/resources/{field}")));
        if field == "requests" {
            limits.into_iter().for_each(|(name, amount)| {
                own.entry(name).or_insert(amount);
            });
        }
        own
    };
    let mut sum = Amounts::new();
    for container in list(spec, "/containers") {
        add(&mut sum, &of(container), 1);
    }
    // Those that go on running count with the others.
    let stays = |container: &&Value| text(container, "/restartPolicy") == "Always";
    for container in list(spec, "/initContainers").iter().filter(stays) {
        add(&mut sum, &of(container), 1);
    }
    for container in list(spec, "/initContainers").iter().filter(|container| !stays(container)) {
        for (name, amount) in of(container) {
            let most = sum.entry(name).or_default();
            *most = (*most).max(amount);
        }
    }
    add(&mut sum, &amounts(spec.get("overhead")), 1);
    sum
}

fn add(sum: &mut Amounts, more: &Amounts, times: i128) {
    for (name, amount) in more {
        let known = sum.entry(name.clone()).or_default();
        *known = known.saturating_add(amount.saturating_mul(times));
    }
}

/// An amount, as people read it.
fn told(name: &str, amount: i128) -> String {
    const UNITS: [(&str, i128); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    let whole = amount / ONE;
    let is_bytes = name.contains("memory") || name.contains("storage");
    match UNITS.iter().find(|(_, size)| is_bytes && whole != 0 && whole % size == 0) {
        Some((unit, size)) => format!("{}{unit}", whole / size),
        None if amount % ONE == 0 => whole.to_string(),
        None => format!("{}m", amount / (ONE / 1000)),
    }
}

/// Pods that go before others come in their place.
#[derive(Clone, Debug)]
pub struct Freed<'a> {
    live: &'a Value,
    count: i64,
}

impl<'a> Freed<'a> {
    /// Those of a live workload; none where it does not say which they are.
    pub fn of(live: &'a Value, count: i64) -> Option<Self> {
        let labels = live.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        labels.is_some_and(|labels| !labels.is_empty()).then_some(Self { live, count })
    }

    /// Whether a Pod is one of them.
    pub fn holds(&self, pod: &Value) -> bool {
        let wanted = self.live.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let labels = pod.pointer("/metadata/labels");
        let same = |(key, value): (&String, &Value)| labels.and_then(|labels| labels.get(key)) == Some(value);
        text(pod, "/metadata/namespace") == text(self.live, "/metadata/namespace")
            && wanted.is_some_and(|wanted| wanted.iter().all(same))
    }

    fn amount(&self, resource: &str) -> i128 {
        let spec = self.live.pointer("/spec/template/spec");
        let each = spec.and_then(|spec| Need::of(spec).of_quota(resource)).unwrap_or(0);
        each.saturating_mul(i128::from(self.count))
    }
}

/// What one Pod takes, as a quota counts it.
struct Need {
    requests: Amounts,
    limits: Amounts,
}

impl Need {
    fn of(spec: &Value) -> Self {
        Self { requests: asked(spec, "requests"), limits: asked(spec, "limits") }
    }

    fn of_quota(&self, resource: &str) -> Option<i128> {
        match resource {
            "pods" | "count/pods" => Some(ONE),
            _ => match resource.split_once('.') {
                Some(("requests", name)) => self.requests.get(name).copied(),
                Some(("limits", name)) => self.limits.get(name).copied(),
                _ => self.requests.get(resource).copied(),
            },
        }
    }
}

/// What a quota of the namespace leaves too little of, once those that go are
/// gone.
pub fn over_quota(
    template: &Value,
    more: i64,
    freed: Option<&Freed<'_>>,
    quotas: &[Value],
) -> Option<String> {
    let need = Need::of(template.get("spec")?);
    let whole = |quota: &&Value| {
        quota.pointer("/spec/scopes").is_none() && quota.pointer("/spec/scopeSelector").is_none()
    };
    for quota in quotas.iter().filter(whole) {
        let used = amounts(quota.pointer("/status/used"));
        for (resource, hard) in amounts(quota.pointer("/status/hard")) {
            let wanted = need.of_quota(&resource).unwrap_or(0).saturating_mul(i128::from(more));
            let freed = freed.map_or(0, |freed| freed.amount(&resource));
            let used = used.get(&resource).copied().unwrap_or(0).saturating_sub(freed).max(0);
            let left = hard.saturating_sub(used).max(0);
            if wanted > left {
                return Some(format!(
                    "ResourceQuota {} leaves {} of {resource}, and {more} more Pods take {}",
                    text(quota, "/metadata/name"),
                    told(&resource, left),
                    told(&resource, wanted)
                ));
            }
        }
    }
    None
}

/// Whether a Pod's containers run no more.
pub fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// What the Pods of each node ask for.
#[derive(Clone, Debug, Default)]
pub struct Taken(BTreeMap<String, Amounts>);

impl Taken {
    /// By these Pods, as far as they have not ended.
    pub fn by<'a>(pods: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut taken = Self::default();
        for pod in pods.into_iter().filter(|pod| !has_ended(pod)) {
            let Some(spec) = pod.get("spec") else { continue };
            let sum = taken.0.entry(text(pod, "/spec/nodeName").to_owned()).or_default();
            add(sum, &asked(spec, "requests"), 1);
            *sum.entry("pods".into()).or_default() += ONE;
        }
        taken
    }
}

/// What no node has room for.
pub fn no_node(template: &Value, more: i64, nodes: &[Value], taken: &Taken) -> Option<String> {
    let spec = template.get("spec")?;
    let mut need = asked(spec, "requests");
    need.insert("pods".into(), ONE);
    let candidates: Vec<&Value> = nodes.iter().filter(|node| may_run(spec, node)).collect();
    if candidates.is_empty() {
        return Some("no node takes such Pods: see their nodeSelector and tolerations".into());
    }
    let mut fit = 0_i128;
    let mut scarce: BTreeMap<String, i128> = BTreeMap::new();
    for node in candidates {
        let there = amounts(node.pointer("/status/allocatable"));
        let used = taken.0.get(text(node, "/metadata/name"));
        let room = |name: &String, amount: i128| {
            let used = used.and_then(|used| used.get(name)).copied().unwrap_or(0);
            let left = there.get(name).copied().unwrap_or(0).saturating_sub(used).max(0);
            left / amount.max(1)
        };
        let all =
            need.iter().filter(|(_, amount)| **amount > 0).map(|(name, amount)| (room(name, *amount), name));
        let Some((least, name)) = all.min() else { continue };
        fit = fit.saturating_add(least);
        *scarce.entry(name.clone()).or_default() += 1;
    }
    if fit >= i128::from(more) {
        return None;
    }
    let (name, _) = scarce.into_iter().max_by_key(|(_, nodes)| *nodes)?;
    let each = told(&name, need.get(&name).copied().unwrap_or(0));
    Some(format!("the nodes have room for {fit} of {more} more Pods: each takes {each} of {name}"))
}

/// Whether a node would take such a Pod at all.
fn may_run(spec: &Value, node: &Value) -> bool {
    let ready = list(node, "/status/conditions")
        .iter()
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True");
    let labels = node.pointer("/metadata/labels");
    let mut wanted = spec.get("nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let tolerated = |taint: &Value| {
        text(taint, "/effect") == "PreferNoSchedule"
            || list(spec, "/tolerations").iter().any(|toleration| tolerates(toleration, taint))
    };
    ready
        && node.pointer("/spec/unschedulable") != Some(&Value::Bool(true))
        && wanted.all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        && list(node, "/spec/taints").iter().all(tolerated)
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
    let same_key = key == text(taint, "/key") || key.is_empty() && text(toleration, "/operator") == "Exists";
    let same_value =
        text(toleration, "/operator") == "Exists" || text(toleration, "/value") == text(taint, "/value");
    same_key && same_value && (effect.is_empty() || effect == text(taint, "/effect"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(resources: Value) -> Value {
        json!({"spec": {"containers": [{"name": "web", "resources": resources}]}})
    }

    #[test]
    fn a_quota_that_leaves_too_little_is_named() {
        let quota = |hard: Value, used: Value| json!({"metadata": {"name": "team"}, "status": {"hard": hard, "used": used}});
        let told = |resources: Value, more: i64, hard: Value, used: Value| {
            over_quota(&template(resources), more, None, &[quota(hard, used)]).unwrap_or_default()
        };
        let half = json!({"requests": {"cpu": "500m", "memory": "1Gi"}});
        for (more, hard, used, expected) in [
            (2, json!({"pods": "4"}), json!({"pods": "2"}), ""),
            (3, json!({"pods": "4"}), json!({"pods": "2"}), "leaves 2 of pods, and 3 more Pods take 3"),
            (
                2,
                json!({"requests.cpu": "2"}),
                json!({"requests.cpu": "1500m"}),
                "leaves 500m of requests.cpu, and 2 more Pods take 1",
            ),
            (
                1,
                json!({"memory": "3Gi"}),
                json!({"memory": "2560Mi"}),
                "leaves 512Mi of memory, and 1 more Pods take 1Gi",
            ),
            (9, json!({"services": "1"}), json!({"services": "1"}), ""),
        ] {
            let told = told(half.clone(), more, hard.clone(), used);
            assert!(
                if expected.is_empty() { told.is_empty() } else { told.contains(expected) },
                "{hard}: {told}"
            );
        }
    }

    #[test]
    fn what_goes_first_makes_room() {
        let gpus = |count: &str| template(json!({"limits": {"nvidia.com/gpu": count}}));
        let live = json!({"metadata": {"namespace": "n"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": gpus("2")}});
        let freed = Freed::of(&live, 2);
        let quota = json!({"metadata": {"name": "team"}, "status": {
            "hard": {"requests.nvidia.com/gpu": "4", "pods": "2"}, "used": {"requests.nvidia.com/gpu": "4", "pods": "2"}}});
        let told = |count: &str, freed: Option<&Freed<'_>>| {
            over_quota(&gpus(count), 2, freed, std::slice::from_ref(&quota)).unwrap_or_default()
        };
        assert_eq!(told("2", freed.as_ref()), "");
        assert!(
            told("3", freed.as_ref()).contains("leaves 4 of requests.nvidia.com/gpu, and 2 more Pods take 6")
        );
        assert!(told("2", None).contains("leaves 0"));
        let pod = |namespace: &str, app: &str| json!({"metadata": {"namespace": namespace, "labels": {"app": app, "x": "y"}}});
        let freed = freed.unwrap();
        assert!(
            freed.holds(&pod("n", "web")) && !freed.holds(&pod("n", "api")) && !freed.holds(&pod("m", "web"))
        );
        assert!(Freed::of(&json!({"spec": {"selector": {"matchLabels": {}}}}), 2).is_none());
    }

    #[test]
    fn gpus_and_other_room_are_counted_node_by_node() {
        let node = |name: &str, gpus: &str, taint: bool| {
            let taints =
                if taint { json!([{"key": "gpu", "value": "x", "effect": "NoSchedule"}]) } else { json!([]) };
            json!({"metadata": {"name": name, "labels": {"zone": "a"}}, "spec": {"taints": taints},
                "status": {"allocatable": {"cpu": "4", "pods": "10", "nvidia.com/gpu": gpus}, "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        let gpu = template(json!({"limits": {"nvidia.com/gpu": "2"}}));
        let pod = json!({"spec": {"nodeName": "a", "containers": gpu["spec"]["containers"]}, "status": {"phase": "Running"}});
        let nodes = [node("a", "4", false), node("b", "3", false), node("c", "8", true)];
        assert_eq!(no_node(&gpu, 2, &nodes, &Taken::by([&pod])), None);
        assert_eq!(
            no_node(&gpu, 3, &nodes, &Taken::by([&pod])).unwrap_or_default(),
            "the nodes have room for 2 of 3 more Pods: each takes 2 of nvidia.com/gpu"
        );
        let mut elsewhere = gpu.clone();
        elsewhere["spec"]["nodeSelector"] = json!({"zone": "b"});
        assert!(
            no_node(&elsewhere, 1, &nodes, &Taken::default())
                .unwrap_or_default()
                .contains("no node takes such Pods")
        );
        let mut tolerant = gpu;
        tolerant["spec"]["tolerations"] = json!([{"key": "gpu", "operator": "Exists"}]);
        assert_eq!(no_node(&tolerant, 6, &nodes, &Taken::default()), None);
    }
}
