//! Waiting for health. In: what was applied. Out: all of it is healthy, or
//! what is not after the time allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gitops_cluster::{ClusterError, Discovery};
use gitops_core::health::{Health, HealthReport};
use gitops_core::object::{Gvk, ObjectKey};
use gitops_core::plan::Action;
use serde_json::Value;

use super::{Outcome, Report, Result, Run};
use crate::error::EngineError;
use crate::kin::healths;
use crate::rules::Rules;

/// How often the API server is asked.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// How a wait ended.
pub(super) enum Waited {
    Healthy,
    TimedOut(Vec<(ObjectKey, HealthReport)>),
    Stopped,
    /// The cluster can no longer be asked.
    Broken(ClusterError),
}

pub(super) fn generation(object: &Value) -> i64 {
    object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0)
}

/// Waits for everything, as `--wait` asks.
pub(super) async fn at_the_end(run: &Run<'_>, report: &mut Report) -> std::result::Result<(), EngineError> {
    let discovery = match run.cluster.discovery().await {
        Ok(discovery) => discovery,
        Err(error) => {
            report.broken = Some(error);
            return Ok(());
        }
    };
    let mut all: Vec<&mut Result> = report.results.iter_mut().collect();
    match until_healthy(run, &discovery, &mut all, &[Health::Healthy]).await? {
        Waited::Healthy => {}
        Waited::TimedOut(_) => report.timed_out = true,
        Waited::Broken(error) => report.broken = Some(error),
        Waited::Stopped => {
            report.interrupted = run.stop.interrupted.load(std::sync::atomic::Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Asks until each of these is in one of the states `enough`.
pub(super) async fn until_healthy(
    run: &Run<'_>,
    discovery: &Discovery,
    results: &mut [&mut Result],
    enough: &[Health],
) -> std::result::Result<Waited, EngineError> {
    let (start, rules) = (Instant::now(), Rules::of(run.loaded)?);
    let counts = |result: &Result| {
        result.action != Action::Prune
            && result.hook.is_none()
            && !matches!(result.outcome, Outcome::Skipped(_))
    };
    let mut wanted: BTreeMap<Gvk, BTreeSet<String>> = BTreeMap::new();
    for result in results.iter().filter(|result| counts(result)) {
        wanted.entry(result.gvk.clone()).or_default().insert(result.key.namespace.clone());
    }
    let mut waiting = Vec::new();
    loop {
        let live = match run.cluster.list(discovery, &wanted).await {
            Ok(live) => live,
            Err(error) if error.is_passing() && start.elapsed() < run.options.timeout => {
                if run.stop.reason().is_some() {
                    return Ok(Waited::Stopped);
                }
                run.progress.waiting(&waiting);
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
            Err(error) => return Ok(Waited::Broken(error)),
        };
        waiting.clear();
        for result in results.iter_mut().filter(|result| counts(result)) {
            let state = match live.get(&result.key) {
                None if result.action == Action::Unchanged && result.is_expiring => HealthReport::expired(),
                None => HealthReport::missing(),
                // The API server's cache is a moment behind what was written.
                Some(object) if generation(object) < result.generation => HealthReport {
                    health: Health::Progressing,
                    reason: "NotSeen".into(),
                    message: "the change is not seen yet".into(),
                },
                Some(object) => rules.health(object),
            };
            if !enough.contains(&state.health) {
                waiting.push((result.key.clone(), state.clone()));
            }
            result.health = Some(state);
        }
        if waiting.is_empty() {
            return Ok(Waited::Healthy);
        }
        if start.elapsed() > run.options.timeout {
            // Why not, as far as what it owns can tell.
            let objects = waiting.iter().map(|(key, _)| (key, live.get(key)));
            let judged = healths(run.cluster, discovery, &rules, objects).await;
            for result in results.iter_mut() {
                if let Some(why) = judged.get(&result.key).filter(|why| why.health != Health::Healthy) {
                    result.health = Some(why.clone());
                }
            }
            return Ok(Waited::TimedOut(waiting));
        }
        if run.stop.reason().is_some() {
            return Ok(Waited::Stopped);
        }
        run.progress.waiting(&waiting);
        tokio::time::sleep(INTERVAL).await;
    }
}
