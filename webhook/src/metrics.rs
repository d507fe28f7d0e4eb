//! What Prometheus reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use gitops_core::desired::AppRef;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct VerdictLabels {
    pub result: String,
    pub rule: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ApplicationLabels {
    pub application: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResultLabels {
    pub result: String,
}

/// All metrics of the program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub verdicts: Family<VerdictLabels, Counter<u64, AtomicU64>>,
    pub admission: Histogram,
    pub objects: Family<ApplicationLabels, Gauge<i64, AtomicI64>>,
    age: Family<ApplicationLabels, Gauge<i64, AtomicI64>>,
    /// When Git was last heard of.
    heard: Mutex<HashMap<String, Instant>>,
    pub refreshes: Family<ResultLabels, Counter<u64, AtomicU64>>,
    pub expiry: Gauge<i64, AtomicI64>,
    pub overrides_used: Counter<u64, AtomicU64>,
    pub guard_intact: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gitops");
        gitops_engine::counts::register(&mut registry);
        let (verdicts, objects, age, refreshes) =
            (Family::default(), Family::default(), Family::default(), Family::default());
        let admission = Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        let expiry = Gauge::default();
        registry.register("verdicts", "Judged writes", verdicts.clone());
        registry.register("admission_duration_seconds", "Time to answer a review", admission.clone());
        registry.register("index_objects", "Declared objects", objects.clone());
        registry.register("index_age_seconds", "Time since Git was last asked", age.clone());
        registry.register("refreshes", "Times Git was asked before a denial", refreshes.clone());
        registry.register("certificate_expiry_seconds", "Time until the certificate expires", expiry.clone());
        let overrides_used = Counter::default();
        let guard_intact = Gauge::default();
        registry.register("overrides_used", "Writes that an Override let pass", overrides_used.clone());
        registry.register(
            "guard_intact",
            "1 while the policy gitops-guard and its binding are as installed; 0 where they are not watched",
            guard_intact.clone(),
        );
        Self {
            registry,
            verdicts,
            admission,
            objects,
            age,
            heard: Mutex::default(),
            refreshes,
            expiry,
            overrides_used,
            guard_intact,
        }
    }
}

impl Metrics {
    /// Git has answered about an Application.
    pub fn heard(&self, application: &AppRef) {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(application.to_string(), Instant::now());
    }

    /// An Application is gone.
    pub fn forget(&self, application: &AppRef) {
        let application = application.to_string();
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&application);
        self.objects.remove(&ApplicationLabels { application: application.clone() });
        self.age.remove(&ApplicationLabels { application });
    }

    /// In Prometheus' text format.
    pub fn text(&self) -> String {
        for (application, heard) in self.heard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let age = i64::try_from(heard.elapsed().as_secs()).unwrap_or(i64::MAX);
            self.age.get_or_create(&ApplicationLabels { application: application.clone() }).set(age);
        }
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
