//! Events of Kubernetes about Applications. Nothing waits for one: they are written
//! one after the other, and where a thousand syncs have something to tell, slowly, so
//! that they hold up no sync: while there is news to be looked at, even more so. One that
//! cannot be written in time, or for which there is no room, is logged.

use std::sync::Arc;
use std::time::Duration;

use gitops_api::Application;
use gitops_engine::events::{PATIENCE, Recorder};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::queue::Queue;

/// Events that wait to be written.
const ROOM: usize = 16_384;
/// Events that are written at once; then there is a pause before each.
const BURST: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before each, while there is news.
const BUSY: Duration = Duration::from_secs(1);

/// What is told, and of what.
type Told = (Event, ObjectReference);

/// How fast they are written: none hangs for longer than its `patience`.
struct Pace {
    patience: Duration,
    pause: Duration,
    queue: Arc<Queue>,
}

/// Writes Events.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Told>);

impl Events {
    /// They are written as long as this, or a clone of it, is there.
    pub fn new(client: kube::Client, queue: Arc<Queue>) -> Self {
        Self::with(client, ROOM, Pace { patience: PATIENCE, pause: PAUSE, queue })
    }

    fn with(client: kube::Client, room: usize, pace: Pace) -> Self {
        let recorder = Recorder::new(client, "gitops-controller");
        let (sender, told) = mpsc::channel(room);
        tokio::spawn(write(recorder, told, pace));
        Self(sender)
    }

    /// Tells of a sync that went well.
    pub fn normal(&self, about: &Application, reason: &'static str, note: &str) {
        self.write(about.object_ref(&()), EventType::Normal, reason, note);
    }

    /// Tells of what somebody should look at.
    pub fn warn(&self, about: &Application, reason: &'static str, note: &str) {
        self.write(about.object_ref(&()), EventType::Warning, reason, note);
    }

    /// Tells of something else.
    pub fn about(&self, about: ObjectReference, bad: bool, reason: &'static str, note: &str) {
        self.write(about, if bad { EventType::Warning } else { EventType::Normal }, reason, note);
    }

    fn write(&self, about: ObjectReference, kind: EventType, reason: &'static str, note: &str) {
        let event = Event {
            type_: kind,
            reason: reason.into(),
            action: "Sync".into(),
            note: Some(note.to_owned()),
            secondary: None,
        };
        if self.0.try_send((event, about)).is_err() {
            tracing::warn!(reason, note, "there was no room for the Event");
        }
    }
}

/// Writes what is told, one after the other.
async fn write(recorder: Recorder, mut told: mpsc::Receiver<Told>, pace: Pace) {
    let Pace { patience, pause, queue } = pace;
    // When so many are allowed as have been written, without the burst.
    let mut earned = Instant::now();
    while let Some((event, regarding)) = told.recv().await {
        let early = earned.saturating_duration_since(Instant::now());
        tokio::time::sleep(early.saturating_sub(pause * BURST)).await;
        let busy = Instant::now() + BUSY;
        while Instant::now() < busy && queue.has_news() {
            tokio::time::sleep(PAUSE).await;
        }
        recorder.tell(event, &regarding, patience).await;
        earned = earned.max(Instant::now()) + pause;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An API server that does not answer the first Event, and counts the others.
    async fn server() -> (kube::Client, Arc<AtomicUsize>) {
        let (asked, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = taken.clone();
        let app = axum::Router::new().fallback(move |body: String| {
            let (asked, taken) = (asked.clone(), counted.clone());
            async move {
                if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                    std::future::pending::<()>().await;
                }
                taken.fetch_add(1, Ordering::Relaxed);
                body
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config = kube::Config::new(address.parse().unwrap());
        (kube::Client::try_from(config).unwrap(), taken)
    }

    fn tell(events: &Events, count: usize) {
        for number in 0..count {
            let about = ObjectReference { name: Some(number.to_string()), ..ObjectReference::default() };
            events.about(about, false, "Synced", "");
        }
    }

    async fn until(taken: &AtomicUsize, wanted: usize) {
        let all = async {
            while taken.load(Ordering::Relaxed) < wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other_and_few_wait() {
        let (client, taken) = server().await;
        let queue = Arc::new(Queue::new(1, 1));
        let pace = Pace { patience: Duration::from_millis(300), pause: Duration::ZERO, queue };
        let (room, events) = (1000, Events::with(client, 1000, pace));
        tell(&events, room + 100);
        // Nothing was taken out meanwhile: the last ones found no room, the first hangs.
        until(&taken, room - 1).await;
        tell(&events, 1);
        until(&taken, room).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(taken.load(Ordering::Relaxed), room);
    }

    #[tokio::test]
    async fn they_wait_while_there_is_news() {
        let (client, taken) = server().await;
        let queue = Arc::new(Queue::new(1, 1));
        let name = gitops_core::desired::AppRef { namespace: "shop".into(), name: "web".into() };
        queue.push(&name);
        let pace = Pace { patience: Duration::from_millis(10), pause: Duration::ZERO, queue: queue.clone() };
        let events = Events::with(client, 1000, pace);
        // The first is not answered.
        tell(&events, 50);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(taken.load(Ordering::Relaxed) < 5);
        assert_eq!(queue.next().await, name);
        until(&taken, 49).await;
    }
}
