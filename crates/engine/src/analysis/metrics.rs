//! The metrics of a Rollout. In: its spec, and the templates that it names.
//! Out: rules for the state machine, and by their names what is measured; or
//! what is wrong with a template.

use std::collections::BTreeMap;
use std::sync::Arc;

use gitops_api::analysis::{AnalysisTemplateSpec, Argument, Metric};
use gitops_api::rollout::{RolloutSpec, TemplateRef};
use gitops_cluster::{Cluster, ErrorKind};
use gitops_core::names::{API_VERSION, GROUP, SYSTEM_NAMESPACE};
use gitops_core::object::ObjectKey;
use gitops_core::rollout::desired::Declares;
use gitops_core::rollout::job::content;
use gitops_core::rollout::spec::Rule;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::reading::VARIABLES;
use super::{access, http};
use crate::expression::Expression;

/// Templates by name, or why there is none.
pub type Templates = BTreeMap<String, Result<AnalysisTemplateSpec, String>>;

/// A metric, ready to be measured.
#[derive(Clone, Debug)]
pub struct Ready {
    pub(super) rule: Rule,
    pub(super) metric: Metric,
    pub(super) success: Option<Arc<Expression>>,
}

/// Everything that is measured for one Rollout.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    ready: BTreeMap<String, Ready>,
    /// Rules, or what is wrong, by the name under which a template is used.
    rules: BTreeMap<String, Result<Vec<Rule>, String>>,
}

impl Metrics {
    /// Of a Rollout and the templates that it names.
    pub fn new(spec: &RolloutSpec, namespace: &str, rollout: &str, templates: &Templates) -> Self {
        let mut all = Self::default();
        for reference in spec.templates() {
            let used = used_as(reference);
            if all.rules.contains_key(&used) {
                continue;
            }
            let ready = templates
                .get(&reference.name)
                .cloned()
                .unwrap_or_else(|| Err(absent(&reference.name, namespace)))
                .and_then(|template| prepare(&template, reference, &used, namespace, rollout));
            let rules = ready.map(|ready| {
                let rules = ready.iter().map(|ready| ready.rule.clone()).collect();
                all.ready.extend(ready.into_iter().map(|ready| (ready.rule.name.clone(), ready)));
                rules
            });
            all.rules.insert(used, rules);
        }
        all
    }

    /// The rules of a template, as [`RolloutSpec::to_core`] asks for them.
    ///
    /// # Errors
    /// What is wrong with the template, or with its arguments.
    pub fn rules(&self, reference: &TemplateRef) -> Result<Vec<Rule>, String> {
        let found = self.rules.get(&used_as(reference)).cloned();
        found.unwrap_or_else(|| Err(format!("there is no AnalysisTemplate {}", reference.name)))
    }

    pub(super) fn get(&self, rule: &str) -> Option<&Ready> {
        self.ready.get(rule)
    }

    /// What Jobs may say that measure for this Rollout, of this uid.
    pub fn jobs(&self, uid: &str) -> Vec<Value> {
        let jobs = self.ready.values().filter_map(|ready| Some((ready, ready.metric.job.as_ref()?)));
        jobs.map(|(ready, job)| content(&job.template, &ready.rule.name, uid)).collect()
    }

    pub(super) fn has_jobs(&self) -> bool {
        self.ready.values().any(|ready| ready.metric.job.is_some())
    }
}

/// A template may be used more than once, with other arguments.
fn used_as(reference: &TemplateRef) -> String {
    let given =
        |argument: &Argument| format!("{}={}", argument.name, argument.value.as_deref().unwrap_or_default());
    match reference.args.as_slice() {
        [] => reference.name.clone(),
        args => format!("{}({})", reference.name, args.iter().map(given).collect::<Vec<_>>().join(",")),
    }
}

fn absent(name: &str, namespace: &str) -> String {
    format!(
        "there is no AnalysisTemplate {name} in Git beside the Rollout, in {namespace} or in {SYSTEM_NAMESPACE}"
    )
}

fn prepare(
    template: &AnalysisTemplateSpec,
    reference: &TemplateRef,
    used: &str,
    namespace: &str,
    rollout: &str,
) -> Result<Vec<Ready>, String> {
    let filled = template.filled(&reference.args, namespace, rollout).map_err(|error| error.to_string())?;
    let rules = filled.rules(used).map_err(|error| error.to_string())?;
    let named = |metric: &Metric, reason: String| format!("metric {}: {reason}", metric.name);
    let both = filled.metrics.into_iter().zip(rules);
    both.map(|(metric, rule)| {
        let success = metric.success.as_deref().map(|text| Expression::compile(text, &VARIABLES));
        let success = success.transpose().map_err(|reason| named(&metric, format!("success: {reason}")))?;
        check(&metric).map_err(|reason| named(&metric, reason))?;
        Ok(Ready { rule, metric, success })
    })
    .collect()
}

/// What is wrong with a metric, and in which field of it.
pub(crate) fn faults(metric: &Metric) -> Vec<(&'static str, String)> {
    let success = metric.success.as_deref();
    let success = success.and_then(|text| Expression::compile(text, &VARIABLES).err());
    let whole = check(metric).err();
    success.map(|reason| ("success", reason)).into_iter().chain(whole.map(|reason| ("", reason))).collect()
}

/// What the definition does not say of a metric.
fn check(metric: &Metric) -> Result<(), String> {
    let ways = [
        metric.prometheus.is_some(),
        metric.http.is_some(),
        metric.job.is_some(),
        metric.kubernetes.is_some(),
    ];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        return Err("exactly one of prometheus, http, job and kubernetes is needed".into());
    }
    let compared = metric.prometheus.as_ref().is_some_and(|one| one.baseline_query.is_some());
    if metric.success.is_none() && metric.job.is_none() && metric.kubernetes.is_none() && !compared {
        return Err("a condition is needed: success".into());
    }
    if let Some(job) = &metric.job {
        let containers = job.template.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        if containers.is_none_or(Vec::is_empty) {
            return Err(
                "job.template has no spec.template.spec.containers: it is what a CronJob calls jobTemplate"
                    .into(),
            );
        }
    }
    let both = [
        metric.prometheus.as_ref().and_then(|one| one.access.as_ref()),
        metric.http.as_ref().and_then(|one| one.access.as_ref()),
    ];
    both.into_iter()
        .flatten()
        .try_for_each(|one| access::check(one).map_err(|why| format!("access: {why}")))?;
    metric.http.as_ref().map_or(Ok(()), |http| http::check(&http.json_path))
}

/// The templates that a Rollout names: those of its commit, else those that
/// are in its namespace or in gitops-system.
pub async fn templates(
    cluster: &Cluster,
    spec: &RolloutSpec,
    namespace: &str,
    commit: &dyn Declares,
) -> Templates {
    let mut found = Templates::new();
    for reference in spec.templates() {
        let name = &reference.name;
        if found.contains_key(name) {
            continue;
        }
        let key = ObjectKey {
            group: GROUP.into(),
            kind: "AnalysisTemplate".into(),
            namespace: namespace.to_owned(),
            name: name.clone(),
        };
        let template = match commit.declared(&key) {
            Some(declared) => read(name, &declared.value),
            None => live(cluster, namespace, name).await,
        };
        found.insert(name.clone(), template);
    }
    found
}

async fn live(cluster: &Cluster, namespace: &str, name: &str) -> Result<AnalysisTemplateSpec, String> {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    for place in [namespace, SYSTEM_NAMESPACE] {
        let path =
            format!("/apis/{API_VERSION}/namespaces/{}/analysistemplates/{}", escape(place), escape(name));
        match cluster.get_json(&path).await {
            Ok(template) => return read(name, &template),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("AnalysisTemplate {place}/{name} cannot be read: {error}")),
        }
    }
    Err(absent(name, namespace))
}

/// A template as Git or the cluster has it.
///
/// # Errors
/// The field that cannot be read.
pub fn read(name: &str, template: &Value) -> Result<AnalysisTemplateSpec, String> {
    let spec = template.get("spec").unwrap_or(&Value::Null);
    AnalysisTemplateSpec::deserialize(spec).map_err(|error| format!("AnalysisTemplate {name}: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(metric: Value, args: Value) -> Result<Vec<String>, String> {
        let spec: RolloutSpec = serde_json::from_value(json!({
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "strategy": {"rolling": {"batches": [100], "analysis": {"templates": [{"name": "errors", "args": args}]}}}}))
        .unwrap();
        let template = json!({"spec": {"args": [{"name": "service", "value": "web"}], "metrics": [metric]}});
        let templates = Templates::from([("errors".to_owned(), read("errors", &template))]);
        let metrics = Metrics::new(&spec, "shop", "web", &templates);
        let core =
            spec.to_core("shop", &|reference| metrics.rules(reference)).map_err(|error| error.to_string())?;
        let gitops_core::rollout::spec::Strategy::Rolling { analysis, .. } = core.strategy else { panic!() };
        assert!(analysis.iter().all(|rule| metrics.get(&rule.name).is_some()));
        Ok(analysis.into_iter().map(|rule| rule.name).collect())
    }

    #[test]
    fn rules_have_the_names_of_template_and_metric() {
        let metric = json!({"name": "rate", "success": "result < 1", "prometheus": {"address": "http://p", "query": "q"}});
        assert_eq!(rules(metric.clone(), json!([])).unwrap(), ["errors/rate"]);
        let args = json!([{"name": "service", "value": "api"}]);
        assert_eq!(rules(metric, args).unwrap(), ["errors(service=api)/rate"]);
    }

    #[test]
    fn mistakes_are_told_with_template_and_metric() {
        let http = |path: &str| json!({"name": "m", "success": "result", "http": {"url": "http://x", "jsonPath": path}});
        let prometheus = json!({"address": "http://p", "query": "{{args.port}}"});
        for (metric, args, expected) in [
            (
                json!({"name": "m", "success": "result <", "kubernetes": {"signals": ["Events"]}}),
                json!([]),
                "metric m: success: line 1",
            ),
            (
                json!({"name": "m", "success": "value < 1", "kubernetes": {"signals": ["Events"]}}),
                json!([]),
                "there is no \"value\"; there are: result",
            ),
            (json!({"name": "m", "success": "true"}), json!([]), "metric m: exactly one of"),
            (json!({"name": "m", "prometheus": prometheus}), json!([]), "it has no argument \"port\""),
            (
                json!({"name": "m", "http": {"url": "http://x", "jsonPath": "$.a"}}),
                json!([]),
                "a condition is needed",
            ),
            (http("$.a["), json!([]), "metric m: jsonPath"),
            (http("$.a"), json!([{"name": "prot"}]), "it has no argument \"prot\"; there are: service"),
            (
                json!({"name": "m", "interval": "soon", "success": "true", "kubernetes": {"signals": []}}),
                json!([]),
                "interval",
            ),
            (json!({"name": "m", "x": 1}), json!([]), "unknown field"),
        ] {
            let error = rules(metric, args).unwrap_err();
            assert!(
                error.contains("templates[name=errors]") && error.contains(expected),
                "{expected}: {error}"
            );
        }
    }
}
