//! What admission plugins put into a Pod beside its template. In: the
//! cluster's defaults for a namespace. Out: a Pod with them. Asked for only
//! where a Pod differs from its template.

use serde_json::{Map, Value};

use super::object;
use super::pods::add_to_list;

/// What lies around a Pod.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// ControllerRevisions of the owner.
    pub revisions: Vec<Value>,
    /// LimitRanges of the namespace.
    pub limit_ranges: Vec<Value>,
    /// All PriorityClasses.
    pub priority_classes: Vec<Value>,
    /// The Pod's RuntimeClass.
    pub runtime_class: Option<Value>,
    /// What Jobs say that measure for the Rollout which owns this one.
    pub jobs: Vec<Value>,
}

impl Surroundings {
    /// The Pod with what the plugins LimitRanger, Priority and RuntimeClass
    /// put where the template, or a Pod in Git, says nothing.
    pub fn fill(&self, mut want: Value) -> Value {
        let spec = object(&mut want, "spec");
        self.priority(spec);
        self.runtime(spec);
        for containers in ["containers", "initContainers"] {
            for container in spec.get_mut(containers).and_then(Value::as_array_mut).into_iter().flatten() {
                self.limits(container);
            }
        }
        want
    }

    fn priority(&self, spec: &mut Map<String, Value>) {
        let named =
            spec.get("priorityClassName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        let default =
            self.priority_classes.iter().find(|class| class.get("globalDefault") == Some(&Value::Bool(true)));
        if let Some(name) = default.filter(|_| !named).and_then(|class| class.pointer("/metadata/name")) {
            spec.insert("priorityClassName".into(), name.clone());
        }
    }

    fn runtime(&self, spec: &mut Map<String, Value>) {
        let Some(scheduling) = self.runtime_class.as_ref().and_then(|class| class.get("scheduling")) else {
            return;
        };
        if let Some(selector) = scheduling.get("nodeSelector").and_then(Value::as_object) {
            let mut merged = spec.get("nodeSelector").and_then(Value::as_object).cloned().unwrap_or_default();
            for (key, value) in selector {
                merged.entry(key.clone()).or_insert_with(|| value.clone());
            }
            spec.insert("nodeSelector".into(), merged.into());
        }
        let tolerations = scheduling.get("tolerations").and_then(Value::as_array);
        add_to_list(spec, "tolerations", tolerations.cloned().unwrap_or_default());
    }

    /// A default request is no use where the template has a limit: that is
    /// the request already.
    fn limits(&self, container: &mut Value) {
        let resources = object(container, "resources");
        let declared = resources.clone();
        let has = |field: &str, name: &str| declared.get(field).is_some_and(|map| map.get(name).is_some());
        let items = self.limit_ranges.iter().filter_map(|range| range.pointer("/spec/limits")?.as_array());
        for item in items.flatten().filter(|item| item.get("type") == Some(&"Container".into())) {
            for (from, to) in [("default", "limits"), ("defaultRequest", "requests")] {
                for (name, quantity) in item.get(from).and_then(Value::as_object).into_iter().flatten() {
                    if has(to, name) || to == "requests" && has("limits", name) {
                        continue;
                    }
                    super::object_in(resources, to).entry(name).or_insert_with(|| quantity.clone());
                }
            }
        }
    }
}
