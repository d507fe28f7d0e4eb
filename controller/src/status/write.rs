//! Writing a status. In: the Application, its status as it was read, and what was
//! found since. Out: the Application as it is then. What somebody else has written
//! meanwhile, such as another controller, stays: it is read, and written anew.

use gitops_api::Application;
use gitops_api::application::ApplicationStatus;
use gitops_cluster::Cluster;
use gitops_core::names::FIELD_MANAGER;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};

use super::{Found, after, patch, says};

/// Tries to write it, while others write.
const TRIES: usize = 5;

/// A status as it was read, and in which version of its Application.
#[derive(Debug)]
pub struct Before {
    pub status: ApplicationStatus,
    pub version: Option<String>,
}

impl Before {
    /// As the Application says it.
    pub fn watched(application: &Application) -> Self {
        Self {
            status: application.status.clone().unwrap_or_default(),
            version: application.resource_version(),
        }
    }
}

/// The time, as a status says it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes it, if it says something else; none: it says so already, or the
/// Application is gone.
///
/// # Errors
/// When it cannot be written, or others never stop writing.
pub async fn write(
    cluster: &Cluster,
    application: &Application,
    mut before: Before,
    found: &Found,
) -> kube::Result<Option<Application>> {
    let name = application.name_any();
    let api: Api<Application> =
        Api::namespaced(cluster.client(), &application.namespace().unwrap_or_default());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    for attempt in 1.. {
        let wanted = after(application, &before.status, found, &now());
        if says(&before.status, &wanted) {
            break;
        }
        let mut patch = patch(application, &wanted);
        patch["metadata"]["resourceVersion"] = before.version.into();
        match api.patch_status(&name, &params, &Patch::Apply(patch)).await {
            Ok(written) => return Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.code == 404 => break,
            Err(kube::Error::Api(status)) if status.code == 409 && attempt < TRIES => {}
            Err(error) => return Err(error),
        }
        match api.get_opt(&name).await? {
            Some(now) if now.uid() == application.uid() => before = Before::watched(&now),
            _ => break,
        }
    }
    Ok(None)
}
