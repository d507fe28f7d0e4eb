//! An Application as the cluster has it. In: its name. Out: the Application,
//! with what the Secrets of its sources hold, its Project, and its status.

use std::collections::BTreeMap;

use gitops_api::application::{Application, ApplicationStatus};
use gitops_api::{Project, ProjectSpec};
use gitops_cluster::{Cluster, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_source::{Credentials, Secret};

use super::Loaded;
use crate::error::EngineError;

/// What a source's Secret holds.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// None: the Secret says nothing about the repository.
    pub credentials: Option<Credentials>,
    pub age: Option<Secret>,
    pub signing_key: Option<Secret>,
}

/// An Application of the cluster, with the credentials that it names.
///
/// # Errors
/// When it is not there, or its Secret is not.
pub async fn from_cluster(
    cluster: &Cluster,
    reference: &AppRef,
    usual: &Credentials,
) -> Result<Loaded, EngineError> {
    let missing = || {
        EngineError::Cluster(gitops_cluster::ClusterError::NotFound { what: key_of(reference).to_string() })
    };
    let application = read(cluster, reference).await?.ok_or_else(missing)?;
    let access = access_of(cluster, &application).await?;
    let mut loaded = Loaded::from_resource(&application, &access, usual)?;
    loaded.project = project_of(cluster, &application.spec.project).await;
    loaded.status = application.status;
    Ok(loaded)
}

/// What the cluster says of an Application; none where it does not know it.
///
/// # Errors
/// When it cannot be asked, or has no Applications at all.
pub async fn status_of(
    cluster: &Cluster,
    reference: &AppRef,
) -> Result<Option<ApplicationStatus>, EngineError> {
    Ok(read(cluster, reference).await?.and_then(|application| application.status))
}

fn key_of(reference: &AppRef) -> ObjectKey {
    ObjectKey {
        group: GROUP.into(),
        kind: "Application".into(),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

async fn read(cluster: &Cluster, reference: &AppRef) -> Result<Option<Application>, EngineError> {
    let key = key_of(reference);
    let Some(value) = cluster.get(&own("Application", "applications", true), &key).await? else {
        return Ok(None);
    };
    serde_json::from_value(value)
        .map(Some)
        .map_err(|error| EngineError::Application { file: key.to_string(), reason: error.to_string() })
}

/// An Application's Project. Who may not read it, or where there is none, is
/// shown what it leaves to others as a difference.
async fn project_of(cluster: &Cluster, name: &str) -> Option<ProjectSpec> {
    let kind = own("Project", "projects", false);
    let key = ObjectKey {
        group: GROUP.into(),
        kind: "Project".into(),
        namespace: String::new(),
        name: name.into(),
    };
    let project: Project = serde_json::from_value(cluster.get(&kind, &key).await.ok()??).ok()?;
    Some(project.spec)
}

/// A kind of ours.
fn own(kind: &str, plural: &str, namespaced: bool) -> Kind {
    Kind {
        gvk: Gvk { group: GROUP.into(), version: VERSION.into(), kind: kind.into() },
        plural: plural.into(),
        namespaced,
        verbs: Vec::new(),
        subresources: Vec::new(),
    }
}

/// What the Secrets hold that an Application's sources name, in their order.
///
/// # Errors
/// When a Secret is not there or holds nothing of use.
pub async fn access_of(cluster: &Cluster, application: &Application) -> Result<Vec<Access>, EngineError> {
    let mut access = Vec::new();
    let mut known: BTreeMap<&str, Access> = BTreeMap::new();
    for source in application.spec.all_sources() {
        let Some(secret) = source.secret_ref.as_ref().map(|secret| secret.name.as_str()) else {
            access.push(Access::default());
            continue;
        };
        if !known.contains_key(secret) {
            known.insert(secret, read_secret(cluster, application, secret).await?);
        }
        access.extend(known.get(secret).cloned());
    }
    Ok(access)
}

async fn read_secret(
    cluster: &Cluster,
    application: &Application,
    secret: &str,
) -> Result<Access, EngineError> {
    let namespace = application.metadata.namespace.clone().unwrap_or_default();
    let failed = |reason: String| EngineError::Secret {
        application: application.metadata.name.clone().unwrap_or_default(),
        reason,
    };
    let kind = Kind {
        gvk: Gvk::new("v1", "Secret"),
        plural: "secrets".into(),
        namespaced: true,
        verbs: Vec::new(),
        subresources: Vec::new(),
    };
    let key = ObjectKey { group: String::new(), kind: "Secret".into(), namespace, name: secret.to_owned() };
    let value = cluster.get(&kind, &key).await?.ok_or_else(|| failed(format!("{key} is not there")))?;
    let field = |name: &str| value.get("data").and_then(|data| data.get(name)?.as_str()).and_then(decode);
    if field("caBundle").is_some() {
        return Err(failed(format!("{key}: caBundle is not carried out yet")));
    }
    let age = field("age").map(Secret::new);
    let login = (field("username"), field("password"), field("sshPrivateKey"), field("knownHosts"));
    let credentials = match (field("token"), login) {
        (Some(token), _) => Some(Credentials::token(Secret::new(token))),
        (None, (Some(username), Some(password), ..)) => {
            Some(Credentials::Basic { username, password: Secret::new(password) })
        }
        (None, (.., Some(private_key), Some(known_hosts))) => {
            Some(Credentials::Ssh { private_key: Secret::new(private_key), known_hosts })
        }
        (None, (.., Some(_), None)) => {
            return Err(failed(format!(
                "{key} holds sshPrivateKey but not knownHosts: without it, anyone could play the host"
            )));
        }
        _ if age.is_some() => None,
        _ => {
            return Err(failed(format!(
                "{key} holds neither token, nor username and password, nor sshPrivateKey and knownHosts, nor age"
            )));
        }
    };
    Ok(Access { credentials, age, signing_key: field("signingKey").map(Secret::new) })
}

/// The text of a Secret's field.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(text.into()).ok()?;
    String::from_utf8(bytes.0).ok()
}
