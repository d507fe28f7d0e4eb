//! The compact type tree that comparison works on. In: the cluster's OpenAPI
//! v3 documents and the kinds that Git tracks. Out: [`Schemas`], small enough
//! to keep on disk and in memory for every tracked kind.

mod compile;
mod tables;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use compile::SchemaError;

use crate::object::Gvk;

/// Index of a [`Type`] in its [`Schemas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TypeId(pub(crate) u32);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Type {
    /// Compared structurally: unknown, or `x-kubernetes-preserve-unknown-fields`.
    Any,
    Scalar(Scalar),
    Struct(Struct),
    /// Free keys, one type of value.
    Map(TypeId),
    List(TypeId, ListKind),
}

impl Type {
    /// The same, with the types that it names at other places.
    fn moved(&self, mut to: impl FnMut(&TypeId) -> TypeId) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Scalar(scalar) => Self::Scalar(*scalar),
            Self::Map(value) => Self::Map(to(value)),
            Self::List(item, kind) => Self::List(to(item), kind.clone()),
            Self::Struct(structure) => Self::Struct(Struct {
                name: structure.name.clone(),
                fields: structure
                    .fields
                    .iter()
                    .map(|field| Field { ty: to(&field.ty), ..field.clone() })
                    .collect(),
            }),
        }
    }
}

/// How two scalars are held to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scalar {
    /// Strings, numbers and booleans by their value.
    Plain,
    Quantity,
    /// A quantity that the API server rounds up to a thousandth: those of a
    /// `ResourceList` of the core group.
    Resource,
    /// Go's `time.ParseDuration`.
    Duration,
    /// Bytes as base64.
    Bytes,
    /// RFC 3339.
    Time,
}

/// How a list's elements find each other (KEP-555, `x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    /// Keys with their defaults.
    Map(Vec<(String, Option<Value>)>),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Struct {
    /// Definition name without its reverse domain, such as `core.v1.Container`;
    /// empty for inline ones.
    pub(crate) name: String,
    /// Sorted by name.
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: TypeId,
    /// What the API server or an admission plugin puts where Git says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<Value>,
    /// Kubernetes itself fills it where Git says nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) filled: bool,
    /// Go drops the zero value when it writes the field, so zero is absence.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) omits_zero: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Struct {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok().map(|at| &self.fields[at])
    }
}

/// Compiled schemas of some kinds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Schemas {
    types: Vec<Type>,
    #[serde(with = "kinds_as_list")]
    kinds: HashMap<Gvk, TypeId>,
}

impl Schemas {
    /// No kinds: everything is compared structurally.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `gvk` has been compiled.
    pub fn has(&self, gvk: &Gvk) -> bool {
        self.kinds.contains_key(gvk)
    }

    /// The compiled kinds.
    pub fn kinds(&self) -> impl Iterator<Item = &Gvk> {
        self.kinds.keys()
    }

    /// Adds the kinds of `other` that are not here yet.
    pub fn extend(&mut self, other: &Schemas) {
        if other.kinds.keys().all(|gvk| self.has(gvk)) {
            return;
        }
        let offset = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        let moved = |id: &TypeId| TypeId(id.0 + offset);
        self.types.extend(other.types.iter().map(|ty| ty.moved(moved)));
        for (gvk, id) in &other.kinds {
            self.kinds.entry(gvk.clone()).or_insert_with(|| moved(id));
        }
    }

    /// What belongs to one kind, numbered by itself: it is the same whatever else has
    /// been compiled beside it. Empty for a kind that is not here.
    #[must_use]
    pub fn only(&self, gvk: &Gvk) -> Self {
        let mut order: Vec<TypeId> = self.root(gvk).into_iter().collect();
        let mut numbers: HashMap<u32, TypeId> = order.iter().map(|root| (root.0, TypeId(0))).collect();
        let mut types = Vec::new();
        while let Some(id) = order.get(types.len()).copied() {
            let ty = self.get(id).moved(|id| {
                *numbers.entry(id.0).or_insert_with(|| {
                    order.push(*id);
                    TypeId(u32::try_from(order.len() - 1).unwrap_or(u32::MAX))
                })
            });
            types.push(ty);
        }
        let kinds = self.has(gvk).then(|| (gvk.clone(), TypeId(0)));
        Self { types, kinds: kinds.into_iter().collect() }
    }

    pub(crate) fn root(&self, gvk: &Gvk) -> Option<TypeId> {
        self.kinds.get(gvk).copied()
    }

    pub(crate) fn get(&self, id: TypeId) -> &Type {
        const ANY: Type = Type::Any;
        self.types.get(id.0 as usize).unwrap_or(&ANY)
    }
}

mod kinds_as_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Gvk, HashMap, TypeId};

    pub(super) fn serialize<S: Serializer>(
        kinds: &HashMap<Gvk, TypeId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut list: Vec<(&Gvk, &TypeId)> = kinds.iter().collect();
        list.sort_by_key(|(gvk, _)| *gvk);
        list.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<HashMap<Gvk, TypeId>, D::Error> {
        Ok(Vec::<(Gvk, TypeId)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Compiled from the documents of Kubernetes 1.37 by `make generate`.
const BUILTIN: &str = include_str!("../../data/builtin-schemas.json");

impl Schemas {
    /// The built-in kinds of the newest supported Kubernetes, for work without
    /// a cluster.
    pub fn builtin() -> Self {
        serde_json::from_str(BUILTIN).expect("generated, and read by a test")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_kind_alone_is_the_same_whatever_is_beside_it() {
        let all = Schemas::builtin();
        let (pod, deployment) = (Gvk::new("v1", "Pod"), Gvk::new("apps/v1", "Deployment"));
        let text = |schemas: &Schemas| serde_json::to_string(schemas).unwrap();
        let alone = all.only(&deployment);
        assert_eq!(alone.kinds().collect::<Vec<_>>(), [&deployment]);
        assert!(alone.types.len() < all.types.len() / 3, "{} of {}", alone.types.len(), all.types.len());
        let mut other = all.only(&pod);
        other.extend(&alone);
        assert_eq!(text(&other.only(&deployment)), text(&alone));
        assert_ne!(text(&other.only(&pod)), text(&alone));
        assert!(all.only(&Gvk::new("example.com/v1", "None")).types.is_empty());
        // What is found through it is what is found in all.
        let place = |schemas: &Schemas| match schemas.get(schemas.root(&deployment).unwrap()) {
            Type::Struct(structure) => match schemas.get(structure.field("spec").unwrap().ty) {
                Type::Struct(spec) => spec.name.clone(),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        };
        assert_eq!((place(&alone), place(&other)), (place(&all), place(&all)));
    }
}
