//! Collects rendered objects. In: one after the other, with the kinds that are
//! known. Out: objects by their keys, or every mistake.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::normal::desired;
use super::{DesiredError, DesiredObject, Given, Origin, Scopes};
use crate::object::{Gvk, ObjectKey};

/// The kinds that CustomResourceDefinitions among the rendered objects bring,
/// and after them those of `known`.
struct WithDefinitions<'a> {
    known: &'a dyn Scopes,
    defined: Vec<(String, String, bool)>,
    /// What was found already: a kind that is known stays so.
    found: RefCell<HashMap<Gvk, bool>>,
}

impl Scopes for WithDefinitions<'_> {
    fn namespaced(&self, gvk: &Gvk) -> Option<bool> {
        if let Some(namespaced) = self.found.borrow().get(gvk) {
            return Some(*namespaced);
        }
        let defined = self.defined.iter().find(|(group, kind, _)| *group == gvk.group && *kind == gvk.kind);
        let namespaced = self.known.namespaced(gvk).or(defined.map(|(_, _, namespaced)| *namespaced))?;
        self.found.borrow_mut().insert(gvk.clone(), namespaced);
        Some(namespaced)
    }
}

/// How a [`Builder`] keeps desired objects: as they are, or packed.
pub trait Stored {
    /// `kinds` lets objects of one kind share its name.
    fn store(object: DesiredObject, kinds: &mut BTreeMap<Gvk, Arc<Gvk>>) -> Self;
    fn origin(&self) -> &Origin;
}

impl Stored for DesiredObject {
    fn store(object: DesiredObject, _: &mut BTreeMap<Gvk, Arc<Gvk>>) -> Self {
        object
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// Takes rendered objects one by one, so that a large render is never in
/// memory as a whole, and gives each its identity and namespace.
pub struct Builder<'a, S> {
    default_namespace: &'a str,
    scopes: WithDefinitions<'a>,
    /// Kinds may be unknown until their turn comes.
    lenient: bool,
    kinds: BTreeMap<Gvk, Arc<Gvk>>,
    objects: Vec<(ObjectKey, S)>,
    /// Of kinds whose definition may still come.
    waiting: Vec<Given>,
    errors: Vec<DesiredError>,
}

impl<S> fmt::Debug for Builder<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({} objects)", self.objects.len())
    }
}

impl<'a, S: Stored> Builder<'a, S> {
    /// Nothing yet.
    pub fn new(default_namespace: &'a str, scopes: &'a dyn Scopes) -> Self {
        Self {
            default_namespace,
            scopes: WithDefinitions { known: scopes, defined: Vec::new(), found: RefCell::default() },
            lenient: false,
            kinds: BTreeMap::new(),
            objects: Vec::new(),
            waiting: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Takes kinds that nobody knows yet for namespaced ones.
    #[must_use]
    pub fn lenient(self, lenient: bool) -> Self {
        Self { lenient, ..self }
    }

    /// One more; mistakes are told by [`Builder::finish`].
    pub fn add(&mut self, given: impl Into<Given>) {
        let given = given.into();
        self.scopes.defined.extend(match &given {
            Given::Rendered(rendered) => definition(&rendered.value),
            Given::Ready(ready) => ready.definition().as_ref().and_then(definition),
        });
        let unknown = given.gvk().is_some_and(|gvk| self.scopes.namespaced(&gvk).is_none());
        if unknown {
            self.waiting.push(given);
        } else {
            self.place(given);
        }
    }

    fn place(&mut self, given: Given) {
        let desired = match given {
            Given::Rendered(rendered) => {
                desired(rendered, self.default_namespace, &self.scopes, self.lenient)
            }
            Given::Ready(ready) => ready.desired(self.default_namespace, &self.scopes, self.lenient),
        };
        match desired {
            Ok(object) => {
                self.objects.push((object.key.clone(), S::store(object, &mut self.kinds)));
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// All objects by their keys.
    ///
    /// # Errors
    /// All mistakes found, so that they can be mended at once.
    pub fn finish(mut self) -> Result<BTreeMap<ObjectKey, S>, Vec<DesiredError>> {
        for given in std::mem::take(&mut self.waiting) {
            self.place(given);
        }
        // Faster than one by one, and what is sorted is small. Those of one key stay in the
        // order in which they came.
        let mut order: Vec<usize> = (0..self.objects.len()).collect();
        order.sort_by(|a, b| self.objects[*a].0.cmp(&self.objects[*b].0));
        let mut errors: Vec<DesiredError> = (order.chunk_by(|a, b| self.objects[*a].0 == self.objects[*b].0))
            .flat_map(|same| same.iter().skip(1).map(|second| (same[0], *second)))
            .map(|(first, second)| {
                let (key, second) = &self.objects[second];
                let (first, second) =
                    (self.objects[first].1.origin().to_string(), second.origin().to_string());
                DesiredError::Duplicate { key: key.clone(), first, second }
            })
            .collect();
        errors.extend(self.errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut objects: Vec<Option<(ObjectKey, S)>> = self.objects.into_iter().map(Some).collect();
        Ok(order.into_iter().filter_map(|at| objects[at].take()).collect())
    }
}

fn definition(value: &Value) -> Option<(String, String, bool)> {
    if value.get("kind")? != "CustomResourceDefinition" {
        return None;
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Some((text("/spec/group")?, text("/spec/names/kind")?, text("/spec/scope")? == "Namespaced"))
}
