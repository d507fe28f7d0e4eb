//! Values of a HelmRelease: those that it takes from ConfigMaps, where they are
//! among the files, and its own over them.

use serde_json::{Value, json};

use crate::convert::Surroundings;
use crate::convert::field::{Field, Map, Resource, Weight};
use crate::convert::values::{merge, nested, read, typed};

/// The key of a ConfigMap or Secret that holds values.
const KEY: &str = "values.yaml";

pub(super) fn of(fields: &mut Map<'_>, resource: &Resource, around: &Surroundings<'_, '_>) -> Option<Value> {
    let mut values = json!({});
    for field in fields.items("valuesFrom") {
        match taken(&field, resource, around) {
            Ok(taken) => merge(&mut values, taken),
            Err(words) => field.tell(Weight::What, words),
        }
    }
    if let Some(own) = fields.take("values").filter(Field::is_said) {
        merge(&mut values, own.value.clone());
    }
    values.as_object().is_some_and(|values| !values.is_empty()).then_some(values)
}

/// What a reference stands for, or why that cannot be taken.
fn taken(field: &Field<'_>, resource: &Resource, around: &Surroundings<'_, '_>) -> Result<Value, String> {
    let mut from = field.clone().map();
    let [kind, name, key, target] = ["kind", "name", "valuesKey", "targetPath"].map(|name| from.text(name));
    from.pass(&["optional"]);
    from.leave(Weight::What, &[("literal", "helm reads the value as it reads --set")]);
    from.end();
    let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
    if kind != "ConfigMap" {
        return Err(format!(
            "values of {kind} {name} in the cluster are none of Git's, and left out: commit them, encrypted by SOPS, and name that file in helm.valueFiles"
        ));
    }
    let namespace = resource.namespace();
    let is_meant = |one: &&Resource| {
        one.group().is_empty()
            && one.kind() == kind
            && one.name() == name
            && (one.namespace() == namespace || one.namespace().is_empty() || namespace.is_empty())
    };
    let key = key.unwrap_or_else(|| KEY.into());
    let found = around.all.iter().find(is_meant);
    let text = found.and_then(|map| map.value.get("data")?.get(&key)?.as_str());
    let text = text.ok_or_else(|| {
        format!("ConfigMap {name} with {key} is not among the files: commit its values, and name that file in helm.valueFiles")
    })?;
    match target {
        Some(target) => nested(&target, typed(text))
            .ok_or_else(|| format!("{target} leads into a list: write the whole list into the values")),
        None => read(text).map_err(|reason| format!("{key} of ConfigMap {name} cannot be read: {reason}")),
    }
    .inspect(|_| {
        field.tell(
            Weight::How,
            format!("the values of ConfigMap {name} are copied: change them in gitops.yaml from now on"),
        )
    })
}
