//! The charts of chart repositories and registries that kustomizations inflate.
//! In: a source at a commit. Out: each chart's files, fetched once and pinned:
//! for a commit, the same version ever after. Rendering itself has no network.

use std::collections::BTreeMap;

use gitops_api::application::{Helm, Source};
use gitops_source::location::UrlError;
use gitops_source::registry::{self, Wanted};
use gitops_source::{Credentials, RemoteChart, RenderRequest, RepoUrl, Snapshot, SourceError, remote_charts};

use crate::desired::Environment;
use crate::error::EngineError;
use crate::load::{Loaded, Place};

/// Fetches what a render of `place` at `commit` needs and does not have yet.
///
/// # Errors
/// When a chart's repository is none that the Project takes, cannot be reached,
/// or has no such chart.
pub(crate) fn fetch(
    loaded: &Loaded,
    environment: &Environment,
    (place, commit): (&Place, &str),
    (snapshot, request): (&Snapshot, &RenderRequest),
) -> Result<BTreeMap<RemoteChart, Snapshot>, EngineError> {
    let git = environment.git();
    let mut charts = BTreeMap::new();
    for chart in remote_charts(snapshot, request)? {
        let repo: RepoUrl = chart.repo.parse().map_err(|error: UrlError| SourceError::Unsupported {
            path: format!("helmCharts: {}", chart.name),
            reason: error.to_string(),
        })?;
        admitted(loaded, &repo, &chart)?;
        // What is meant for one host is shown to no other.
        let near = place.repo.same_host(&repo);
        let credentials = if near { place.credentials.clone() } else { Credentials::default() };
        let wanted = Wanted::Chart { name: chart.name.clone(), version: chart.version.clone() };
        let found = registry::fetch(&git, &repo, &wanted, commit, &credentials, environment.git_timeout)?;
        charts.insert(chart, git.snapshot(&repo, &found.id)?);
    }
    Ok(charts)
}

/// What a kustomization inflates has to be as trusted as a source that names the
/// chart.
fn admitted(loaded: &Loaded, repo: &RepoUrl, chart: &RemoteChart) -> Result<(), EngineError> {
    let Some(project) = &loaded.project else { return Ok(()) };
    let source = Source {
        repo: Some(chart.repo.clone()),
        helm: Some(Helm { chart: chart.name.clone(), version: chart.version.clone(), ..Helm::default() }),
        ..Source::default()
    };
    project.admits_artifact(&source).map_err(|reason| EngineError::UntrustedChart {
        repo: repo.to_string(),
        chart: chart.title(),
        reason,
    })
}
