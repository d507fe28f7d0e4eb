//! What one replica hears of pushes, told to all. In: the places of repositories
//! that somebody has pushed to, and the marks of the deliveries that say so. Out: a
//! Lease that names them, and, at every replica, a look at Git at once, and a delivery
//! that is taken nowhere else. Where it cannot be written or watched, the others look
//! when it is their time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use gitops_core::names::{ANNOTATION_DELIVERIES, ANNOTATION_PUSHED};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::Notify;

use super::replays::Mark;
use crate::controller::Controller;

/// The Lease's name.
const NAME: &str = "gitops-push";
/// Places that it names at most, the latest ones.
const NAMED: usize = 64;
/// Deliveries that it names at most, the latest ones.
const MARKED: usize = 256;
/// Tries to write it while others do so, too.
const TRIES: usize = 8;

/// When something was pushed to each place, as the Lease says.
type Times = BTreeMap<String, String>;

/// What is to be told.
#[derive(Clone, Debug, Default)]
struct Told {
    places: BTreeSet<String>,
    marks: Vec<Mark>,
}

/// What is to be told, and what was.
#[derive(Debug, Default)]
pub struct Announcer {
    waiting: Mutex<Told>,
    changed: Notify,
    /// What this replica knows already.
    seen: Mutex<Times>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Announcer {
    /// Tells the others soon; many at once are told together.
    pub fn tell(&self, places: BTreeSet<String>, mark: Mark) {
        if !places.is_empty() {
            let mut waiting = held(&self.waiting);
            waiting.places.extend(places);
            waiting.marks.push(mark);
            self.changed.notify_one();
        }
    }

    /// What is news in the Lease; it is known from now on.
    fn news(&self, times: Times) -> BTreeSet<String> {
        let mut seen = held(&self.seen);
        let news = times.iter().filter(|(place, time)| seen.get(*place) != Some(time));
        let news = news.map(|(place, _)| place.clone()).collect();
        *seen = times;
        news
    }
}

/// Writes what is to be told, until the program ends.
pub async fn speak(controller: Arc<Controller>, namespace: String) {
    let announcer = &controller.push.announcer;
    loop {
        announcer.changed.notified().await;
        let told = std::mem::take(&mut *held(&announcer.waiting));
        if told.places.is_empty() {
            continue;
        }
        if let Err(error) = write(controller.cluster.client(), &namespace, announcer, &told).await {
            tracing::warn!(%error, "other replicas are not told of a push; they see it when they look");
        }
    }
}

async fn write(
    client: Client,
    namespace: &str,
    announcer: &Announcer,
    Told { places, marks }: &Told,
) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let params = PostParams::default();
    for attempt in 1.. {
        let live = api.get_opt(NAME).await?;
        let is_there = live.is_some();
        let mut lease = live.unwrap_or_else(|| Lease {
            metadata: kube::api::ObjectMeta { name: Some(NAME.into()), ..Default::default() },
            spec: None,
        });
        let now = format!("{:.9}", jiff::Timestamp::now());
        let times = latest(times(&lease), places, &now);
        let text = serde_json::json!(times).to_string();
        let deliveries = last(deliveries(&lease), marks).into_iter().map(hex::encode).collect::<Vec<_>>();
        lease.annotations_mut().insert(ANNOTATION_PUSHED.into(), text);
        lease.annotations_mut().insert(ANNOTATION_DELIVERIES.into(), deliveries.join(" "));
        // Before it is heard of: it is no news here.
        held(&announcer.seen).extend(places.iter().map(|place| (place.clone(), now.clone())));
        let written = if is_there {
            api.replace(NAME, &params, &lease).await
        } else {
            api.create(&params, &lease).await
        };
        match written {
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < TRIES => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

fn times(lease: &Lease) -> Times {
    let text = lease.annotations().get(ANNOTATION_PUSHED);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The deliveries that a Lease names.
fn deliveries(lease: &Lease) -> VecDeque<Mark> {
    let text = lease.annotations().get(ANNOTATION_DELIVERIES).map(String::as_str).unwrap_or_default();
    let marks = text.split_whitespace().filter_map(|mark| hex::decode(mark).ok()?.try_into().ok());
    marks.collect()
}

/// With these, and no more than may be named.
fn last(mut before: VecDeque<Mark>, marks: &[Mark]) -> VecDeque<Mark> {
    before.extend(marks);
    before.drain(..before.len().saturating_sub(MARKED));
    before
}

/// With these places pushed to now, and no more than may be named.
fn latest(mut times: Times, places: &BTreeSet<String>, now: &str) -> Times {
    times.extend(places.iter().map(|place| (place.clone(), now.to_owned())));
    while times.len() > NAMED {
        let oldest = times.iter().min_by_key(|(_, time)| *time).map(|(place, _)| place.clone());
        oldest.and_then(|oldest| times.remove(&oldest));
    }
    times
}

/// Hears what other replicas tell, until the program ends.
pub async fn listen(controller: Arc<Controller>, namespace: String) {
    let api: Api<Lease> = Api::namespaced(controller.cluster.client(), &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut is_first = true;
    while let Some(event) = events.next().await {
        let lease = match event {
            Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) => lease,
            Ok(watcher::Event::InitDone) => {
                is_first = false;
                continue;
            }
            Ok(watcher::Event::Init | watcher::Event::Delete(_)) => continue,
            Err(error) => {
                tracing::debug!(%error, "listening to other replicas");
                continue;
            }
        };
        // Those that were taken here are known.
        for mark in deliveries(&lease) {
            controller.push.replays.is_new(mark);
        }
        let news = controller.push.announcer.news(times(&lease));
        // What was pushed before this replica began, it has seen in Git itself.
        if !is_first && !news.is_empty() {
            controller.poller.pushed(&news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn what_is_news_is_told_once() {
        let announcer = Announcer::default();
        let first = latest(Times::new(), &set(&["h/a", "h/b"]), "1");
        assert_eq!(announcer.news(first.clone()), set(&["h/a", "h/b"]));
        assert_eq!(announcer.news(first.clone()), set(&[]));
        assert_eq!(announcer.news(latest(first, &set(&["h/b"]), "2")), set(&["h/b"]));
    }

    #[test]
    fn the_oldest_places_are_left_out() {
        let mut times = Times::new();
        for number in 0..NAMED + 3 {
            times = latest(times, &set(&[&format!("h/{number}")]), &format!("{number:04}"));
        }
        assert_eq!(times.len(), NAMED);
        assert!(!times.contains_key("h/2") && times.contains_key("h/3"));
    }

    #[test]
    fn the_last_deliveries_are_named() {
        let mark = |number: u8| [number; 32];
        let mut lease = Lease::default();
        assert!(deliveries(&lease).is_empty());
        let text = format!("{} not-a-mark {}", hex::encode(mark(1)), hex::encode(mark(2)));
        lease.annotations_mut().insert(ANNOTATION_DELIVERIES.into(), text);
        let named = last(deliveries(&lease), &[mark(3)]);
        assert_eq!(named, [mark(1), mark(2), mark(3)]);
        let named = last(named, &[mark(4); MARKED - 1]);
        assert_eq!((named.len(), named[0], named[1]), (MARKED, mark(3), mark(4)));
    }
}
