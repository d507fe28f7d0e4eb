//! Other clusters, by the names that Applications use. In: the cluster that is
//! meant by kubectl's flags, and a name. Out: a client of the other one: by the
//! Secret that registers it, if the user may read it, else by a context of that
//! name in the kubeconfig.

use gitops_cluster::{Cluster, ErrorKind, Registered};
use gitops_core::names::{
    CLUSTERS_NAMESPACE, LABEL_ARGOCD_SECRET_TYPE, LABEL_SECRET_TYPE, SECRET_TYPE_CLUSTER,
};
use serde_json::Value;

use crate::error::{Failure, code};
use crate::settings::Settings;

/// A Secret, and the cluster that it describes.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    pub secret: Value,
    /// Why it cannot be used from here.
    pub read: Result<Registered, String>,
}

/// The clusters that are registered in a namespace.
///
/// # Errors
/// When the Secrets may not be read.
pub async fn registered(
    cluster: &Cluster,
    namespace: &str,
) -> Result<Vec<Entry>, gitops_cluster::ClusterError> {
    let mut found: Vec<Entry> = Vec::new();
    for label in [LABEL_SECRET_TYPE, LABEL_ARGOCD_SECRET_TYPE] {
        let selector = format!("{label}={SECRET_TYPE_CLUSTER}").replace('/', "%2F").replace('=', "%3D");
        let path = format!("/api/v1/namespaces/{namespace}/secrets?labelSelector={selector}");
        let mut list = cluster.get_json(&path).await?;
        let items = list.get_mut("items").map(Value::take).unwrap_or_default();
        for secret in items.as_array().cloned().unwrap_or_default() {
            // A Secret could have any command run here.
            let read = match Registered::of(&secret, &[]) {
                Ok(None) => continue,
                Ok(Some(registered)) => Ok(registered),
                Err(error) => Err(error.to_string()),
            };
            let name = Registered::name_in(&secret);
            if !found.iter().any(|known| known.name == name) {
                found.push(Entry { name, secret, read });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A cluster by its name; nothing is sent to it yet.
pub async fn connect(home: &Cluster, name: &str, settings: &Settings) -> Result<Cluster, Failure> {
    let secret = match registered(home, CLUSTERS_NAMESPACE).await {
        Ok(entries) => match entries.into_iter().find(|entry| entry.name == name).map(|entry| entry.read) {
            Some(Ok(registered)) => return settings.registered(&registered).await,
            Some(Err(why)) => why,
            None => format!("no Secret in {CLUSTERS_NAMESPACE} describes it"),
        },
        Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {
            format!("the Secrets in {CLUSTERS_NAMESPACE} may not be read")
        }
        Err(error) => return Err(error.into()),
    };
    if settings.has_context(name) {
        return settings.context(name).await;
    }
    Err(Failure {
        message: format!("cluster {name} is not known here: {secret}, and there is no context of that name"),
        hint: Some(format!(
            "give your kubeconfig a context called {name} (kubectl config rename-context), or let the controller sync it"
        )),
        code: code::UNREACHABLE,
    })
}
