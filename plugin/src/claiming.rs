//! One sync or deletion of an Application at a time. In: an Application. Out: its
//! Lease, for as long as something is written; none where it cannot be used.

use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_engine::Survey;
use gitops_engine::hold::Hold;
use gitops_engine::lease::{self, Claim, Last, Lease};

use crate::error::Failure;
use crate::printer::Printer;
use crate::settings::who;

/// Claims an Application for what its survey says is to be done. `hold` tells what
/// becomes of its Lease later; `undone` says what has not happened where somebody else has it.
pub async fn claim(
    cluster: &Cluster,
    application: &AppRef,
    survey: &Survey,
    hold: &Hold,
    undone: &str,
    printer: &Printer,
) -> Result<Option<Lease>, Failure> {
    match lease::claim(cluster, application, &holder(), &Last::Unknown, survey.places(), hold).await {
        Claim::Held(lease) => Ok(Some(*lease)),
        Claim::Taken { holder } => {
            Err(Failure::conflict(format!("Application {application} is being synced by {holder}; {undone}"))
                .hint("wait until it is done, and try again"))
        }
        Claim::Unusable(error) => {
            printer.warning(&format!(
                "without a Lease, two syncs of {application} at once are not kept apart: {error}"
            ));
            Ok(None)
        }
        Claim::Failed(error) => {
            let failure = Failure::from(error);
            let message =
                format!("whether {application} is being synced is not known, {undone}: {}", failure.message);
            Err(Failure { message, ..failure })
        }
    }
}

/// Who syncs, for whoever meets the Lease.
fn holder() -> String {
    format!("{}, process {}, since {}", who(), std::process::id(), jiff::Timestamp::now())
}
