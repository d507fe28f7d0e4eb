//! Charts that a kustomization inflates (`helmCharts`) and that lie in a chart
//! repository or registry. In: a kustomization. Out: what has to be fetched
//! beforehand, and its place, where kustomize looks before it would go to the
//! network by itself.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::checkout::Checkout;
use super::closure::resolve;
use super::join;
use crate::error::SourceError;
use crate::git::Snapshot;

/// A chart that does not lie beside the kustomization that inflates it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RemoteChart {
    /// `https://` or `oci://`.
    pub repo: String,
    pub name: String,
    /// As it is written: a version or a range; empty: the newest.
    pub version: String,
    /// What kustomize looks for it in, from the repository's root.
    folder: String,
}

impl RemoteChart {
    /// An item of `helmCharts`; none when it lies in the repository, or can be
    /// nowhere.
    ///
    /// # Errors
    /// When a link leads to its place.
    pub(super) fn of(
        snapshot: &Snapshot,
        kustomization: &str,
        home: &str,
        chart: &Value,
    ) -> Result<Option<Self>, SourceError> {
        let text = |name: &str| chart.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (repo, name, version) = (text("repo"), text("name"), text("version"));
        if repo.is_empty() || name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Ok(None);
        }
        // Where kustomize has it: every version in a folder of its own.
        let below = if version.is_empty() { home.to_owned() } else { format!("{home}/{name}-{version}") };
        let Some(folder) = resolve(kustomization, &below) else { return Ok(None) };
        match snapshot.look_up(&join(&folder, &name)) {
            Ok(Some(_)) => Ok(None),
            Ok(None) => Ok(Some(Self { repo, name, version, folder })),
            Err(link) => Err(SourceError::Unsupported {
                path: folder,
                reason: format!("a fetched chart is not put behind the link {link}: name another chartHome"),
            }),
        }
    }

    /// `name version`, for people.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version).trim_end().to_owned()
    }
}

/// Puts fetched charts where kustomize looks for them.
pub(super) fn unpack(
    checkout: &Checkout,
    charts: &BTreeMap<RemoteChart, Snapshot>,
) -> Result<(), SourceError> {
    for (chart, files) in charts {
        if !files.is_file(&join(&chart.name, "Chart.yaml")) {
            return Err(SourceError::Registry {
                place: format!("helmCharts: {}", chart.title()),
                reason: format!("what was fetched has no {}/Chart.yaml in it", chart.name),
            });
        }
        let folder = checkout.inside(&chart.folder);
        std::fs::create_dir_all(&folder).map_err(SourceError::io(&folder))?;
        files.checkout(&folder, Some(std::slice::from_ref(&chart.name)), &mut |_, data| data)?;
    }
    Ok(())
}
