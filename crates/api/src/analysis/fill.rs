//! Arguments of a template. In: a template and the values given for its
//! arguments. Out: the template with every `{{args.NAME}}` replaced. What only
//! a measurement knows (`{{new.hash}}`) is replaced then.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{AnalysisTemplateSpec, Argument};

/// What a measurement knows of the two versions.
pub const VERSIONS: [&str; 4] = ["new.hash", "new.revision", "stable.hash", "stable.revision"];

/// Why a template cannot be used so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    #[error("argument {0:?} has no value")]
    NoValue(String),
    #[error("it has no argument {name:?}; there are: {}", list(.known))]
    Unknown { name: String, known: Vec<String> },
    #[error("there is no {{{{{0}}}}}; there are args.NAME, rollout.name, rollout.namespace, {versions}", versions = VERSIONS.join(", "))]
    NoSuch(String),
    #[error("{{{{{0}}}}} is not known in a Job, which is what Git says")]
    NotInJob(String),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

impl AnalysisTemplateSpec {
    /// The template for one Rollout: arguments and the Rollout's name are put
    /// in everywhere.
    ///
    /// # Errors
    /// The argument that has no value, or that the template does not have.
    pub fn filled(&self, given: &[Argument], namespace: &str, rollout: &str) -> Result<Self, FillError> {
        let known: Vec<String> = self.args.iter().map(|argument| argument.name.clone()).collect();
        if let Some(foreign) = given.iter().find(|argument| !known.contains(&argument.name)) {
            return Err(FillError::Unknown { name: foreign.name.clone(), known });
        }
        let mut values = BTreeMap::new();
        for argument in self.args.iter().chain(given) {
            if let Some(value) = &argument.value {
                values.insert(argument.name.as_str(), value.as_str());
            }
        }
        let look = |name: &str| match name.split_once('.') {
            Some(("args", name)) => match values.get(name) {
                Some(value) => Ok(Some((*value).to_owned())),
                None if known.iter().any(|known| known == name) => Err(FillError::NoValue(name.into())),
                None => Err(FillError::Unknown { name: name.into(), known: known.clone() }),
            },
            Some(("rollout", "name")) => Ok(Some(rollout.to_owned())),
            Some(("rollout", "namespace")) => Ok(Some(namespace.to_owned())),
            _ if VERSIONS.contains(&name) => Ok(None),
            Some(("new" | "stable" | "rollout", _)) => Err(FillError::NoSuch(name.into())),
            _ => Ok(None),
        };
        let mut filled = self.clone();
        for metric in &mut filled.metrics {
            for text in metric.texts() {
                *text = fill(text, &look)?;
            }
            if let Some(job) = &mut metric.job {
                let look = |name: &str| match VERSIONS.contains(&name) {
                    true => Err(FillError::NotInJob(name.into())),
                    false => look(name),
                };
                fill_all(&mut job.template, &look)?;
            }
        }
        Ok(filled)
    }
}

/// Replaces `{{NAME}}` by what `look` gives; what it does not know stays.
///
/// # Errors
/// Those of `look`.
pub fn fill<E>(text: &str, look: &dyn Fn(&str) -> Result<Option<String>, E>) -> Result<String, E> {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, tail)) = rest.split_once("{{") {
        let Some((name, after)) = tail.split_once("}}") else { break };
        filled.push_str(before);
        match look(name.trim())? {
            Some(value) => filled.push_str(&value),
            None => {
                filled.push_str("{{");
                filled.push_str(name);
                filled.push_str("}}");
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn fill_all<E>(value: &mut Value, look: &dyn Fn(&str) -> Result<Option<String>, E>) -> Result<(), E> {
    match value {
        Value::String(text) => *text = fill(text, look)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_all(item, look))?,
        Value::Object(map) => map.values_mut().try_for_each(|item| fill_all(item, look))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(query: &str, given: Value) -> Result<String, String> {
        let template: AnalysisTemplateSpec = serde_json::from_value(json!({
            "args": [{"name": "service"}, {"name": "window", "value": "1m"}],
            "metrics": [{"name": "errors", "success": "result < 1",
                "prometheus": {"address": "http://prometheus:9090", "query": query}}]}))
        .unwrap();
        let given: Vec<Argument> = serde_json::from_value(given).unwrap();
        let filled = template.filled(&given, "shop", "web").map_err(|error| error.to_string())?;
        Ok(filled.metrics[0].prometheus.clone().unwrap().query)
    }

    #[test]
    fn arguments_are_put_in() {
        let given = json!([{"name": "service", "value": "web"}]);
        for (query, expected) in [
            ("a{s=\"{{args.service}}\"}[{{ args.window }}]", "a{s=\"web\"}[1m]"),
            ("{{rollout.namespace}}/{{rollout.name}}", "shop/web"),
            // Others use braces too.
            ("{{ .Values.x }} {{open", "{{ .Values.x }} {{open"),
            ("h=\"{{new.hash}}\"", "h=\"{{new.hash}}\""),
        ] {
            assert_eq!(filled(query, given.clone()).as_deref(), Ok(expected));
        }
        let more = json!([{"name": "service", "value": "web"}, {"name": "window", "value": "5m"}]);
        assert_eq!(filled("{{args.window}}", more).as_deref(), Ok("5m"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (query, given, expected) in [
            ("{{args.service}}", json!([]), "argument \"service\" has no value"),
            ("{{args.servce}}", json!([]), "it has no argument \"servce\"; there are: service, window"),
            ("x", json!([{"name": "port", "value": "1"}]), "it has no argument \"port\""),
            ("{{new.tag}}", json!([]), "there is no {{new.tag}}; there are args.NAME"),
        ] {
            let error = filled(query, given).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_job_is_filled_everywhere() {
        let template: AnalysisTemplateSpec = serde_json::from_value(json!({
            "args": [{"name": "url"}],
            "metrics": [{"name": "smoke", "job": {"template": {"spec": {"containers": [{"args": ["{{args.url}}", 1]}]}}}}]}))
        .unwrap();
        let given = Argument { name: "url".into(), value: Some("http://web".into()) };
        let filled = template.filled(&[given], "shop", "web").unwrap();
        let job = &filled.metrics[0].job.as_ref().unwrap().template;
        assert_eq!(job.pointer("/spec/containers/0/args"), Some(&json!(["http://web", 1])));
        let mut versioned = template;
        versioned.metrics[0].job.as_mut().unwrap().template = json!({"spec": "{{new.hash}}"});
        let error = versioned.filled(&[], "shop", "web").unwrap_err().to_string();
        assert!(error.starts_with("{{new.hash}} is not known in a Job"), "{error}");
    }
}
