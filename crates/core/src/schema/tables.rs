//! What the schemas do not say. Three committed tables, by definition name and
//! field: the values that defaulting functions and admission plugins put, the
//! fields that Kubernetes fills, and the fields that drop their zero value.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde_json::Value;

/// `definition.field = JSON`, or `definition.field = *` for "Kubernetes fills it".
const DEFAULTS: &str = include_str!("../../data/defaults.txt");
/// `definition: field field ...`, generated from the Go types of `k8s.io/api`.
const OMITS_ZERO: &str = include_str!("../../data/omits-zero.txt");

struct Tables {
    defaults: HashMap<(&'static str, &'static str), Value>,
    filled: HashSet<(&'static str, &'static str)>,
    omits_zero: HashMap<&'static str, HashSet<&'static str>>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut tables = Tables { defaults: HashMap::new(), filled: HashSet::new(), omits_zero: HashMap::new() };
    for (place, value) in lines(DEFAULTS).filter_map(|line| line.split_once(" = ")) {
        let Some(place) = place.rsplit_once('.') else { continue };
        if value == "*" {
            tables.filled.insert(place);
        } else if let Ok(value) = serde_json::from_str(value) {
            tables.defaults.insert(place, value);
        }
    }
    for (definition, fields) in lines(OMITS_ZERO).filter_map(|line| line.split_once(": ")) {
        tables.omits_zero.insert(definition, fields.split(' ').collect());
    }
    tables
});

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

pub(super) fn default_of(definition: &str, field: &str) -> Option<Value> {
    TABLES.defaults.get(&(definition, field)).cloned()
}

pub(super) fn is_filled(definition: &str, field: &str) -> bool {
    TABLES.filled.contains(&(definition, field))
}

pub(super) fn omits_zero(definition: &str, field: &str) -> bool {
    TABLES.omits_zero.get(definition).is_some_and(|fields| fields.contains(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Schemas, Type};

    /// A field that Kubernetes renames or drops leaves a stale line behind.
    #[test]
    fn every_default_is_of_a_field_that_the_schemas_have() {
        let schemas = Schemas::builtin();
        let named: HashSet<(&str, &str)> = (schemas.types.iter())
            .filter_map(|ty| if let Type::Struct(structure) = ty { Some(structure) } else { None })
            .flat_map(|structure| structure.fields.iter().map(|f| (structure.name.as_str(), f.name.as_str())))
            .collect();
        let places = lines(DEFAULTS).filter_map(|line| line.split_once(" = ")?.0.rsplit_once('.'));
        let stale: Vec<_> = places.filter(|place| !named.contains(place)).collect();
        assert!(stale.is_empty(), "{stale:?}");
    }

    #[test]
    fn every_line_of_the_tables_is_read() {
        for line in lines(DEFAULTS) {
            let (place, value) = line.split_once(" = ").unwrap_or_default();
            assert_eq!(place.matches('.').count(), 3, "{line}");
            assert!(value == "*" || serde_json::from_str::<Value>(value).is_ok(), "{line}");
        }
        assert!(omits_zero("core.v1.PodSpec", "hostNetwork"));
        assert!(!omits_zero("core.v1.PodSpec", "automountServiceAccountToken"));
    }
}
