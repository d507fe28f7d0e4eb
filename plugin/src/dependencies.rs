//! Applications that wait for others. In: those to be synced, and those known
//! beside. Out: an order, and for each what it still waits for.

use std::collections::BTreeSet;
use std::time::Instant;

use gitops_core::desired::AppRef;
use gitops_core::health::{Health, HealthReport, health};
use gitops_core::plan::{Action, depends};
use gitops_engine::{Loaded, SyncOptions, load};

use crate::applications::Destination;
use crate::error::Failure;
use crate::printer::Printer;
use crate::settings::Settings;

/// Between two looks at an Application that is waited for.
const INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// The order in which Applications are synced.
pub struct Dependencies<'a> {
    chosen: Vec<Loaded>,
    known: &'a [Loaded],
    healthy: BTreeSet<AppRef>,
}

fn names(loaded: &Loaded) -> Vec<String> {
    let reference =
        |name: &String| AppRef { namespace: loaded.application.namespace.clone(), name: name.clone() };
    loaded.spec.depends_on.iter().map(|on| reference(&on.name).to_string()).collect()
}

fn order(applications: &[Loaded]) -> Result<Vec<usize>, Failure> {
    let nodes: Vec<_> =
        applications.iter().map(|loaded| (loaded.application.to_string(), names(loaded))).collect();
    depends::order(&nodes)
        .map_err(|cycle| Failure::usage(cycle.to_string()).hint("take one of these out of spec.dependsOn"))
}

impl<'a> Dependencies<'a> {
    /// Puts Applications in order.
    pub fn new(chosen: &[Loaded], known: &'a [Loaded]) -> Result<Self, Failure> {
        order(known)?;
        let chosen = order(chosen)?.into_iter().map(|at| chosen[at].clone()).collect();
        Ok(Self { chosen, known, healthy: BTreeSet::new() })
    }

    /// What is depended on first.
    pub fn ordered(&self) -> Vec<Loaded> {
        self.chosen.clone()
    }

    /// Whether another one of these waits for its health.
    pub fn is_awaited(&self, loaded: &Loaded) -> bool {
        self.chosen.iter().any(|other| names(other).contains(&loaded.application.to_string()))
    }

    /// Notes that an Application was synced and, where it is awaited, healthy.
    pub fn succeeded(&mut self, loaded: &Loaded) {
        self.healthy.insert(loaded.application.clone());
    }

    /// Why an Application cannot be synced yet. One that is not synced here is
    /// looked at until it is healthy, for as long as the options allow.
    pub async fn missing(
        &mut self,
        loaded: &Loaded,
        destination: &Destination,
        settings: &Settings,
        options: &SyncOptions,
        printer: &Printer,
    ) -> Result<Option<String>, Failure> {
        for on in &loaded.spec.depends_on {
            let reference = AppRef { namespace: loaded.application.namespace.clone(), name: on.name.clone() };
            if self.healthy.contains(&reference) {
                continue;
            }
            if self.chosen.iter().any(|chosen| chosen.application == reference) {
                return Ok(Some(format!("it depends on {reference}, which was not synced and healthy")));
            }
            let other = match self.known.iter().find(|known| known.application == reference) {
                Some(known) => known.clone(),
                None => load::from_cluster(&destination.cluster, &reference, &settings.credentials)
                    .await
                    .map_err(|error| {
                        Failure::usage(format!(
                            "Application {} depends on {reference}: {error}",
                            loaded.application
                        ))
                        .hint("name an Application of this file or of the cluster in spec.dependsOn")
                    })?,
            };
            let start = Instant::now();
            while let Some(why) = unhealthy(&other, destination, printer).await? {
                if start.elapsed() > options.timeout {
                    return Ok(Some(format!("it depends on {reference}: {why}")));
                }
                tokio::time::sleep(INTERVAL).await;
                destination.look_again();
            }
            self.healthy.insert(reference);
        }
        Ok(None)
    }
}

/// The first of an Application's objects that is not as it should be.
async fn unhealthy(
    loaded: &Loaded,
    destination: &Destination,
    printer: &Printer,
) -> Result<Option<String>, Failure> {
    let destination = &*destination.of(loaded).await?;
    let (_, survey) = destination.survey(loaded, None, printer).await?;
    let kept = survey.plan.steps.iter().filter(|step| step.action != Action::Prune);
    let states =
        kept.map(|step| (step, survey.live.get(&step.key).map_or_else(HealthReport::missing, health)));
    let mut bad = states.filter(|(_, state)| !matches!(state.health, Health::Healthy | Health::Suspended));
    Ok(bad.next().map(|(step, state)| format!("{} is {:?}: {}", step.key, state.health, state.message)))
}
