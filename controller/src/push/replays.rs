//! Deliveries that were taken. In: their marks. Out: whether one is new. Only so
//! many are remembered: one that comes again after that costs a look at Git.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// What tells a delivery from all others: a hash.
pub type Mark = [u8; 32];

/// 2 MiB at most.
const REMEMBERED: usize = 20_000;

/// The marks of the last deliveries.
#[derive(Debug, Default)]
pub struct Replays(Mutex<Marks>);

#[derive(Debug, Default)]
struct Marks {
    known: HashSet<Mark>,
    order: VecDeque<Mark>,
}

impl Replays {
    /// Remembers a delivery; false: it was taken before.
    pub fn is_new(&self, mark: Mark) -> bool {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !marks.known.insert(mark) {
            return false;
        }
        marks.order.push_back(mark);
        if marks.order.len() > REMEMBERED
            && let Some(oldest) = marks.order.pop_front()
        {
            marks.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_taken_once_and_memory_has_an_end() {
        let replays = Replays::default();
        let mark = |number: usize| {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_le_bytes());
            mark
        };
        assert!(replays.is_new(mark(0)) && !replays.is_new(mark(0)));
        assert!((1..=REMEMBERED).all(|number| replays.is_new(mark(number))));
        assert!(!replays.is_new(mark(REMEMBERED)));
        assert!(replays.is_new(mark(0)), "the oldest is forgotten");
    }
}
