//! Applications that are due. In: names and when. Out: one name at a time, the
//! one that has waited longest first, and never one that is being looked at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::desired::AppRef;
use tokio::sync::Notify;

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    order: Mutex<Order>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Order {
    by_time: BTreeSet<(Instant, AppRef)>,
    due: HashMap<AppRef, Instant>,
    running: HashSet<AppRef>,
}

impl Order {
    /// The earlier of two times counts.
    fn push(&mut self, name: &AppRef, at: Instant) {
        match self.due.get(name).copied() {
            Some(before) if before <= at => return,
            Some(before) => {
                self.by_time.remove(&(before, name.clone()));
            }
            None => {}
        }
        self.due.insert(name.clone(), at);
        self.by_time.insert((at, name.clone()));
    }

    /// The next one, or when to ask again.
    fn take(&mut self, now: Instant) -> Result<AppRef, Option<Instant>> {
        let free = self.by_time.iter().find(|(_, name)| !self.running.contains(name)).cloned();
        let Some((at, name)) = free else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        self.forget(&name);
        self.running.insert(name.clone());
        Ok(name)
    }

    fn forget(&mut self, name: &AppRef) {
        if let Some(at) = self.due.remove(name) {
            self.by_time.remove(&(at, name.clone()));
        }
    }
}

impl Queue {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An Application is due after a while.
    pub fn push(&self, name: &AppRef, after: Duration) {
        self.order().push(name, Instant::now() + after);
        self.changed.notify_one();
    }

    /// Waits for one that is due. [`Self::done`] has to follow.
    pub async fn next(&self) -> AppRef {
        loop {
            let taken = self.order().take(Instant::now());
            match taken {
                Ok(name) => {
                    // Another one may be due as well, and another worker waiting.
                    self.changed.notify_one();
                    return name;
                }
                Err(Some(at)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.changed.notified() => {}
                    }
                }
                Err(None) => self.changed.notified().await,
            }
        }
    }

    /// The look at an Application has ended.
    pub fn done(&self, name: &AppRef) {
        self.order().running.remove(name);
        self.changed.notify_one();
    }

    /// An Application is gone.
    pub fn forget(&self, name: &AppRef) {
        self.order().forget(name);
    }

    /// How many are due now and wait.
    pub fn depth(&self) -> usize {
        let now = Instant::now();
        self.order().by_time.iter().take_while(|(at, _)| *at <= now).count()
    }

    /// How many are being looked at.
    pub fn running(&self) -> usize {
        self.order().running.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn app(name: &str) -> AppRef {
        AppRef { namespace: "n".into(), name: name.into() }
    }

    #[test]
    fn the_earlier_time_counts_and_nobody_runs_twice() {
        let (mut order, now) = (Order::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        order.push(&app("a"), later);
        assert_eq!(order.take(now), Err(Some(later)));
        order.push(&app("a"), now);
        order.push(&app("a"), later);
        assert_eq!(order.take(now).unwrap(), app("a"));
        // It is due again while it runs: that waits until it is done.
        order.push(&app("a"), now);
        assert_eq!(order.take(now), Err(None));
        order.push(&app("b"), now);
        assert_eq!(order.take(now).unwrap(), app("b"));
        order.running.remove(&app("a"));
        assert_eq!(order.take(now).unwrap(), app("a"));
        assert_eq!(order.take(now), Err(None));
    }

    #[tokio::test]
    async fn workers_share_what_is_due() {
        let queue = std::sync::Arc::new(Queue::default());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        for name in ["a", "b", "c"] {
            queue.push(&app(name), Duration::from_millis(10));
        }
        let mut got = Vec::new();
        for worker in workers {
            got.push(worker.await.unwrap().name);
        }
        got.sort();
        assert_eq!(got, ["a", "b", "c"]);
        assert_eq!((queue.depth(), queue.running()), (0, 3));
    }
}
