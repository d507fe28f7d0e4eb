//! OpenAPI v3 documents into types. In: one document of `/openapi/v3` and the
//! kinds wanted from it. Out: types, or an error that names the kind. What a
//! document's author got wrong becomes [`Type::Any`], never a panic.

use std::collections::HashMap;

use serde_json::Value;

use super::{Field, ListKind, Scalar, Schemas, Struct, Type, TypeId, tables};
use crate::object::Gvk;

/// Deeper inline nesting than this is compared structurally; definitions that
/// lie deeper are compiled after the others, so that no chain of references
/// takes more stack than this.
const MAX_DEPTH: usize = 60;
/// A document with more types than this is refused.
const MAX_TYPES: usize = 200_000;

/// Why a document could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("the OpenAPI document has no components.schemas")]
    NoSchemas,
    #[error("the OpenAPI document has more than {MAX_TYPES} types")]
    TooLarge,
}

impl Schemas {
    /// Compiles those of the `wanted` kinds that `document` describes; kinds it
    /// does not describe are left out.
    ///
    /// # Errors
    /// When the document has no schemas at all, or more types than any real one.
    pub fn add_document(&mut self, document: &Value, wanted: &[Gvk]) -> Result<(), SchemaError> {
        let definitions = document
            .pointer("/components/schemas")
            .and_then(Value::as_object)
            .ok_or(SchemaError::NoSchemas)?;
        let mut compiler =
            Compiler { definitions, schemas: self, done: HashMap::new(), deferred: Vec::new() };
        for (name, definition) in definitions {
            for gvk in kinds_of(definition) {
                if wanted.contains(&gvk) && !compiler.schemas.has(&gvk) {
                    let id = compiler.named(name, 0);
                    compiler.schemas.kinds.insert(gvk, id);
                }
            }
        }
        while let Some((name, id)) = compiler.deferred.pop() {
            compiler.define(name, id, 0);
        }
        if self.types.len() > MAX_TYPES { Err(SchemaError::TooLarge) } else { Ok(()) }
    }
}

fn kinds_of(definition: &Value) -> impl Iterator<Item = Gvk> {
    let kinds = definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    kinds.into_iter().flatten().filter_map(|kind| {
        let text = |name: &str| kind.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Gvk { group: text("group")?, version: text("version")?, kind: text("kind")? })
    })
}

struct Compiler<'a> {
    definitions: &'a serde_json::Map<String, Value>,
    schemas: &'a mut Schemas,
    done: HashMap<&'a str, TypeId>,
    deferred: Vec<(&'a str, TypeId)>,
}

impl<'a> Compiler<'a> {
    fn push(&mut self, ty: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.schemas.types.len()).unwrap_or(u32::MAX));
        self.schemas.types.push(ty);
        id
    }

    /// A definition by name. Its place is taken before its fields are looked
    /// at, so that recursive ones (JSONSchemaProps) end.
    fn named(&mut self, name: &'a str, depth: usize) -> TypeId {
        if let Some(id) = self.done.get(name) {
            return *id;
        }
        let id = self.push(well_known(name).unwrap_or(Type::Any));
        self.done.insert(name, id);
        if well_known(name).is_some() {
            return id;
        }
        if depth > MAX_DEPTH {
            self.deferred.push((name, id));
        } else {
            self.define(name, id, depth);
        }
        id
    }

    fn define(&mut self, name: &'a str, id: TypeId, depth: usize) {
        if let Some(definition) = self.definitions.get(name) {
            let ty = self.compile(definition, &short(name), depth);
            self.schemas.types[id.0 as usize] = ty;
        }
    }

    fn reference(&mut self, schema: &'a Value, depth: usize) -> TypeId {
        let target = schema.get("$ref").or_else(|| {
            let all = schema.get("allOf")?.as_array()?;
            if all.len() == 1 { all[0].get("$ref") } else { None }
        });
        if let Some(name) = target.and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
            return self.named(name, depth + 1);
        }
        let ty = self.compile(schema, "", depth + 1);
        self.push(ty)
    }

    fn field(&mut self, definition: &str, schema: &'a Value, depth: usize) -> TypeId {
        let ty = self.reference(schema, depth);
        let is_quantity = |id| matches!(self.schemas.get(id), Type::Scalar(Scalar::Quantity));
        match self.schemas.get(ty) {
            Type::Map(value) if definition.starts_with("core.v1.") && is_quantity(*value) => {
                let resource = self.push(Type::Scalar(Scalar::Resource));
                self.push(Type::Map(resource))
            }
            _ => ty,
        }
    }

    fn compile(&mut self, schema: &'a Value, name: &str, depth: usize) -> Type {
        if depth > MAX_DEPTH || self.schemas.types.len() > MAX_TYPES {
            return Type::Any;
        }
        let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
        if flag("x-kubernetes-int-or-string") {
            return Type::Scalar(if is_quantity_pattern(schema) { Scalar::Quantity } else { Scalar::Plain });
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("array") => self.list(schema, depth),
            Some("object") | None => self.object(schema, name, depth),
            Some("string") => Type::Scalar(match schema.get("format").and_then(Value::as_str) {
                Some("date-time") => Scalar::Time,
                Some("duration") => Scalar::Duration,
                Some("byte") => Scalar::Bytes,
                _ => Scalar::Plain,
            }),
            Some("integer" | "number" | "boolean") => Type::Scalar(Scalar::Plain),
            Some(_) => Type::Any,
        }
    }

    fn object(&mut self, schema: &'a Value, name: &str, depth: usize) -> Type {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut fields: Vec<Field> = properties
                .iter()
                .map(|(field, schema)| Field {
                    name: field.clone(),
                    ty: self.field(name, schema, depth),
                    default: tables::default_of(name, field).or_else(|| schema.get("default").cloned()),
                    filled: tables::is_filled(name, field),
                    omits_zero: tables::omits_zero(name, field),
                })
                .collect();
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            return Type::Struct(Struct { name: name.to_owned(), fields });
        }
        match schema.get("additionalProperties") {
            Some(value @ Value::Object(_)) => Type::Map(self.reference(value, depth)),
            Some(Value::Bool(true)) => Type::Map(self.push(Type::Any)),
            _ => Type::Any,
        }
    }

    fn list(&mut self, schema: &'a Value, depth: usize) -> Type {
        let item = match schema.get("items") {
            Some(items) => self.reference(items, depth),
            None => self.push(Type::Any),
        };
        let kind = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => ListKind::Set,
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                let keys: Vec<_> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
                ListKind::Map(
                    keys.into_iter().map(|key| (key.to_owned(), self.key_default(item, key))).collect(),
                )
            }
            _ => ListKind::Atomic,
        };
        Type::List(item, kind)
    }

    fn key_default(&self, item: TypeId, key: &str) -> Option<Value> {
        match self.schemas.get(item) {
            Type::Struct(structure) => structure.field(key).and_then(|field| field.default.clone()),
            _ => None,
        }
    }
}

/// Definitions whose meaning is not in their schema.
fn well_known(name: &str) -> Option<Type> {
    let scalar = match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => Scalar::Quantity,
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => Scalar::Plain,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Duration" => Scalar::Duration,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time" | "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => {
            Scalar::Time
        }
        "io.k8s.apimachinery.pkg.runtime.RawExtension" | "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1" => {
            return Some(Type::Any);
        }
        _ => return None,
    };
    Some(Type::Scalar(scalar))
}

/// controller-gen writes a Quantity as int-or-string with this pattern.
fn is_quantity_pattern(schema: &Value) -> bool {
    schema.get("pattern").and_then(Value::as_str).is_some_and(|pattern| pattern.contains("KMGTPE"))
}

/// `io.k8s.api.core.v1.Container` is `core.v1.Container`.
fn short(name: &str) -> String {
    let parts: Vec<&str> = name.rsplitn(4, '.').take(3).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(".")
}
