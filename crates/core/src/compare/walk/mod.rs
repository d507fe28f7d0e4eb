//! The descent through two values and their type. In: want, live, the type.
//! Out: differences, with paths built only where there is one.

mod keys;
mod lists;
mod union;

use std::sync::LazyLock;

use serde_json::{Map, Value};

use self::union::union;
use super::derived::{self, Scene};
use super::hashed::Hash;
use super::some;
use super::{Difference, Op, World, scalar};
use crate::object::Gvk;
use crate::path::{Path, Segment, plain};
use crate::schema::{Field, Scalar, Schemas, Struct, Type, TypeId};

pub(super) fn differences(
    schemas: &Schemas,
    gvk: &Gvk,
    want: &Value,
    live: &Value,
    world: World,
) -> Vec<Difference> {
    let live = &*derived::without_filled(gvk, want, live);
    let mut walk = Walk {
        schemas,
        world,
        stack: Vec::new(),
        out: Vec::new(),
        scene: Scene { kind: &gvk.kind, pod: None },
    };
    let structure = schemas.root(gvk).and_then(|id| match schemas.get(id) {
        Type::Struct(structure) => Some(structure),
        _ => None,
    });
    let (Some(wants), Some(lives)) = (want.as_object(), live.as_object()) else { return walk.out };
    for (name, want_field, live_field) in union(wants, lives) {
        if matches!(name, "apiVersion" | "kind" | "metadata" | "status") {
            continue;
        }
        walk.field(structure, name, want, want_field, live_field);
    }
    let mut out = walk.out;
    if gvk.group.is_empty() && gvk.kind == "Node" {
        as_one(&mut out, &["spec", "taints"], want, live);
    }
    out
}

/// Differences in a list from which elements were taken become one of the
/// whole list: their positions would be wrong in the live object.
fn as_one(out: &mut Vec<Difference>, place: &[&str; 2], want: &Value, live: &Value) {
    let path = Path(place.map(|name| Segment::Field(name.to_owned())).to_vec());
    let before = out.len();
    out.retain(|difference| !difference.path.starts_with(&path));
    if out.len() < before {
        let (git, tried) = (path.find(want).cloned(), some(path.find(live)).cloned());
        let op = match (&git, &tried) {
            (None, _) => Op::Add,
            (_, None) => Op::Remove,
            _ => Op::Change,
        };
        out.push(Difference { path, op, git, tried });
    }
}

/// One step of the way, borrowed: a path is made only for a difference.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a [(String, Option<Value>)], &'a Value),
    Item(&'a Value),
}

struct Walk<'a> {
    schemas: &'a Schemas,
    world: World,
    stack: Vec<Step<'a>>,
    out: Vec<Difference>,
    scene: Scene<'a>,
}

impl<'a> Walk<'a> {
    fn path(&self) -> Path {
        let segment = |step: &Step<'a>| match step {
            Step::Field(name) => Segment::Field((*name).to_owned()),
            Step::Index(index) => Segment::Index(*index),
            Step::Item(value) => Segment::Item(plain(value)),
            Step::Key(keys, element) => Segment::Key(
                keys.iter()
                    .filter_map(|(name, default)| {
                        Some((name.clone(), plain(element.get(name).or(default.as_ref())?)))
                    })
                    .collect(),
            ),
        };
        Path(self.stack.iter().map(segment).collect())
    }

    fn report(&mut self, want: Option<&Value>, live: Option<&Value>) {
        let op = match (want, live) {
            (None, _) => Op::Add,
            (_, None) => Op::Remove,
            _ => Op::Change,
        };
        self.out.push(Difference { path: self.path(), op, git: want.cloned(), tried: live.cloned() });
    }

    fn within(&mut self, step: Step<'a>, descend: impl FnOnce(&mut Self)) {
        self.stack.push(step);
        descend(self);
        self.stack.pop();
    }

    /// One field of a struct or of an untyped object. `parent` is the desired
    /// struct, for defaults that depend on its other fields.
    fn field(
        &mut self,
        structure: Option<&'a Struct>,
        name: &'a str,
        parent: &'a Value,
        want: Option<&'a Value>,
        live: Option<&'a Value>,
    ) {
        let field = structure.and_then(|structure| structure.field(name));
        let (mut want, live) = (some(want), some(live));
        if self.world == World::Closed
            && live.is_some()
            && want.is_some_and(|want| self.is_absence(field, want))
        {
            want = None;
        }
        let definition = structure.map_or("", |structure| structure.name.as_str());
        let ty = field.map(|field| field.ty);
        match (want, live) {
            (None, None) => {}
            (Some(want), Some(live)) => self.within(Step::Field(name), |walk| walk.value(ty, want, live)),
            (Some(want), None) => {
                if !self.is_absence(field, want) {
                    self.within(Step::Field(name), |walk| walk.report(Some(want), None));
                }
            }
            (None, Some(live)) if self.world == World::Closed => {
                self.undeclared(definition, field, name, parent, live);
            }
            (None, Some(_)) => {}
        }
    }

    /// A live field that Git leaves out, in a closed world.
    fn undeclared(
        &mut self,
        definition: &str,
        field: Option<&'a Field>,
        name: &'a str,
        parent: &Value,
        live: &'a Value,
    ) {
        if field.is_some_and(|field| field.filled)
            || derived::filled(definition, name, parent, live, self.parent_name(), self.scene)
            || self.is_absence(field, live)
        {
            return;
        }
        let ty = field.map(|field| field.ty);
        let derived = derived::default(definition, name, parent, self.parent_name(), self.scene);
        let default = derived.as_ref().or_else(|| field.and_then(|field| field.default.as_ref()));
        if default.is_some_and(|default| equal(self.schemas, ty, default, live, self.scene)) {
            return;
        }
        self.within(Step::Field(name), |walk| match (ty.map(|id| walk.schemas.get(id)), live) {
            // Maps and metadata are free of meaning by themselves: each of
            // their keys is a difference.
            (Some(Type::Map(value)), Value::Object(_)) => walk.map(*value, &NOTHING, live),
            (Some(Type::Struct(structure)), Value::Object(_)) if structure.name == "meta.v1.ObjectMeta" => {
                walk.structure(Some(structure), &NOTHING, live);
            }
            _ => walk.report(None, Some(live)),
        });
    }

    /// Whether a value means the same as leaving the field out: empty lists and
    /// maps, and zero where Go drops it. An empty struct has a meaning
    /// (`emptyDir: {}`, `podSelector: {}`) unless it is the field's default.
    fn is_absence(&self, field: Option<&Field>, value: &Value) -> bool {
        match value {
            Value::Null => true,
            // In untyped data, an empty list says something.
            Value::Array(items) => {
                let typed = field.is_some_and(|field| !matches!(self.schemas.get(field.ty), Type::Any));
                items.is_empty() && (typed || self.world == World::Declared)
            }
            Value::Object(map) => {
                map.is_empty()
                    && field.is_some_and(|field| {
                        matches!(self.schemas.get(field.ty), Type::Map(_))
                            || field
                                .default
                                .as_ref()
                                .is_some_and(|d| d.as_object().is_some_and(Map::is_empty))
                    })
            }
            Value::Bool(flag) => !flag && field.is_some_and(|field| field.omits_zero),
            Value::String(text) => text.is_empty() && field.is_some_and(|field| field.omits_zero),
            Value::Number(number) => {
                number.as_f64() == Some(0.0) && field.is_some_and(|field| field.omits_zero)
            }
        }
    }

    fn value(&mut self, ty: Option<TypeId>, want: &'a Value, live: &'a Value) {
        let ty = ty.map_or(&Type::Any, |id| self.schemas.get(id));
        if let (Some(hash), false) = (Hash::of(want), matches!(ty, Type::Scalar(_))) {
            if !hash.is_of(live) {
                self.report(Some(want), Some(live));
            }
            return;
        }
        match ty {
            Type::Scalar(scalar) => {
                if !scalar::equal(*scalar, want, live) {
                    self.report(Some(want), Some(live));
                }
            }
            Type::Struct(structure) => self.structure(Some(structure), want, live),
            Type::Map(value) => self.map(*value, want, live),
            Type::List(item, kind) => self.list(*item, kind, want, live),
            Type::Any => self.any(want, live),
        }
    }

    fn structure(&mut self, structure: Option<&'a Struct>, want: &'a Value, live: &'a Value) {
        let (Some(wants), Some(lives)) = (want.as_object(), live.as_object()) else {
            if want != live {
                self.report(Some(want), Some(live));
            }
            return;
        };
        let before = self.scene;
        if structure.is_some_and(|structure| structure.name == "core.v1.PodSpec") {
            self.scene.pod = Some(want);
        }
        for (name, want_field, live_field) in union(wants, lives) {
            let before = self.out.len();
            self.field(structure, name, want, want_field, live_field);
            if let Some(structure) = structure
                && self.out.len() > before
            {
                self.drop_derived_quantities(structure, name, want, before);
            }
        }
        self.scene = before;
    }

    /// Takes quantities back that Kubernetes puts by itself, resource by
    /// resource: a request that is left out is its limit.
    fn drop_derived_quantities(&mut self, structure: &Struct, name: &str, parent: &Value, since: usize) {
        let (depth, scene) = (self.stack.len() + 1, self.scene);
        let mut kept = self.out.split_off(since);
        kept.retain(|difference| {
            let (Op::Add, Some(Segment::Field(resource)), Some(tried)) =
                (difference.op, difference.path.0.get(depth), &difference.tried)
            else {
                return true;
            };
            let derived = derived::quantity(&structure.name, name, parent, resource, scene);
            // `spec.resources` of a Pod: those of all of its containers.
            let sum = (depth == 3).then(|| derived::pod_request(name, parent, resource, scene)).flatten();
            match sum {
                Some(sum) => scalar::nanos(tried) != Some(sum),
                None => !derived.is_some_and(|derived| scalar::equal(Scalar::Resource, derived, tried)),
            }
        });
        self.out.append(&mut kept);
    }

    /// The field in which the current struct is.
    fn parent_name(&self) -> &'a str {
        match self.stack.last() {
            Some(Step::Field(name)) => name,
            _ => "",
        }
    }

    fn map(&mut self, ty: TypeId, want: &'a Value, live: &'a Value) {
        let (Some(wants), Some(lives)) = (want.as_object(), live.as_object()) else {
            return self.any(want, live);
        };
        for (name, want, live) in union(wants, lives) {
            match (some(want), some(live)) {
                (Some(want), Some(live)) => {
                    self.within(Step::Field(name), |walk| walk.value(Some(ty), want, live))
                }
                (Some(want), None) => self.within(Step::Field(name), |walk| walk.report(Some(want), None)),
                (None, Some(live)) if self.world == World::Closed && !self.is_filled_key(name) => {
                    self.within(Step::Field(name), |walk| walk.report(None, Some(live)));
                }
                _ => {}
            }
        }
    }

    fn is_filled_key(&self, key: &str) -> bool {
        let mut names = [""; 4];
        if self.stack.len() > names.len() {
            return false;
        }
        for (name, step) in names.iter_mut().zip(&self.stack) {
            let Step::Field(field) = step else { return false };
            *name = field;
        }
        derived::filled_key(self.scene, &names[..self.stack.len()], key)
    }

    /// Values of unknown type: structurally, in the same world.
    fn any(&mut self, want: &'a Value, live: &'a Value) {
        match (want, live) {
            (Value::Object(_), Value::Object(_)) => self.structure(None, want, live),
            (Value::Array(wants), Value::Array(lives)) => self.atomic(None, wants, lives),
            _ if scalar::plain_equal(want, live) => {}
            _ => self.report(Some(want), Some(live)),
        }
    }
}

/// Whether a live value means what a default says, defaults of defaults
/// included.
fn equal(schemas: &Schemas, ty: Option<TypeId>, want: &Value, live: &Value, scene: Scene<'_>) -> bool {
    let mut walk = Walk { schemas, world: World::Closed, stack: Vec::new(), out: Vec::new(), scene };
    walk.value(ty, want, live);
    walk.out.is_empty()
}

/// What a map or metadata that is left out says.
static NOTHING: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
