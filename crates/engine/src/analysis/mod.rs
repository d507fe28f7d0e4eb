//! Measuring a new version. In: what is due of a Rollout's metrics, where it
//! stands, and the time. Out: outcomes with their values. Metrics are measured
//! side by side, each within a time limit; whoever drops the future ends them.
//! What cannot be measured is inconclusive, and says why.

mod access;
mod error;
mod fetch;
mod http;
mod job;
pub(crate) mod metrics;
mod prometheus;
mod reading;
mod signals;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use gitops_api::analysis::{Metric, fill};
use gitops_cluster::Cluster;
use gitops_core::rollout::analysis::{Measured, Outcome, Scope, due, measuring};
use gitops_core::rollout::job as jobs;
use gitops_core::rollout::spec::{Rule, Spec};
use gitops_core::rollout::state::{Held, State, Version};

pub use error::AnalysisError;
pub use metrics::{Metrics, Ready, Templates, read as read_template, templates};

use access::entry;
use fetch::{Fetcher, address};
use prometheus::Span;
use reading::Reading;

/// Measurements under way at once.
const PARALLEL: usize = 16;
/// Of one measurement, whatever it asks.
const TIME: Duration = Duration::from_secs(15);

/// What measures. Cheap to clone; one is enough for all Rollouts.
#[derive(Clone, Debug)]
pub struct Analyser {
    cluster: Cluster,
    /// In whose name Jobs are run.
    worker: Cluster,
    fetcher: Fetcher,
}

/// Whose new version is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    pub namespace: String,
    /// The Rollout's name and uid.
    pub rollout: String,
    pub uid: String,
    /// A label selector of the new version's Pods, as in a URL:
    /// `app=web,pod-template-hash=5d8f`.
    pub pods: String,
}

/// A measurement that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// For the state machine.
    pub measured: Measured,
    /// For people: the value, and why it means what it does.
    pub value: String,
}

impl Analyser {
    /// Asks this cluster for Pods and Jobs.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(cluster: Cluster) -> Result<Self, AnalysisError> {
        Ok(Self { worker: cluster.clone(), cluster, fetcher: Fetcher::new()? })
    }

    /// The same in another cluster; Jobs are run in this name there.
    #[must_use]
    pub fn of(&self, cluster: Cluster, worker: Cluster) -> Self {
        Self { cluster, worker, fetcher: self.fetcher.clone() }
    }

    /// Measures everything that is due at `now`, in seconds since 1970. What
    /// takes longer, as a Job does, is there in a later call; Jobs whose results
    /// were counted are deleted.
    pub async fn measure(
        &self,
        spec: &Spec,
        state: &State,
        metrics: &Metrics,
        subject: &Subject,
        now: i64,
    ) -> Vec<Measurement> {
        if metrics.has_jobs() {
            self.tidy(spec, state, metrics, subject).await;
        }
        let Some(new) = &state.new else { return Vec::new() };
        let all = due(spec, state, now).into_iter().map(|(scope, rule)| async move {
            let ready = metrics.get(&rule.name)?;
            let turn = Turn { state, subject, scope, now };
            let taken = tokio::time::timeout(TIME, self.take(ready, &turn)).await;
            let taken = taken.unwrap_or(Err(AnalysisError::Late(TIME.as_secs())));
            let (outcome, value, at) = match taken {
                Ok(None) => return None,
                Ok(Some((reading, at))) => {
                    let (outcome, value) = reading.judge(&ready.rule, ready.success.as_ref());
                    (outcome, value, at)
                }
                Err(error) => (Outcome::Inconclusive, error.to_string(), now),
            };
            let measured = measured(&rule, scope, new, outcome, at);
            tracing::debug!(
                rollout = subject.rollout,
                namespace = subject.namespace,
                metric = measured.rule,
                ?outcome,
                value,
                "measured"
            );
            Some(Measurement { measured, value })
        });
        futures::stream::iter(all).buffer_unordered(PARALLEL).filter_map(std::future::ready).collect().await
    }

    /// What remains goes later, or by itself after a while.
    async fn tidy(&self, spec: &Spec, state: &State, metrics: &Metrics, subject: &Subject) {
        let mut wanted = BTreeSet::new();
        // After an inconclusive analysis all begins anew.
        if state.held != Some(Held::Inconclusive) {
            let by_job =
                |rule: &Rule| metrics.get(&rule.name).is_some_and(|ready| ready.metric.job.is_some());
            let all = measuring(spec, state).into_iter().filter(|(_, rule)| by_job(rule));
            let name = |(scope, rule): (Scope, Rule)| {
                jobs::name(&subject.rollout, &subject.uid, scope, &rule.name, state)
            };
            wanted.extend(all.map(name));
        }
        if let Err(error) = job::tidy(&self.worker, subject, &wanted).await {
            tracing::warn!(rollout = subject.rollout, namespace = subject.namespace, %error, "Jobs that measured were not deleted");
        }
    }

    /// One reading and when it began; none: it goes on.
    async fn take(&self, ready: &Ready, turn: &Turn<'_>) -> Result<Option<(Reading, i64)>, AnalysisError> {
        let (metric, subject) = (turn.filled(&ready.metric), turn.subject);
        if let Some(found) = &metric.job {
            let rule = &ready.rule.name;
            let name = jobs::name(&subject.rollout, &subject.uid, turn.scope, rule, turn.state);
            let read = job::read(&self.worker, subject, &name, rule, &found.template).await?;
            // Clocks differ; it was not begun before its analysis was.
            return Ok(read.map(|(reading, begun)| (reading, begun.max(turn.since()))));
        }
        let reading = if let Some(prometheus) = &metric.prometheus {
            let url = address(&prometheus.address)?;
            let entry = entry(&self.cluster, &subject.namespace, prometheus.access.as_ref(), &url).await?;
            let asking = self.fetcher.entering(entry)?;
            prometheus::read(&asking, &url, prometheus, turn.span(&ready.rule)).await?
        } else if let Some(http) = &metric.http {
            let url = address(&http.url)?;
            let entry = entry(&self.cluster, &subject.namespace, http.access.as_ref(), &url).await?;
            http::read(&self.fetcher.entering(entry)?, &url, http).await?
        } else if let Some(kubernetes) = &metric.kubernetes {
            signals::read(&self.cluster, &subject.namespace, &subject.pods, &kubernetes.signals, turn.now)
                .await?
        } else {
            return Err(AnalysisError::NoData("nothing says how it is measured".into()));
        };
        Ok(Some((reading, turn.now)))
    }
}

fn measured(rule: &Rule, scope: Scope, new: &Version, outcome: Outcome, at: i64) -> Measured {
    Measured { version: new.hash.clone(), scope, rule: rule.name.clone(), outcome, at }
}

/// One measurement's surroundings.
struct Turn<'a> {
    state: &'a State,
    subject: &'a Subject,
    scope: Scope,
    now: i64,
}

impl Turn<'_> {
    /// When this analysis began.
    fn since(&self) -> i64 {
        match self.scope {
            Scope::Background => self.state.started,
            Scope::Move(_) => self.state.entered,
        }
    }

    fn span(&self, rule: &Rule) -> Span {
        Span { since: self.since(), now: self.now, step: rule.interval }
    }

    /// The metric with what is known of both versions.
    fn filled(&self, metric: &Metric) -> Metric {
        let (new, stable) = (self.state.new.as_ref(), self.state.stable.as_ref());
        let look = |name: &str| -> Result<Option<String>, std::convert::Infallible> {
            Ok(match name {
                "new.hash" => new.map(|version| version.hash.clone()),
                "new.revision" => new.map(|version| version.revision.clone()),
                "stable.hash" => stable.map(|version| version.hash.clone()),
                "stable.revision" => stable.map(|version| version.revision.clone()),
                _ => None,
            })
        };
        let mut metric = metric.clone();
        for text in metric.texts() {
            let Ok(filled) = fill(text, &look);
            *text = filled;
        }
        metric
    }
}
