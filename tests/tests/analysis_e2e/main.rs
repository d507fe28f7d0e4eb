//! A new version is measured by what is really there: a Prometheus, documents
//! over HTTP, Jobs and Pods of a cluster.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cluster;
mod documented;
mod documents;
mod guarded;
mod queries;

use gitops_api::rollout::RolloutSpec;
use gitops_cluster::{Cluster, ConnectOptions};
use gitops_core::rollout::analysis::Outcome;
use gitops_core::rollout::program::{Move, program};
use gitops_core::rollout::spec::Spec;
use gitops_core::rollout::state::{Phase, State, Version};
use gitops_engine::analysis::{Analyser, Measurement, Metrics, Subject, Templates, read_template};
use serde_json::{Value, json};

/// A Rollout at its analysis, which uses one template `t`.
struct Case {
    spec: Spec,
    state: State,
    metrics: Metrics,
    subject: Subject,
}

impl Case {
    fn new(metric: Value) -> Self {
        Self::given(json!([metric]), json!([]), json!([]))
    }

    fn given(metrics: Value, declared: Value, given: Value) -> Self {
        let rollout: RolloutSpec = serde_json::from_value(json!({
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "strategy": {"canary": {"steps": [{"setWeight": 50}, {"analysis": {"templates": [{"name": "t", "args": given}]}}]}}}))
        .unwrap();
        let template = read_template("t", &json!({"spec": {"args": declared, "metrics": metrics}}));
        let metrics = Metrics::new(&rollout, "shop", "web", &Templates::from([("t".to_owned(), template)]));
        let spec = rollout.to_core("shop", &|reference| metrics.rules(reference)).unwrap();
        let moves = program(&spec).moves;
        let at = moves.iter().position(|planned| matches!(planned.act, Move::Analyse(_))).unwrap();
        let version =
            |revision: &str, hash: &str| Some(Version { revision: revision.into(), hash: hash.into() });
        let state = State {
            phase: Phase::Progressing,
            stable: version("aaaa", "old"),
            new: version("bbbb", "new"),
            at,
            started: now(),
            entered: now(),
            ..State::default()
        };
        let subject = Subject {
            namespace: "shop".into(),
            rollout: "web".into(),
            uid: "11111111-0000-0000-0000-000000000000".into(),
            pods: "app=web,version=new".into(),
        };
        Self { spec, state, metrics, subject }
    }

    fn at(&self, cluster: ConnectOptions, now: i64) -> Vec<Measurement> {
        run(async {
            let analyser = Analyser::new(Cluster::connect(&cluster).await.unwrap()).unwrap();
            analyser.measure(&self.spec, &self.state, &self.metrics, &self.subject, now).await
        })
    }

    /// The outcome of the only measurement, and its value.
    fn measured(&self) -> (Outcome, String) {
        let taken = self.at(nowhere(), now());
        let [one] = taken.as_slice() else { panic!("{taken:?}") };
        assert_eq!((one.measured.version.as_str(), one.measured.rule.starts_with("t")), ("new", true));
        (one.measured.outcome, one.value.clone())
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A cluster that nothing here asks.
fn nowhere() -> ConnectOptions {
    ConnectOptions { server: Some("http://127.0.0.1:1".into()), ..ConnectOptions::default() }
}
