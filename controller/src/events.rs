//! Events of Kubernetes about Applications. One that
//! cannot be written is logged; nothing waits for it, and few are written at
//! once, so that they hold up no sync.

use std::sync::Arc;

use gitops_api::Application;
use gitops_engine::events::Recorder;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tokio::sync::Semaphore;

/// Events that are written at once.
const PARALLEL: usize = 1;

/// Writes Events.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    room: Arc<Semaphore>,
}

impl Events {
    pub fn new(client: kube::Client) -> Self {
        let recorder = Recorder::new(client, "gitops-controller");
        Self { recorder, room: Arc::new(Semaphore::new(PARALLEL)) }
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
        let (recorder, room, regarding) = (self.recorder.clone(), self.room.clone(), about);
        tokio::spawn(async move {
            let _held = room.acquire().await;
            if let Err(error) = recorder.publish(event, &regarding).await {
                tracing::warn!(%error, reason, "the Event could not be written");
            }
        });
    }
}
