//! A Rollout in Git. In: its name, and perhaps the file that describes its
//! Application. Out: the Application, what it declares at its newest commit,
//! and the Rollout among that.

use std::path::PathBuf;

use clap::Args;
use gitops_api::Rollout;
use gitops_core::desired::{DesiredObject, DesiredSet};
use gitops_core::names::GROUP;
use gitops_core::rollout::spec::Spec;
use gitops_engine::load::{self, Loaded};

use crate::applications::{declared, is_local, select};
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::place::Place;
use crate::reaching::reach;
use crate::rollouts;
use crate::settings::Settings;

/// Which Rollout is meant.
#[derive(Debug, Args)]
pub struct Which {
    /// The Rollout
    #[arg(value_name = "NAME")]
    pub rollout: String,
    /// The file that describes its Application; else the nearest gitops.yaml upwards, else the cluster
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The Application that declares it, where several are described
    #[arg(long, value_name = "NAME")]
    pub application: Option<String>,
}

/// A Rollout, as Git declares it.
#[derive(Debug)]
pub struct Declared {
    pub loaded: Loaded,
    pub selection: Selection,
    /// Of all sources.
    pub revision: String,
    pub set: DesiredSet,
    pub name: String,
    pub spec: Spec,
}

impl Which {
    /// Whether the Application is described by a file.
    pub fn is_local(&self, settings: &Settings) -> bool {
        is_local(&self.selection(), settings)
    }

    fn selection(&self) -> Selection {
        let names = self.application.iter().cloned().collect();
        Selection { names, file: self.file.clone(), ..Selection::default() }
    }

    /// Finds it.
    pub async fn find(&self, settings: &Settings, place: &Place) -> Result<Declared, Failure> {
        let name = self.rollout.strip_prefix("rollout/").unwrap_or(&self.rollout);
        let selection = self.selection();
        let applications = if self.is_local(settings) {
            select(&selection, settings, place.cluster()).await?
        } else {
            vec![self.in_cluster(name, settings, place).await?]
        };
        let mut known = Vec::new();
        for loaded in applications {
            let (commit, set) = declared(&loaded, place.environment(), None, place).await?;
            let all = set.objects.values();
            let ours = all.filter(|object| object.key.group == GROUP && object.key.kind == "Rollout");
            let Some(object) = ours.clone().find(|object| object.key.name == name) else {
                known.extend(ours.map(|object| object.key.name.clone()));
                continue;
            };
            let spec = spec(object)?;
            let names = vec![loaded.application.name.clone()];
            let selection = Selection { names, ..selection };
            return Ok(Declared { selection, revision: commit.id, set, name: name.to_owned(), spec, loaded });
        }
        let hint = if known.is_empty() {
            "none of the Applications declares a Rollout; name the file by -f".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        };
        Err(Failure::usage(format!("no Application declares a Rollout {name:?}")).hint(hint))
    }

    /// The Application of the cluster that declares it.
    async fn in_cluster(&self, name: &str, settings: &Settings, place: &Place) -> Result<Loaded, Failure> {
        let Some(cluster) = place.cluster() else {
            return Err(Failure::usage("no cluster is asked, and there is no gitops.yaml here or above")
                .hint("name the file that describes the Application: -f FILE"));
        };
        let namespace = rollouts::namespace(settings, cluster);
        let seen = reach(settings, name).await?.seen;
        let application = seen.application().ok_or_else(|| Failure {
            message: format!("Rollout {namespace}/{name} is of no Application"),
            hint: Some("name the file that describes the one that declares it: -f FILE".into()),
            code: code::REFUSED,
        })?;
        Ok(load::from_cluster(cluster, &application, &settings.credentials).await?)
    }
}

impl Declared {
    /// The target, as Git declares it.
    pub fn target(&self) -> Result<&DesiredObject, Failure> {
        self.set.objects.get(&self.spec.target).ok_or_else(|| {
            Failure::git(format!("{} is not declared beside Rollout {}", self.spec.target, self.name))
                .hint("mend it in Git: kubectl gitops rollout lint")
        })
    }
}

/// Core's view of a declared Rollout; what its analyses are does not matter here.
fn spec(object: &DesiredObject) -> Result<Spec, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::git(format!("{} ({}): {error}", object.key, object.origin))
            .hint("mend it in Git: kubectl gitops rollout lint")
    };
    let rollout: Rollout = serde_json::from_value((*object.value).clone()).map_err(|error| bad(&error))?;
    rollout.spec.outline(&object.key.namespace).map_err(|error| bad(&error))
}
