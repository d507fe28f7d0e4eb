//! From the resource to what core decides by. In: a Rollout's spec, and the
//! templates that it names. Out: core's spec, or the field that cannot be read.

use gitops_core::object::ObjectKey;
use gitops_core::path::Path;
use gitops_core::rollout::spec::{self as core, Rule, Size, Spec};
use k8s_openapi::jiff::{Span, SpanRelativeTo};

use super::{Analysis, BlueGreen, OnFailure, RolloutSpec, Step, Strategy, TemplateRef, Traffic};
use crate::analysis::{AnalysisTemplateSpec, Metric};

/// What of a Rollout cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RolloutError {
    pub field: String,
    pub reason: String,
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> RolloutError {
    RolloutError { field: field.into(), reason: reason.into() }
}

/// Seconds of a duration as people write it.
fn seconds(field: &str, text: &str) -> Result<i64, RolloutError> {
    let span: Span = text.parse().map_err(|error| wrong(field, format!("{text:?}: {error}")))?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let seconds = duration.map_err(|error| wrong(field, error.to_string()))?.as_secs();
    if seconds < 0 { Err(wrong(field, format!("{text:?} is negative"))) } else { Ok(seconds) }
}

fn percent(field: &str, value: i32) -> Result<u8, RolloutError> {
    u8::try_from(value)
        .ok()
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| wrong(field, format!("{value} is no percentage")))
}

/// Rules of a template, or why there are none.
type Resolve<'a> = &'a dyn Fn(&TemplateRef) -> Result<Vec<Rule>, String>;

impl RolloutSpec {
    /// Core's spec. `resolve` gives the rules of a template.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn to_core(&self, namespace: &str, resolve: Resolve<'_>) -> Result<Spec, RolloutError> {
        let group = self.target.api_version.split_once('/').map_or("", |(group, _)| group);
        Ok(Spec {
            target: ObjectKey {
                group: group.to_owned(),
                kind: self.target.kind.clone(),
                namespace: namespace.to_owned(),
                name: self.target.name.clone(),
            },
            strategy: strategy(&self.strategy, resolve)?,
            traffic: self.traffic.as_ref().map(traffic).transpose()?.unwrap_or_default(),
            analysis: rules("spec.analysis", self.analysis.as_ref(), resolve)?,
            progress_deadline: seconds("spec.deadlines.progress", &self.deadlines.progress)?,
            total_deadline: seconds("spec.deadlines.total", &self.deadlines.total)?,
            on_failure: match self.on_failure {
                OnFailure::Revert => core::OnFailure::Revert,
                OnFailure::Branch => core::OnFailure::Branch,
                OnFailure::Hold => core::OnFailure::Hold,
            },
        })
    }

    /// The same without any analysis: what the gate needs.
    ///
    /// # Errors
    /// As of [`Self::to_core`].
    pub fn outline(&self, namespace: &str) -> Result<Spec, RolloutError> {
        self.to_core(namespace, &|_| Ok(Vec::new()))
    }

    /// The templates that it names.
    pub fn templates(&self) -> Vec<&TemplateRef> {
        let strategy = &self.strategy;
        let steps = strategy.canary.iter().flat_map(|canary| &canary.steps);
        let mut all: Vec<Option<&Analysis>> = steps.map(|step| step.analysis.as_ref()).collect();
        all.push(self.analysis.as_ref());
        all.extend(strategy.rolling.iter().map(|rolling| rolling.analysis.as_ref()));
        all.extend(strategy.recreate.iter().flat_map(|way| [way.before.as_ref(), way.after.as_ref()]));
        all.extend(strategy.blue_green.iter().flat_map(|way| [way.before.as_ref(), way.after.as_ref()]));
        all.into_iter().flatten().flat_map(|analysis| &analysis.templates).collect()
    }
}

fn rules(field: &str, analysis: Option<&Analysis>, resolve: Resolve<'_>) -> Result<Vec<Rule>, RolloutError> {
    let mut all = Vec::new();
    for template in analysis.into_iter().flat_map(|analysis| &analysis.templates) {
        let found = resolve(template);
        all.extend(
            found.map_err(|reason| wrong(format!("{field}.templates[name={}]", template.name), reason))?,
        );
    }
    Ok(all)
}

fn strategy(strategy: &Strategy, resolve: Resolve<'_>) -> Result<core::Strategy, RolloutError> {
    match strategy {
        Strategy { canary: Some(canary), .. } => {
            let steps = canary.steps.iter().enumerate();
            let steps = steps
                .map(|(at, step)| self::step(&format!("spec.strategy.canary.steps[{at}]"), step, resolve));
            Ok(core::Strategy::Canary(steps.collect::<Result<_, _>>()?))
        }
        Strategy { rolling: Some(rolling), .. } => {
            let field = "spec.strategy.rolling.batches";
            let batches = rolling.batches.iter().map(|batch| percent(field, *batch));
            Ok(core::Strategy::Rolling {
                batches: batches.collect::<Result<_, _>>()?,
                analysis: rules("spec.strategy.rolling.analysis", rolling.analysis.as_ref(), resolve)?,
            })
        }
        Strategy { recreate: Some(recreate), .. } => Ok(core::Strategy::Recreate {
            before: rules("spec.strategy.recreate.before", recreate.before.as_ref(), resolve)?,
            after: rules("spec.strategy.recreate.after", recreate.after.as_ref(), resolve)?,
        }),
        Strategy { blue_green: Some(blue_green), .. } => self::blue_green(blue_green, resolve),
        _ => Err(wrong("spec.strategy", "exactly one strategy is needed")),
    }
}

fn blue_green(way: &BlueGreen, resolve: Resolve<'_>) -> Result<core::Strategy, RolloutError> {
    Ok(core::Strategy::BlueGreen {
        active_service: way.active_service.clone(),
        preview_service: way.preview_service.clone(),
        preview_replicas: size("spec.strategy.blueGreen.previewReplicas", &way.preview_replicas)?,
        auto_promote: way.auto_promote,
        before: rules("spec.strategy.blueGreen.before", way.before.as_ref(), resolve)?,
        after: rules("spec.strategy.blueGreen.after", way.after.as_ref(), resolve)?,
        scale_down_delay: seconds("spec.strategy.blueGreen.scaleDownDelay", &way.scale_down_delay)?,
    })
}

fn size(field: &str, text: &str) -> Result<Size, RolloutError> {
    let bad = || wrong(field, format!("{text:?} is neither a number nor a percentage"));
    match text.strip_suffix('%') {
        Some(number) => percent(field, number.parse().map_err(|_| bad())?).map(Size::Percent),
        None => text.parse().map(Size::Count).map_err(|_| bad()),
    }
}

fn step(field: &str, step: &Step, resolve: Resolve<'_>) -> Result<core::Step, RolloutError> {
    let percent = |name: &str, value: i32| percent(&format!("{field}.{name}"), value);
    if let Some(weight) = step.set_weight {
        Ok(core::Step::SetWeight(percent("setWeight", weight)?))
    } else if let Some(scale) = step.set_scale {
        Ok(core::Step::SetScale(percent("setScale", scale)?))
    } else if let Some(header) = &step.set_header {
        let (name, value) = (header.name.clone(), header.value.clone());
        Ok(core::Step::SetHeader(core::Header { name, value }))
    } else if let Some(mirror) = step.set_mirror {
        Ok(core::Step::SetMirror(percent("setMirror", mirror)?))
    } else if let Some(analysis) = &step.analysis {
        Ok(core::Step::Analysis(rules(&format!("{field}.analysis"), Some(analysis), resolve)?))
    } else if let Some(pause) = &step.pause {
        let field = format!("{field}.pause.duration");
        let duration = pause.duration.as_deref().map(|text| seconds(&field, text));
        Ok(core::Step::Pause(duration.transpose()?))
    } else {
        Err(wrong(field, "a step does exactly one thing"))
    }
}

fn traffic(traffic: &Traffic) -> Result<core::Traffic, RolloutError> {
    let path = traffic.weight_path.as_deref().map(|text| {
        text.parse::<Path>().map_err(|error| wrong("spec.traffic.weightPath", error.to_string()))
    });
    let routes = traffic.routes.iter();
    let routes =
        routes.map(|route| core::Route { kind: format!("{:?}", route.kind), name: route.name.clone() });
    Ok(core::Traffic {
        stable_service: traffic.stable_service.clone(),
        canary_service: traffic.canary_service.clone(),
        routes: routes.collect(),
        weight_path: path.transpose()?,
    })
}

impl AnalysisTemplateSpec {
    /// Its rules, under the template's name.
    ///
    /// # Errors
    /// When an interval cannot be read.
    pub fn rules(&self, name: &str) -> Result<Vec<Rule>, RolloutError> {
        self.metrics.iter().map(|metric| rule(name, metric)).collect()
    }
}

fn rule(template: &str, metric: &Metric) -> Result<Rule, RolloutError> {
    let field = format!("spec.metrics[name={}].interval", metric.name);
    Ok(Rule {
        name: format!("{template}/{}", metric.name),
        interval: seconds(&field, &metric.interval)?,
        count: u32::try_from(metric.count).unwrap_or(1),
        failure_limit: u32::try_from(metric.failure_limit).unwrap_or(0),
        inconclusive_limit: u32::try_from(metric.inconclusive_limit).unwrap_or(0),
        min_samples: u64::try_from(metric.min_samples).unwrap_or(0),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(strategy: Value, traffic: Value) -> Result<Spec, RolloutError> {
        let spec: RolloutSpec = serde_json::from_value(json!({
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "strategy": strategy, "traffic": traffic, "deadlines": {"progress": "90s"}}))
        .unwrap();
        let rule = |name: &str| Rule {
            name: name.into(),
            interval: 1,
            count: 1,
            failure_limit: 0,
            inconclusive_limit: 0,
            min_samples: 0,
        };
        spec.to_core("shop", &|template| match template.name.as_str() {
            "none" => Err("there is no such template".into()),
            name => Ok(vec![rule(name)]),
        })
    }

    #[test]
    fn every_strategy_is_read() {
        let steps = json!([{"setWeight": 10}, {"setScale": 20}, {"setHeader": {"name": "a", "value": "b"}},
            {"setMirror": 5}, {"analysis": {"templates": [{"name": "errors"}]}}, {"pause": {"duration": "5m"}}, {"pause": {}}]);
        let spec = read(json!({"canary": {"steps": steps}}), Value::Null).unwrap();
        assert_eq!((spec.progress_deadline, spec.total_deadline), (90, 7200));
        let core::Strategy::Canary(steps) = &spec.strategy else { panic!("{spec:?}") };
        assert_eq!(steps.len(), 7);
        assert_eq!((&steps[5], &steps[6]), (&core::Step::Pause(Some(300)), &core::Step::Pause(None)));
        for strategy in [json!({"rolling": {"batches": [10, 100]}}), json!({"recreate": {}})] {
            read(strategy, json!({"stableService": "web", "canaryService": "new"})).unwrap();
        }
        let spec = read(json!({"blueGreen": {"activeService": "web", "previewReplicas": "2"}}), Value::Null);
        let core::Strategy::BlueGreen { preview_replicas, .. } = spec.unwrap().strategy else { panic!() };
        assert_eq!(preview_replicas, Size::Count(2));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let told = |strategy: Value, traffic: Value| read(strategy, traffic).unwrap_err().to_string();
        let pause = json!({"canary": {"steps": [{"pause": {"duration": "soon"}}]}});
        assert!(told(pause, Value::Null).starts_with("spec.strategy.canary.steps[0].pause.duration"));
        let none = json!({"recreate": {"before": {"templates": [{"name": "none"}]}}});
        assert!(told(none, Value::Null).contains("before.templates[name=none]: there is no such"));
        let size = json!({"blueGreen": {"activeService": "web", "previewReplicas": "many"}});
        assert!(told(size, Value::Null).contains("neither a number"));
        assert!(told(json!({}), Value::Null).contains("exactly one"));
    }
}
