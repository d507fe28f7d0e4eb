//! What an Application's status says: whether it could be rendered, whether it
//! is enforced, and at which commit. Written only when it changes.

use gitops_api::Application;
use gitops_api::request::is_judged;
use gitops_core::names::FIELD_MANAGER_WEBHOOK;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// What a look at an Application has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// The commit that is in force, or one that says the same.
    pub revision: Option<String>,
    /// Git has answered.
    pub heard: bool,
    /// Why the newest commit is not.
    pub error: Option<(&'static str, String)>,
    pub objects: usize,
    pub kinds: Vec<String>,
    /// Objects that another Application declares as well.
    pub conflicts: Vec<String>,
    /// What Git both declares and leaves to others.
    pub mistakes: Vec<String>,
    /// Who fights over which field.
    pub contended: Vec<String>,
}

impl Pass {
    /// Whether the status says the same of both.
    fn says(&self, other: &Self) -> bool {
        *self == Self { heard: self.heard, ..other.clone() }
    }
}

/// What was said last, so that nothing is said twice.
#[derive(Clone, Debug, Default)]
pub struct Said(Option<Pass>);

/// Writes the status of a pass.
pub async fn write(client: &kube::Client, application: &Application, pass: &Pass, last: &mut Said) {
    if last.0.as_ref().is_some_and(|last| last.says(pass)) {
        return;
    }
    let applications: Api<Application> =
        Api::namespaced(client.clone(), &application.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": gitops_core::names::API_VERSION,
        "kind": "Application",
        "metadata": {"name": application.name_any()},
        "status": status(application, pass),
    });
    let params = PatchParams::apply(FIELD_MANAGER_WEBHOOK).force();
    match applications.patch_status(&application.name_any(), &params, &Patch::Apply(&patch)).await {
        Ok(_) => last.0 = Some(pass.clone()),
        Err(error) => {
            tracing::warn!(application = %application.name_any(), %error, "the status could not be written")
        }
    }
}

/// Takes back what was said of an Application that goes to another cluster now.
pub async fn withdraw(client: &kube::Client, application: &Application) {
    if !is_judged(application.status.as_ref()) {
        return;
    }
    let applications: Api<Application> =
        Api::namespaced(client.clone(), &application.namespace().unwrap_or_default());
    let nothing = json!({
        "apiVersion": gitops_core::names::API_VERSION,
        "kind": "Application",
        "metadata": {"name": application.name_any()},
    });
    let params = PatchParams::apply(FIELD_MANAGER_WEBHOOK).force();
    let withdrawn =
        applications.patch_status(&application.name_any(), &params, &Patch::Apply(&nothing)).await;
    if let Err(error) = withdrawn {
        tracing::warn!(application = %application.name_any(), %error, "the status could not be withdrawn");
    }
}

fn status(application: &Application, pass: &Pass) -> Value {
    let rendered = match &pass.error {
        None if !pass.mistakes.is_empty() => ("True", "Mistakes", limited(&pass.mistakes.join("\n"))),
        None => ("True", "Rendered", "the newest commit is rendered".to_owned()),
        Some((reason, error)) => ("False", *reason, limited(error)),
    };
    let enforced = match &pass.revision {
        None => ("False", "NeverRendered", "nothing is enforced: no commit could be rendered yet".to_owned()),
        Some(revision) if pass.error.is_some() => {
            ("True", "LastGoodCommit", format!("the last good commit is enforced: {revision}"))
        }
        Some(_) if !pass.conflicts.is_empty() => ("True", "Conflicts", limited(&pass.conflicts.join("\n"))),
        Some(_) if !pass.contended.is_empty() => ("True", "Contended", limited(&pass.contended.join("\n"))),
        Some(revision) => ("True", "Enforced", format!("commit {revision} is enforced")),
    };
    let mut status = json!({
        "observedGeneration": application.metadata.generation,
        "conditions": [condition(application, "Rendered", rendered), condition(application, "Enforced", enforced)],
        "objects": {"total": pass.objects},
        "kinds": pass.kinds,
    });
    if let Some(revision) = &pass.revision {
        status["revision"] = revision.as_str().into();
    }
    status
}

/// The API server takes messages of up to 32 KiB; a person reads less.
fn limited(text: &str) -> String {
    text.chars().take(2000).collect()
}

fn condition(
    application: &Application,
    kind: &str,
    (status, reason, message): (&str, &str, String),
) -> Value {
    let conditions =
        application.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let before = conditions.iter().find(|condition| condition.type_ == kind && condition.status == status);
    let since = before.map_or_else(
        || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        |condition| condition.last_transition_time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    );
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since, "observedGeneration": application.metadata.generation})
}
