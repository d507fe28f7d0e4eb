//! Dependencies between Applications. In: names and what each depends on. Out:
//! an order in which what is depended on comes first, or a cycle by name.

use std::collections::BTreeSet;

/// Applications that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Applications depend on each other: {}", .0.join(" -> "))]
pub struct Cycle(pub Vec<String>);

/// Places in `nodes`, dependencies first; else in the order given. What is
/// depended on and not among them is passed over.
///
/// # Errors
/// When there is a cycle.
pub fn order(nodes: &[(String, Vec<String>)]) -> Result<Vec<usize>, Cycle> {
    let mut walk = Walk { nodes, done: BTreeSet::new(), path: Vec::new(), order: Vec::new() };
    (0..nodes.len()).try_for_each(|at| walk.visit(at))?;
    Ok(walk.order)
}

struct Walk<'a> {
    nodes: &'a [(String, Vec<String>)],
    done: BTreeSet<usize>,
    path: Vec<usize>,
    order: Vec<usize>,
}

impl Walk<'_> {
    fn visit(&mut self, at: usize) -> Result<(), Cycle> {
        if self.done.contains(&at) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|before| *before == at) {
            let cycle = self.path[start..].iter().chain([&at]).map(|at| self.nodes[*at].0.clone());
            return Err(Cycle(cycle.collect()));
        }
        self.path.push(at);
        let nodes = self.nodes;
        for name in &nodes[at].1 {
            if let Some(next) = nodes.iter().position(|(known, _)| known == name) {
                self.visit(next)?;
            }
        }
        self.path.pop();
        self.done.insert(at);
        self.order.push(at);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        list.iter()
            .map(|(name, on)| ((*name).to_owned(), on.iter().map(|on| (*on).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn what_is_depended_on_comes_first() {
        let nodes = nodes(&[("web", &["db", "crds"]), ("db", &["crds"]), ("crds", &["elsewhere"])]);
        assert_eq!(order(&nodes), Ok(vec![2, 1, 0]));
    }

    #[test]
    fn a_cycle_is_named() {
        let cycle = order(&nodes(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap_err();
        assert_eq!(cycle.to_string(), "Applications depend on each other: b -> c -> b");
        assert!(order(&nodes(&[("a", &["a"])])).is_err());
    }

    proptest! {
        #[test]
        fn an_order_keeps_every_dependency(edges in proptest::collection::vec((0..9_usize, 0..9_usize), 0..20)) {
            // Edges from greater to less make no cycle.
            let list: Vec<(String, Vec<String>)> = (0..9).map(|at| {
                let on = edges.iter().filter(|(a, b)| *a == at && b < a).map(|(_, b)| format!("n{b}"));
                (format!("n{at}"), on.collect())
            }).collect();
            let order = order(&list).unwrap();
            prop_assert_eq!(order.len(), list.len());
            let place = |name: &str| order.iter().position(|at| list[*at].0 == name).unwrap();
            for (name, on) in &list {
                prop_assert!(on.iter().all(|on| place(on) < place(name)));
            }
        }
    }
}
