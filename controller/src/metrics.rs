//! What Prometheus reads.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use gitops_core::rollout::state::Phase;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PhaseLabels {
    phase: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    action: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

type Counters<L> = Family<L, Counter<u64, AtomicU64>>;

/// All metrics of the program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    phases: Family<PhaseLabels, Histogram>,
    drift: Counters<ActionLabels>,
    looks: Counters<ResultLabels>,
    syncs: Counters<ResultLabels>,
    pushes: Counters<ResultLabels>,
    queue: Gauge<i64, AtomicI64>,
    rollouts: Family<PhaseLabels, Gauge<i64, AtomicI64>>,
    clusters: Family<ClusterLabels, Gauge<i64, AtomicI64>>,
}

const OK: &str = "ok";
const FAILED: &str = "failed";

/// All phases of a Rollout.
const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Gated,
    Phase::Progressing,
    Phase::Paused,
    Phase::Promoting,
    Phase::Aborting,
    Phase::Aborted,
];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gitops");
        gitops_engine::counts::register(&mut registry);
        let phases: Family<PhaseLabels, Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 18)));
        let (drift, looks, syncs) = (Family::default(), Family::default(), Family::default());
        let pushes: Counters<ResultLabels> = Family::default();
        let queue = Gauge::default();
        let rollouts = Family::<PhaseLabels, Gauge<i64, AtomicI64>>::default();
        registry.register("sync_duration_seconds", "Time that a phase of a sync takes", phases.clone());
        registry.register("drift", "Drift that arose, and drift that was healed", drift.clone());
        registry.register("git_looks", "Times that repositories were asked for news", looks.clone());
        registry.register("syncs", "Syncs that wrote or tried to", syncs.clone());
        registry.register("push_events", "Push events, by what became of them", pushes.clone());
        registry.register("queue_depth", "Applications that are due and wait", queue.clone());
        registry.register("rollout_phase", "Rollouts, by their phase", rollouts.clone());
        let clusters = Family::default();
        registry.register("cluster_up", "Whether a registered cluster answers", clusters.clone());
        let metrics = Self { registry, phases, drift, looks, syncs, pushes, queue, rollouts, clusters };
        metrics.begin();
        metrics
    }
}

fn labels(phase: Phase) -> PhaseLabels {
    PhaseLabels { phase: format!("{phase:?}") }
}

impl Metrics {
    /// What has not happened yet is zero, and not unknown: rates are told from the
    /// first time on.
    fn begin(&self) {
        for result in [OK, FAILED] {
            self.looks.get_or_create(&ResultLabels { result: result.into() }).inc_by(0);
            self.syncs.get_or_create(&ResultLabels { result: result.into() }).inc_by(0);
        }
        for action in ["found", "healed"] {
            self.drift.get_or_create(&ActionLabels { action: action.into() }).inc_by(0);
        }
    }

    /// A phase has ended: commit, render, survey, apply or health.
    pub fn phase(&self, phase: &str, took: Duration) {
        self.phases.get_or_create(&PhaseLabels { phase: phase.into() }).observe(took.as_secs_f64());
    }

    /// Drift was `found`, or `healed`.
    pub fn drift(&self, action: &str) {
        self.drift.get_or_create(&ActionLabels { action: action.into() }).inc();
    }

    /// A repository was asked.
    pub fn look(&self, is_ok: bool) {
        let result = if is_ok { OK } else { FAILED };
        self.looks.get_or_create(&ResultLabels { result: result.into() }).inc();
    }

    /// A sync has ended.
    pub fn sync(&self, is_ok: bool) {
        let result = if is_ok { OK } else { FAILED };
        self.syncs.get_or_create(&ResultLabels { result: result.into() }).inc();
    }

    /// A push event has come.
    pub fn push(&self, result: &str) {
        self.pushes.get_or_create(&ResultLabels { result: result.into() }).inc();
    }

    /// Whether a registered cluster answers.
    pub fn cluster(&self, name: &str, is_up: bool) {
        self.clusters.get_or_create(&ClusterLabels { cluster: name.into() }).set(i64::from(is_up));
    }

    /// A cluster is no longer registered.
    pub fn no_cluster(&self, name: &str) {
        self.clusters.remove(&ClusterLabels { cluster: name.into() });
    }

    /// In Prometheus' text format; `rollouts` are their phases.
    pub fn text(&self, depth: usize, rollouts: &[Phase]) -> String {
        for phase in PHASES {
            let count = rollouts.iter().filter(|known| **known == phase).count();
            self.rollouts.get_or_create(&labels(phase)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.queue.set(i64::try_from(depth).unwrap_or(i64::MAX));
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_happened_yet_is_zero() {
        let text = Metrics::default().text(0, &[]);
        for series in [
            "gitops_syncs_total{result=\"ok\"} 0\n",
            "gitops_syncs_total{result=\"failed\"} 0\n",
            "gitops_git_looks_total{result=\"ok\"} 0\n",
            "gitops_drift_total{action=\"found\"} 0\n",
        ] {
            assert!(text.contains(series), "{series}: {text}");
        }
    }
}
