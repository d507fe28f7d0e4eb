//! Where a Service's traffic goes. In: EndpointSlices, Endpoints, Pods. Out:
//! the addresses in them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::ObjectKey;

/// Where the traffic of a slice's Service may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Endpoints {
    /// Not looked up yet.
    #[default]
    Unknown,
    /// Git declares no such Service.
    Undeclared,
    /// Git declares it without a selector: whoever makes its endpoints.
    Unselected,
    /// To the addresses of the Pods that it selects.
    Selected(BTreeSet<String>),
}

/// The Service whose traffic an EndpointSlice or Endpoints leads.
pub fn service_of(key: &ObjectKey, object: Option<&Value>) -> Option<String> {
    match (key.group.as_str(), key.kind.as_str()) {
        ("discovery.k8s.io", "EndpointSlice") => {
            let labels = object?.pointer("/metadata/labels")?;
            Some(labels.get("kubernetes.io/service-name")?.as_str()?.to_owned())
        }
        ("", "Endpoints") => Some(key.name.clone()),
        _ => None,
    }
}

/// The addresses in an EndpointSlice or Endpoints.
pub fn addresses(object: Option<&Value>) -> BTreeSet<String> {
    let Some(object) = object else { return BTreeSet::new() };
    let list = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned();
    let mut all = BTreeSet::new();
    for endpoint in list(object, "endpoints").into_iter().flatten() {
        let given = list(&endpoint, "addresses").into_iter().flatten();
        all.extend(given.filter_map(|address| address.as_str().map(str::to_owned)));
    }
    for subset in list(object, "subsets").into_iter().flatten() {
        for field in ["addresses", "notReadyAddresses"] {
            let given = list(&subset, field).into_iter().flatten();
            all.extend(given.filter_map(|address| Some(address.get("ip")?.as_str()?.to_owned())));
        }
    }
    all
}

/// The addresses of those Pods that a Service's selector selects.
pub fn selects<'a>(selector: &Value, pods: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    let selected = pods.filter(|pod| super::selects_labels(selector, pod.pointer("/metadata/labels")));
    let addresses = |pod: &Value| -> Vec<String> {
        let all = pod.pointer("/status/podIPs").and_then(Value::as_array).cloned().unwrap_or_default();
        let first = pod.pointer("/status/podIP").and_then(Value::as_str).map(str::to_owned);
        let all = all.iter().filter_map(|address| Some(address.get("ip")?.as_str()?.to_owned()));
        all.chain(first).collect()
    };
    selected.flat_map(addresses).collect()
}
