//! Which Applications wait for which. A Kustomization that holds HelmReleases
//! passes on what it waits for, and is waited for with all that it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use super::field::{Field, Weight};

/// References to those that have to be healthy first.
pub type After<'r> = Vec<(Key, Field<'r>)>;

/// A Kustomization, what it waits for, and what its folder holds.
#[derive(Debug)]
pub struct Group<'r> {
    pub of: Key,
    pub holds: Vec<Key>,
    pub after: After<'r>,
}

/// All groups, and the Applications by what they stand for.
pub struct Order<'a, 'r> {
    pub groups: &'a [Group<'r>],
    pub names: &'a BTreeMap<Key, String>,
}

impl Order<'_, '_> {
    /// The names of those that one waits for.
    pub fn before(&self, own: &Key, after: &After<'_>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let inherited = self.holders(own).into_iter().flat_map(|group| &group.after);
        for (key, field) in after.iter().chain(inherited) {
            let mut names = BTreeSet::new();
            self.gather(key, &mut names, &mut BTreeSet::new());
            if names.is_empty() {
                field.tell(Weight::How, "no Application stands for it: this order is left out; add its file with --from, or spec.dependsOn by hand");
            }
            found.extend(names);
        }
        if let Some(name) = self.names.get(own) {
            found.remove(name);
        }
        found
    }

    /// Those whose folders hold it, by way of others, too.
    fn holders(&self, own: &Key) -> Vec<&Group<'_>> {
        let (mut found, mut ahead, mut seen) = (Vec::new(), vec![own], BTreeSet::new());
        while let Some(key) = ahead.pop() {
            for group in self.groups.iter().filter(|group| group.of != *own && group.holds.contains(key)) {
                if seen.insert(&group.of) {
                    found.push(group);
                    ahead.push(&group.of);
                }
            }
        }
        found
    }

    fn gather(&self, key: &Key, names: &mut BTreeSet<String>, seen: &mut BTreeSet<Key>) {
        if !seen.insert(key.clone()) {
            return;
        }
        names.extend(self.names.iter().find(|(other, _)| is_meant(key, other)).map(|(_, name)| name.clone()));
        for group in self.groups.iter().filter(|group| is_meant(key, &group.of)) {
            group.holds.iter().for_each(|held| self.gather(held, names, seen));
        }
    }
}

/// A reference may leave out the namespace that a resource names, and the other
/// way round.
fn is_meant(reference: &Key, other: &Key) -> bool {
    (&other.0, &other.1, &other.3) == (&reference.0, &reference.1, &reference.3)
        && (other.2 == reference.2 || other.2.is_empty() || reference.2.is_empty())
}
