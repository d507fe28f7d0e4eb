//! Applications that are due. In: names, when, and why. Out: one name at a time, the
//! one that has waited longest first, and never one that is being looked at.
//! Each cluster has room for so many at once, so that none waits for another; of it,
//! looks again take a quarter while there are others, and syncs that only wait for
//! health take none.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::desired::AppRef;
use gitops_core::names::IN_CLUSTER;
use tokio::sync::Notify;

/// Looks again take one of so many places while others are looked at as well.
const SHARE: usize = 4;
/// So many times the room may wait for health besides: each asks the API server again
/// and again.
const PATIENT: usize = 4;

/// Why an Application is due; who comes first counts, where there are two reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Something is wanted that was not before: by Git, a person, or what it
    /// stands on.
    News,
    /// The clock says so, or something has moved among its objects, as it does after
    /// each sync.
    Again,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    order: Mutex<Order>,
    changed: Notify,
}

/// What is due of a cluster.
#[derive(Debug, Default)]
struct Due {
    news: BTreeSet<(Instant, AppRef)>,
    again: BTreeSet<(Instant, AppRef)>,
}

impl Due {
    fn of(&mut self, why: Why) -> &mut BTreeSet<(Instant, AppRef)> {
        match why {
            Why::News => &mut self.news,
            Why::Again => &mut self.again,
        }
    }

    fn is_empty(&self) -> bool {
        self.news.is_empty() && self.again.is_empty()
    }
}

/// How many of a cluster are being looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Busy {
    news: usize,
    again: usize,
    /// They take no room.
    waiting: usize,
}

impl Busy {
    fn of(&mut self, why: Option<Why>) -> &mut usize {
        match why {
            Some(Why::News) => &mut self.news,
            Some(Why::Again) => &mut self.again,
            None => &mut self.waiting,
        }
    }

    fn has_room(self, why: Why, room: usize) -> bool {
        let share = if self.news > 0 { room.div_ceil(SHARE) } else { room };
        self.news + self.again < room && (why == Why::News || self.again < share)
    }
}

/// An Application that is being looked at.
#[derive(Debug)]
struct Running {
    cluster: Arc<str>,
    /// None: it waits.
    why: Option<Why>,
}

#[derive(Debug, Default)]
struct Order {
    /// By cluster, so that those of one without room are not even looked at.
    by_time: HashMap<Arc<str>, Due>,
    due: HashMap<AppRef, (Instant, Why)>,
    running: HashMap<AppRef, Running>,
    /// The clusters of Applications that go to another one.
    elsewhere: HashMap<AppRef, Arc<str>>,
    busy: HashMap<Arc<str>, Busy>,
    /// How many may run of the cluster itself, and of each other one.
    room: (usize, usize),
}

impl Order {
    /// The earlier of two times counts.
    fn push(&mut self, name: &AppRef, at: Instant, why: Why) {
        let before = self.due.get(name).copied();
        let (at, why) = before.map_or((at, why), |before| (before.0.min(at), before.1.min(why)));
        if before == Some((at, why)) {
            return;
        }
        self.forget(name);
        self.due.insert(name.clone(), (at, why));
        self.by_time.entry(self.cluster_of(name)).or_default().of(why).insert((at, name.clone()));
    }

    /// The next one, or when to ask again.
    fn take(&mut self, now: Instant) -> Result<AppRef, Option<Instant>> {
        let firsts = self.by_time.iter().flat_map(|(cluster, due)| {
            let with_room = [(Why::News, &due.news), (Why::Again, &due.again)].into_iter();
            let with_room = with_room.filter(|(why, _)| self.has_room(cluster, *why));
            with_room.filter_map(|(why, due)| {
                let (at, name) = due.iter().find(|(_, name)| !self.running.contains_key(name))?;
                Some((*at, why, name))
            })
        });
        let Some((at, why, name)) = firsts.min() else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        let name = name.clone();
        self.forget(&name);
        let cluster = self.cluster_of(&name);
        *self.busy.entry(cluster.clone()).or_default().of(Some(why)) += 1;
        self.running.insert(name.clone(), Running { cluster, why: Some(why) });
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
        due.into_iter().for_each(|(at, why)| self.push(name, at, why));
    }

    fn cluster_of(&self, name: &AppRef) -> Arc<str> {
        self.elsewhere.get(name).cloned().unwrap_or_else(|| IN_CLUSTER.into())
    }

    fn room(&self, cluster: &str) -> usize {
        if cluster == IN_CLUSTER { self.room.0 } else { self.room.1 }
    }

    fn has_room(&self, cluster: &str, why: Why) -> bool {
        self.busy.get(cluster).copied().unwrap_or_default().has_room(why, self.room(cluster))
    }

    /// One that is being looked at gives its room to others; whether it had some to give.
    fn waits(&mut self, name: &AppRef) -> bool {
        let Some(Running { cluster, why: why @ Some(_) }) = self.running.get(name) else { return false };
        let (cluster, why) = (cluster.clone(), *why);
        let most = self.room(&cluster) * PATIENT;
        let Some(busy) = self.busy.get_mut(&cluster).filter(|busy| busy.waiting < most) else { return false };
        *busy.of(why) -= 1;
        *busy.of(None) += 1;
        self.running.insert(name.clone(), Running { cluster, why: None });
        true
    }

    fn done(&mut self, name: &AppRef) {
        let Some(Running { cluster, why }) = self.running.remove(name) else { return };
        if let Some(busy) = self.busy.get_mut(&cluster) {
            *busy.of(why) -= 1;
            if busy.news + busy.again + busy.waiting == 0 {
                self.busy.remove(&cluster);
            }
        }
    }

    fn forget(&mut self, name: &AppRef) {
        let Some((at, why)) = self.due.remove(name) else { return };
        let cluster = self.cluster_of(name);
        if let Some(due) = self.by_time.get_mut(&cluster) {
            due.of(why).remove(&(at, name.clone()));
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

    /// Something is wanted of an Application that was not before: it is due now.
    pub fn push(&self, name: &AppRef) {
        self.put(name, Duration::ZERO, Why::News);
    }

    /// An Application is due again after a while.
    pub fn again(&self, name: &AppRef, after: Duration) {
        self.put(name, after, Why::Again);
    }

    fn put(&self, name: &AppRef, after: Duration, why: Why) {
        self.order().push(name, Instant::now() + after, why);
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

    /// The look at an Application waits for health: meanwhile others have its room.
    pub fn waits(&self, name: &AppRef) {
        if self.order().waits(name) {
            self.changed.notify_one();
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

    /// Whether something new waits to be looked at in the cluster itself.
    pub fn has_news(&self) -> bool {
        let order = self.order();
        let first = order.by_time.get(IN_CLUSTER).and_then(|due| due.news.first());
        first.is_some_and(|(at, _)| *at <= Instant::now())
    }

    /// How many are due now and wait.
    pub fn depth(&self) -> usize {
        let now = Instant::now();
        let order = self.order();
        let all = order.by_time.values().flat_map(|due| [&due.news, &due.again]);
        all.flat_map(|due| due.iter().take_while(|(at, _)| *at <= now)).count()
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
        order.push(&app("a"), later, Why::News);
        assert_eq!(order.take(now), Err(Some(later)));
        order.push(&app("a"), now, Why::News);
        order.push(&app("a"), later, Why::News);
        assert_eq!(order.take(now).unwrap(), app("a"));
        // It is due again while it runs: that waits until it is done.
        order.push(&app("a"), now, Why::News);
        assert_eq!(order.take(now), Err(None));
        order.push(&app("b"), now, Why::News);
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
            order.push(&app(name), now, Why::News);
        }
        let taken: Vec<String> = std::iter::from_fn(|| order.take(now).ok()).map(|name| name.name).collect();
        assert_eq!(taken, ["a", "c", "d", "e"], "one of each other cluster, two of this one");
        order.done(&app("d"));
        assert_eq!(order.take(now).unwrap(), app("f"));
        // It goes elsewhere while it runs and is due: its place is given back where
        // it was.
        order.push(&app("a"), now, Why::News);
        order.assign(&app("a"), "quick");
        order.done(&app("a"));
        assert_eq!(order.take(now).unwrap(), app("b"));
    }

    #[test]
    fn looks_again_leave_room_for_news() {
        let (mut order, now) = (Order { room: (8, 8), ..Order::default() }, Instant::now());
        for number in 0..20 {
            order.push(&app(&format!("again-{number:02}")), now, Why::Again);
        }
        order.push(&app("news"), now + Duration::from_millis(1), Why::News);
        let taken = |order: &mut Order, now: Instant| -> Vec<String> {
            std::iter::from_fn(|| order.take(now).ok()).map(|name| name.name).collect()
        };
        assert_eq!(taken(&mut order, now).len(), 8, "while there is no news they may have all of it");
        let later = now + Duration::from_millis(2);
        (0..8).for_each(|number| order.done(&app(&format!("again-{number:02}"))));
        order.push(&app("again-19"), later, Why::News);
        let with_news = taken(&mut order, later);
        assert_eq!(with_news, ["again-19", "again-08", "again-09", "news"]);
        // One that is wanted while it is due again is news at the earlier of both times.
        order.push(&app("again-18"), later + Duration::from_secs(9), Why::News);
        assert_eq!(taken(&mut order, later), ["again-18"]);
        for name in ["news", "again-18", "again-19"] {
            order.done(&app(name));
        }
        assert_eq!(taken(&mut order, later).len(), 6);
    }

    #[test]
    fn who_waits_for_health_takes_no_room() {
        let (mut order, now) = (Order { room: (1, 1), ..Order::default() }, Instant::now());
        for number in 0..9 {
            order.push(&app(&format!("{number}")), now, Why::News);
        }
        assert!(!order.waits(&app("0")), "it is not being looked at");
        for number in 0..PATIENT {
            let name = order.take(now).unwrap();
            assert_eq!((order.take(now), &*name.name), (Err(None), &*number.to_string()));
            assert!(order.waits(&name) && !order.waits(&name));
        }
        // So many wait that no more may.
        let name = order.take(now).unwrap();
        assert!(!order.waits(&name));
        order.done(&app("0"));
        assert_eq!(order.take(now), Err(None));
        assert!(order.waits(&name));
        assert!(order.take(now).is_ok());
        // One that waits is not looked at twice, and all is given back.
        order.push(&name, now, Why::News);
        let running: Vec<AppRef> = order.running.keys().cloned().collect();
        running.iter().for_each(|name| order.done(name));
        assert!(order.busy.is_empty() && order.take(now).is_ok_and(|next| next == name));
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
            queue.again(&app(name), Duration::from_millis(10));
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
