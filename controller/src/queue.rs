//! Applications that are due. In: names and when. Out: one name at a time, the
//! one that has waited longest first, and never one that is being looked at.
//! Each cluster has room for so many at once, so that none waits for another.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::desired::AppRef;
use gitops_core::names::IN_CLUSTER;
use tokio::sync::Notify;

/// The queue.
#[derive(Debug)]
pub struct Queue {
    order: Mutex<Order>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Order {
    /// By cluster, so that those of one without room are not even looked at.
    by_time: HashMap<Arc<str>, BTreeSet<(Instant, AppRef)>>,
    due: HashMap<AppRef, Instant>,
    /// And of which cluster.
    running: HashMap<AppRef, Arc<str>>,
    /// The clusters of Applications that go to another one.
    elsewhere: HashMap<AppRef, Arc<str>>,
    /// How many run, by cluster.
    busy: HashMap<Arc<str>, usize>,
    /// How many may run of the cluster itself, and of each other one.
    room: (usize, usize),
}

impl Order {
    /// The earlier of two times counts.
    fn push(&mut self, name: &AppRef, at: Instant) {
        if self.due.get(name).is_some_and(|before| *before <= at) {
            return;
        }
        self.forget(name);
        self.due.insert(name.clone(), at);
        self.by_time.entry(self.cluster_of(name)).or_default().insert((at, name.clone()));
    }

    /// The next one, or when to ask again.
    fn take(&mut self, now: Instant) -> Result<AppRef, Option<Instant>> {
        let with_room = self.by_time.iter().filter(|(cluster, _)| self.has_room(cluster));
        let firsts =
            with_room.filter_map(|(_, due)| due.iter().find(|(_, name)| !self.running.contains_key(name)));
        let Some((at, name)) = firsts.min().cloned() else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        self.forget(&name);
        let cluster = self.cluster_of(&name);
        *self.busy.entry(cluster.clone()).or_default() += 1;
        self.running.insert(name.clone(), cluster);
        Ok(name)
    }

    /// An Application goes to this cluster from now on.
    fn assign(&mut self, name: &AppRef, cluster: &str) {
        if *self.cluster_of(name) == *cluster {
            return;
        }
        let due = self.due.get(name).copied();
        self.forget(name);
        if cluster == IN_CLUSTER {
            self.elsewhere.remove(name);
        } else {
            self.elsewhere.insert(name.clone(), cluster.into());
        }
        due.into_iter().for_each(|at| self.push(name, at));
    }

    fn cluster_of(&self, name: &AppRef) -> Arc<str> {
        self.elsewhere.get(name).cloned().unwrap_or_else(|| IN_CLUSTER.into())
    }

    fn has_room(&self, cluster: &str) -> bool {
        let room = if cluster == IN_CLUSTER { self.room.0 } else { self.room.1 };
        self.busy.get(cluster).is_none_or(|busy| *busy < room)
    }

    fn done(&mut self, name: &AppRef) {
        let Some(cluster) = self.running.remove(name) else { return };
        if let Some(busy) = self.busy.get_mut(&cluster) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&cluster);
            }
        }
    }

    fn forget(&mut self, name: &AppRef) {
        let Some(at) = self.due.remove(name) else { return };
        let cluster = self.cluster_of(name);
        if let Some(due) = self.by_time.get_mut(&cluster) {
            due.remove(&(at, name.clone()));
            if due.is_empty() {
                self.by_time.remove(&cluster);
            }
        }
    }
}

impl Queue {
    /// With room for so many at once of the cluster itself, and of each other one.
    pub fn new(here: usize, elsewhere: usize) -> Self {
        let order = Order { room: (here, elsewhere), ..Order::default() };
        Self { order: Mutex::new(order), changed: Notify::new() }
    }

    /// An Application goes to this cluster from now on.
    pub fn assign(&self, name: &AppRef, cluster: &str) {
        self.order().assign(name, cluster);
    }

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
        self.order().done(name);
        self.changed.notify_one();
    }

    /// An Application is gone.
    pub fn forget(&self, name: &AppRef) {
        self.order().forget(name);
    }

    /// How many are due now and wait.
    pub fn depth(&self) -> usize {
        let now = Instant::now();
        let order = self.order();
        order.by_time.values().flat_map(|due| due.iter().take_while(|(at, _)| *at <= now)).count()
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
        let (mut order, now) = (Order { room: (9, 9), ..Order::default() }, Instant::now());
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
        order.done(&app("a"));
        assert_eq!(order.take(now).unwrap(), app("a"));
        assert_eq!(order.take(now), Err(None));
    }

    #[test]
    fn a_cluster_that_holds_its_workers_up_holds_up_no_other() {
        let (mut order, now) = (Order { room: (2, 1), ..Order::default() }, Instant::now());
        for name in ["a", "b"] {
            order.assign(&app(name), "slow");
        }
        order.assign(&app("c"), "quick");
        for name in ["a", "b", "c", "d", "e", "f"] {
            order.push(&app(name), now);
        }
        let taken: Vec<String> = std::iter::from_fn(|| order.take(now).ok()).map(|name| name.name).collect();
        assert_eq!(taken, ["a", "c", "d", "e"], "one of each other cluster, two of this one");
        order.done(&app("d"));
        assert_eq!(order.take(now).unwrap(), app("f"));
        // It goes elsewhere while it runs and is due: its place is given back where
        // it was.
        order.push(&app("a"), now);
        order.assign(&app("a"), "quick");
        order.done(&app("a"));
        assert_eq!(order.take(now).unwrap(), app("b"));
    }

    #[tokio::test]
    async fn workers_share_what_is_due() {
        let queue = Arc::new(Queue::new(3, 1));
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
