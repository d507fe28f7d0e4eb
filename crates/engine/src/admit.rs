//! What a Project admits. In: an Application of the cluster and its Project.
//! Out: what it takes to render it, and whether it may declare what it does.
//! Webhook and controller both ask, each by itself.

use gitops_api::{Application, Project};
use gitops_cluster::Cluster;
use gitops_core::names::GROUP;
use gitops_core::object::{Gvk, ObjectKey};
use gitops_source::Credentials;
use serde_json::Value;

use crate::error::EngineError;
use crate::load::{Loaded, access_of};

/// An Application that its Project admits, with the credentials that its
/// Secrets hold.
///
/// # Errors
/// When there is no such Project, it does not admit what the spec says, or a
/// Secret is not there.
pub async fn under_project(
    cluster: &Cluster,
    application: &Application,
    project: Option<&Project>,
) -> Result<Loaded, EngineError> {
    let missing = || EngineError::Application {
        file: "cluster".into(),
        reason: format!("there is no Project {:?}", application.spec.project),
    };
    let project = project.ok_or_else(missing)?;
    let namespace = application.metadata.namespace.clone().unwrap_or_default();
    let mut spec = application.spec.clone();
    if spec.destination.namespace.is_empty() {
        spec.destination.namespace.clone_from(&namespace);
    }
    project.admits(&namespace, &spec)?;
    let access = access_of(cluster, application).await?;
    let mut loaded = Loaded::from_resource(application, &access, &Credentials::default())?;
    loaded.project = Some(project.spec.clone());
    Ok(loaded)
}

/// As [`under_project`], where no Project is asked: nothing is written then but
/// what takes away what is the Application's own already.
///
/// # Errors
/// When a Secret is not there, or no repository is named.
pub async fn without_project(cluster: &Cluster, application: &Application) -> Result<Loaded, EngineError> {
    let access = access_of(cluster, application).await?;
    Loaded::from_resource(application, &access, &Credentials::default())
}

/// Whether a Project admits an object that an Application of the cluster
/// `destination` declares. `value` is asked for where the object is itself an
/// Application.
///
/// # Errors
/// Why it does not.
pub fn object(
    project: &Project,
    destination: &str,
    (key, gvk): (&ObjectKey, &Gvk),
    value: impl FnOnce() -> Value,
) -> Result<(), EngineError> {
    project.admits_object(destination, gvk, &key.namespace)?;
    if gvk.group == GROUP && gvk.kind == "Application" {
        let child = value();
        // As the definition has it where nothing is said.
        let named = child.pointer("/spec/project").and_then(Value::as_str).unwrap_or("default");
        project.admits_child(&format!("{}/{}", key.namespace, key.name), named)?;
    }
    Ok(())
}
