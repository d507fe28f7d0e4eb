//! Events of Kubernetes. In: what happened, and to what. Out: an Event each; one
//! that says the same again is counted in the Event that is there.
//!
//! kube's recorder tells Events apart by all but what they say, and would keep
//! the first message: so there is one for each message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, Recorder as Single};

/// How long kube's recorder remembers an Event.
const REMEMBERED: Duration = Duration::from_secs(360);
/// Messages that are remembered: beyond them, all begin anew.
const MOST: usize = 1000;
/// The API server takes messages of up to 1 KiB.
const NOTE: usize = 1000;

/// How long an Event may take: the client waits for as long as a watch does.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Writes Events.
#[derive(Clone)]
pub struct Recorder {
    client: kube::Client,
    name: &'static str,
    /// By what they say, and when it was said last.
    all: Arc<Mutex<HashMap<String, (Single, Instant)>>>,
}

impl Recorder {
    /// Events of a program of this name.
    pub fn new(client: kube::Client, name: &'static str) -> Self {
        Self { client, name, all: Arc::default() }
    }

    /// Writes an Event, its message as far as there is room.
    ///
    /// # Errors
    /// When the API server does not take it.
    async fn publish(&self, event: Event, about: &ObjectReference) -> Result<(), kube::Error> {
        let note = event.note.map(|mut note| {
            note.truncate(note.floor_char_boundary(NOTE));
            note
        });
        let single = self.of(note.as_deref().unwrap_or_default(), Instant::now());
        single.publish(&Event { note, ..event }, about).await
    }

    /// The same; one that cannot be written, or not in time, is logged.
    pub async fn tell(&self, event: Event, about: &ObjectReference, patience: Duration) {
        let reason = event.reason.clone();
        match tokio::time::timeout(patience, self.publish(event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason, "the Event could not be written"),
            Err(_) => tracing::warn!(reason, "the Event could not be written in time"),
        }
    }

    /// The recorder of a message; those of old messages go.
    fn of(&self, note: &str, now: Instant) -> Single {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, said)| now.duration_since(*said) < REMEMBERED);
        if all.len() >= MOST {
            all.clear();
        }
        let new = || (Single::new(self.client.clone(), self.name.into()), now);
        let (single, said) = all.entry(note.to_owned()).or_insert_with(new);
        *said = now;
        single.clone()
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({})", self.name)
    }
}
