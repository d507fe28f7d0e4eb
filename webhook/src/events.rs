//! Events of Kubernetes, for what somebody should see. In: what happened. Out:
//! Events. One that cannot be written is
//! logged; nothing waits for it.

use gitops_core::contention::Contention;
use gitops_core::desired::AppRef;
use gitops_core::names::API_VERSION;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_engine::events::{PATIENCE, Recorder};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};

/// Writes Events.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    pub fn new(client: kube::Client) -> Self {
        Self(Recorder::new(client, "gitops-webhook"))
    }

    /// Warns about `regarding`, in the background.
    pub fn warn(
        &self,
        regarding: ObjectReference,
        related: Option<ObjectReference>,
        (reason, action): (&'static str, &'static str),
        note: &str,
    ) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.into(),
            action: action.into(),
            note: Some(note.to_owned()),
            secondary: related,
        };
        let recorder = self.0.clone();
        tokio::spawn(async move { recorder.tell(event, &regarding, PATIENCE).await });
    }

    /// Somebody fights over a field.
    pub fn contended(&self, by: &Contention, uid: &str) {
        let note = format!("{by}: stop it, or leave the field to it in Git");
        // One Event a fight, though the same user may fight over several.
        let related = ObjectReference { field_path: Some(by.field.clone()), ..object(None, &by.key) };
        self.warn(application(&by.application, uid), Some(related), ("Contended", "Refuse"), &note);
    }
}

/// An object, for an Event.
pub fn object(gvk: Option<&Gvk>, key: &ObjectKey) -> ObjectReference {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ObjectReference {
        api_version: Some(gvk.map_or_else(|| key.group.clone(), Gvk::api_version)),
        kind: some(&key.kind),
        namespace: some(&key.namespace),
        name: some(&key.name),
        ..ObjectReference::default()
    }
}

/// An object of ours, for an Event.
pub fn own(kind: &str, name: &AppRef, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(API_VERSION.into()),
        kind: Some(kind.into()),
        namespace: (!name.namespace.is_empty()).then(|| name.namespace.clone()),
        name: Some(name.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// An Application, for an Event.
pub fn application(name: &AppRef, uid: &str) -> ObjectReference {
    own("Application", name, uid)
}
