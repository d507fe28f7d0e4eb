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
    by_time: BTreeSet<(Instant, AppRef)>,
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
        let is_free = |name: &AppRef| !self.running.contains_key(name) && self.has_room(name);
        let free = self.by_time.iter().find(|(_, name)| is_free(name)).cloned();
        let Some((at, name)) = free else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        self.forget(&name);
        let cluster = self.cluster_of(&name);
        *self.busy.entry(cluster.clone()).or_default() += 1;
        self.running.insert(name.clone(), cluster);
        Ok(name)
    }

    fn cluster_of(&self, name: &AppRef) -> Arc<str> {
        self.elsewhere.get(name).cloned().unwrap_or_else(|| IN_CLUSTER.into())
    }

    fn has_room(&self, name: &AppRef) -> bool {
        let (cluster, room) = match self.elsewhere.get(name) {
            Some(cluster) => (&**cluster, self.room.1),
            None => (IN_CLUSTER, self.room.0),
        };
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
        if let Some(at) = self.due.remove(name) {
            self.by_time.remove(&(at, name.clone()));
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
        let mut order = self.order();
        if cluster == IN_CLUSTER {
            order.elsewhere.remove(name);
        } else {
            order.elsewhere.insert(name.clone(), cluster.into());
        }
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
            order.elsewhere.insert(app(name), "slow".into());
        }
        order.elsewhere.insert(app("c"), "quick".into());
        for name in ["a", "b", "c", "d", "e", "f"] {
            order.push(&app(name), now);
        }
        let taken: Vec<String> = std::iter::from_fn(|| order.take(now).ok()).map(|name| name.name).collect();
        assert_eq!(taken, ["a", "c", "d", "e"], "one of each other cluster, two of this one");
        order.done(&app("d"));
        assert_eq!(order.take(now).unwrap(), app("f"));
        // It goes elsewhere while it runs: its place is given back where it was.
        order.elsewhere.insert(app("a"), "quick".into());
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
