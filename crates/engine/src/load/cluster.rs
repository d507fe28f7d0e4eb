//! An Application as the cluster has it. In: its name. Out: the Application,
//! with what the Secrets of its sources hold, its Project, and its status.

use std::collections::BTreeMap;
use std::sync::Arc;

use gitops_api::application::{Application, ApplicationStatus};
use gitops_api::{Project, ProjectSpec};
use gitops_cluster::{Cluster, Kind};
use gitops_core::desired::AppRef;
use gitops_core::names::{GROUP, VERSION};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_source::authority::certificates;
use gitops_source::{Credentials, Login, Secret};

use super::Loaded;
use crate::error::EngineError;

/// What a source's Secret holds.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// None: the Secret says nothing about the repository.
    pub credentials: Option<Credentials>,
    /// Certificates in PEM of its host's authority.
    pub authority: Option<Arc<str>>,
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
pub fn own(kind: &str, plural: &str, namespaced: bool) -> Kind {
    let gvk = Gvk { group: GROUP.into(), version: VERSION.into(), kind: kind.into() };
    Kind::known(gvk, plural, namespaced)
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
    let kind = Kind::known(Gvk::new("v1", "Secret"), "secrets", true);
    let key = ObjectKey { group: String::new(), kind: "Secret".into(), namespace, name: secret.to_owned() };
    let value = cluster.get(&kind, &key).await?.ok_or_else(|| failed(format!("{key} is not there")))?;
    let field = |name: &str| value.get("data").and_then(|data| data.get(name)?.as_str()).and_then(decode);
    access(field).map_err(|reason| failed(format!("{key} {reason}")))
}

/// What the fields of a Secret give; an error goes on behind the Secret's name.
fn access(field: impl Fn(&str) -> Option<String>) -> Result<Access, String> {
    let authority: Option<Arc<str>> = field("caBundle").map(Into::into);
    if let Some(pem) = &authority {
        certificates(pem).map_err(|reason| format!("holds a caBundle that cannot be read: {reason}"))?;
    }
    let (age, signing_key) = (field("age").map(Secret::new), field("signingKey").map(Secret::new));
    let login = (field("username"), field("password"), field("sshPrivateKey"), field("knownHosts"));
    let credentials = match (field("token"), login) {
        (Some(token), _) => Some(Credentials::token(Secret::new(token))),
        (None, (Some(username), Some(password), ..)) => {
            Some(Login::Basic { username, password: Secret::new(password) }.into())
        }
        (None, (.., Some(private_key), Some(known_hosts))) => {
            Some(Login::Ssh { private_key: Secret::new(private_key), known_hosts }.into())
        }
        (None, (.., Some(_), None)) => {
            return Err(
                "holds sshPrivateKey but not knownHosts: without it, anyone could play the host".into()
            );
        }
        _ if age.is_some() || authority.is_some() => None,
        _ => {
            return Err("holds neither token, nor username and password, nor sshPrivateKey and knownHosts, nor age, nor caBundle".into());
        }
    };
    Ok(Access { credentials, authority, age, signing_key })
}

/// The text of a Secret's field.
pub(crate) fn decode(text: &str) -> Option<String> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(text.into()).ok()?;
    String::from_utf8(bytes.0).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Access, String> {
        access(|name| fields.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn a_secret_gives_a_login_an_authority_or_both() {
        let pem = rcgen::generate_simple_self_signed(["git.example".to_owned()]).unwrap().cert.pem();
        let alone = read(&[("caBundle", &pem)]).unwrap();
        assert!(alone.credentials.is_none() && alone.authority.as_deref() == Some(pem.as_str()));
        let both = read(&[("caBundle", &pem), ("token", "t")]).unwrap();
        assert!(both.credentials == Some(Credentials::token(Secret::new("t"))) && both.authority.is_some());
        let broken = read(&[("caBundle", "cert"), ("token", "t")]).unwrap_err();
        assert!(broken.contains("caBundle that cannot be read"), "{broken}");
        assert!(read(&[("sshPrivateKey", "k")]).unwrap_err().contains("knownHosts"));
        assert!(read(&[("user", "ada")]).unwrap_err().contains("nor caBundle"));
    }
}
