//! The descent through lists: by key, as a set, or by position, as their type
//! says.

use std::collections::HashSet;

use serde_json::Value;

use super::keys::{Finder, is_keyed};
use super::{Step, Walk};
use crate::compare::{Difference, Op, World};
use crate::schema::{ListKind, TypeId};

impl<'a> Walk<'a> {
    pub(super) fn list(&mut self, item: TypeId, kind: &'a ListKind, want: &'a Value, live: &'a Value) {
        let (Some(wants), Some(lives)) = (want.as_array(), live.as_array()) else {
            return self.any(want, live);
        };
        match kind {
            ListKind::Map(keys) if is_keyed(keys, wants) && is_keyed(keys, lives) => {
                self.keyed(item, keys, wants, lives)
            }
            ListKind::Set => self.set(wants, lives),
            _ => self.atomic(Some(item), wants, lives),
        }
    }

    /// Elements find each other by their keys, in any order; the order of init
    /// containers is their meaning.
    fn keyed(
        &mut self,
        item: TypeId,
        keys: &'a [(String, Option<Value>)],
        wants: &'a [Value],
        lives: &'a [Value],
    ) {
        let (in_wants, in_lives) = (Finder::new(keys, wants), Finder::new(keys, lives));
        let mut last = None;
        let mut ordered = true;
        for want in wants {
            match in_lives.find(want) {
                Some(at) => {
                    ordered &= last < Some(at);
                    last = Some(at);
                    self.within(Step::Key(keys, want), |walk| walk.value(Some(item), want, &lives[at]));
                }
                None => self.within(Step::Key(keys, want), |walk| walk.report(Some(want), None)),
            }
        }
        if self.world == World::Closed {
            for live in lives.iter().filter(|live| in_wants.find(live).is_none()) {
                self.within(Step::Key(keys, live), |walk| walk.report(None, Some(live)));
            }
        }
        if !ordered && matches!(self.stack.last(), Some(Step::Field("initContainers"))) {
            let names =
                |list: &[Value]| list.iter().filter_map(|c| c.get("name").cloned()).collect::<Value>();
            let (want, live) = (names(wants), names(lives));
            self.out.push(Difference {
                path: self.path(),
                op: Op::Change,
                git: Some(want),
                tried: Some(live),
            });
        }
    }

    fn set(&mut self, wants: &'a [Value], lives: &'a [Value]) {
        let (in_wants, in_lives): (HashSet<&Value>, HashSet<&Value>) =
            (wants.iter().collect(), lives.iter().collect());
        for want in wants.iter().filter(|want| !in_lives.contains(want)) {
            self.within(Step::Item(want), |walk| walk.report(Some(want), None));
        }
        if self.world == World::Closed {
            for live in lives.iter().filter(|live| !in_wants.contains(live)) {
                self.within(Step::Item(live), |walk| walk.report(None, Some(live)));
            }
        }
    }

    pub(super) fn atomic(&mut self, item: Option<TypeId>, wants: &'a [Value], lives: &'a [Value]) {
        for index in 0..wants.len().max(lives.len()) {
            self.within(Step::Index(index), |walk| match (wants.get(index), lives.get(index)) {
                (Some(want), Some(live)) => walk.value(item, want, live),
                (want, live) => walk.report(want, live),
            });
        }
    }
}
