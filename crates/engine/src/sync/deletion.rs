//! Deleting an Application's objects. In: a survey, and what of it is to go.
//! Out: a report. The hooks before it have to end well, or nothing goes, and are
//! not run again when a deletion goes on; those after it are run when everything
//! is gone.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_cluster::{Cluster, ClusterError, DeleteOptions, Discovery};
use gitops_core::plan::{Action, Phase, Propagation, Step, order_of};
use serde_json::Value;

use super::waves::{Course, hook_batches};
use super::{DryRun, Outcome, Progress, Report, Result, Run, RunHooks, Stop, SyncOptions};
use crate::desired::Environment;
use crate::error::EngineError;
use crate::load::Loaded;
use crate::memory::{Memory, Places};
use crate::survey::Survey;

/// How often it is looked whether something is gone.
const INTERVAL: Duration = Duration::from_millis(300);

/// Deletes `going`, the last wave and kind first. `stop` ends it between
/// objects; hooks are run unless the options say never.
///
/// # Errors
/// When the API server cannot be asked at all; what is refused for one object
/// is in the report.
#[tracing::instrument(name = "delete", skip_all, fields(application = %loaded.application, objects = going.len()))]
#[allow(clippy::too_many_arguments, reason = "those of a sync, and what goes")]
pub async fn delete(
    cluster: &Cluster,
    loaded: &Loaded,
    environment: &Environment,
    survey: &Survey,
    (going, propagation): (&[&Step], Propagation),
    options: &SyncOptions,
    progress: &dyn Progress,
    stop: &Stop,
) -> std::result::Result<Report, EngineError> {
    let memory = Memory::at(cluster, environment, &loaded.application);
    let writes = options.dry_run == DryRun::None;
    let begun = memory.read().deleting;
    let hooks = options.hooks != RunHooks::Never;
    let run = Run { cluster, loaded, survey, options, progress, stop };
    let mut course = Course::new(&run).await?;
    for batch in hook_batches(&run, Phase::PreDelete, hooks && !begun && !going.is_empty()) {
        course.batch(&batch).await;
    }
    if writes && course.failure.is_none() && !going.is_empty() {
        // Before the first one goes, so that the last hooks are run even when
        // this is interrupted.
        memory.write(&Places { deleting: true, ..memory.read() });
    }
    for steps in waves(going) {
        course.deletes(&steps, propagation).await;
    }
    let after = hook_batches(&run, Phase::PostDelete, hooks && (begun || !going.is_empty()));
    if !after.is_empty() && writes {
        course.until_gone(going).await;
    }
    for batch in after {
        course.batch(&batch).await;
    }
    if writes && course.failure.is_none() && stop.reason().is_none() {
        // What has run before is to run again with the next sync.
        memory.advance(|places| {
            places.hooks.clear();
            places.run.clear();
            places.deleting = false;
        });
    }
    Ok(Report {
        results: course.results,
        timed_out: course.timed_out,
        broken: course.broken,
        interrupted: stop.interrupted.load(Ordering::Relaxed),
        lost: stop.hold.is_lost(),
    })
}

/// What may go side by side, the last made first.
fn waves<'a>(going: &[&'a Step]) -> Vec<Vec<&'a Step>> {
    let place = |step: &Step| std::cmp::Reverse((step.wave, order_of(&step.key.kind)));
    let mut sorted = going.to_vec();
    sorted.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| b.key.cmp(&a.key)));
    sorted.chunk_by(|a, b| place(a) == place(b)).map(<[&Step]>::to_vec).collect()
}

impl Course<'_> {
    async fn deletes(&mut self, steps: &[&Step], propagation: Propagation) {
        let (run, discovery, failure) = (self.run, &self.discovery, self.failure.as_deref());
        let gone = futures::stream::iter(steps.iter().map(|step| async move {
            let result = result(step, take_away(run, discovery, step, propagation, failure).await);
            run.progress.object(&result);
            result
        }));
        let mut gone: Vec<Result> = gone.buffer_unordered(run.options.parallel.max(1)).collect().await;
        gone.sort_by(|a, b| b.key.cmp(&a.key));
        self.results.extend(gone);
    }

    /// Waits until what was deleted is gone; what stays is why nothing more is
    /// done.
    async fn until_gone(&mut self, going: &[&Step]) {
        if self.failure.is_some() || self.results.iter().any(|result| result.outcome.is_failure()) {
            self.failure.get_or_insert_with(|| "an object before it failed".into());
            return;
        }
        let (start, cluster) = (Instant::now(), self.run.cluster);
        for step in going {
            let Some(kind) = self.discovery.kind(&step.gvk) else { continue };
            let before = uid(self.run.survey, step);
            loop {
                match cluster.get(kind, &step.key).await {
                    Ok(Some(live)) if uid_of(&live) == before => {}
                    // One of another uid was made since.
                    Ok(_) => break,
                    Err(error) if error.is_passing() => {}
                    Err(error) => {
                        self.failure = Some(format!("whether {} is gone is not known", step.key));
                        self.broken = Some(error);
                        return;
                    }
                }
                self.run.progress.waiting(&[]);
                if self.run.stop.reason().is_some() {
                    return;
                }
                if start.elapsed() > self.run.options.timeout {
                    self.timed_out = true;
                    self.failure = Some(format!("{} is not gone yet", step.key));
                    return;
                }
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}

fn uid(survey: &Survey, step: &Step) -> Option<String> {
    uid_of(survey.live.get(&step.key)?)
}

fn uid_of(live: &Value) -> Option<String> {
    live.pointer("/metadata/uid")?.as_str().map(str::to_owned)
}

async fn take_away(
    run: &Run<'_>,
    discovery: &Discovery,
    step: &Step,
    propagation: Propagation,
    failure: Option<&str>,
) -> Outcome {
    if let Some(reason) = run.stop.before_write().await.or(failure) {
        return Outcome::Skipped(reason.to_owned());
    }
    let Some(kind) = discovery.kind(&step.gvk) else { return Outcome::Done };
    if run.options.dry_run == DryRun::Client {
        return Outcome::Done;
    }
    let dry_run = run.options.dry_run == DryRun::Server;
    let options = DeleteOptions { uid: uid(run.survey, step), dry_run, propagation };
    match run.cluster.delete(kind, &step.key, &options).await {
        Ok(()) | Err(ClusterError::NotFound { .. }) => Outcome::Done,
        Err(error) => Outcome::Failed(error),
    }
}

fn result(step: &Step, outcome: Outcome) -> Result {
    Result {
        key: step.key.clone(),
        gvk: step.gvk.clone(),
        action: Action::Prune,
        differences: Vec::new(),
        outcome,
        generation: 0,
        answer: None,
        is_expiring: false,
        health: None,
        hook: None,
        note: String::new(),
        marked: false,
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::object::{Gvk, ObjectKey};
    use gitops_core::plan::{Options, Stage};

    use super::*;

    #[test]
    fn what_was_made_last_goes_first() {
        let step = |kind: &str, name: &str, wave: i32| Step {
            key: ObjectKey {
                group: String::new(),
                kind: kind.into(),
                namespace: "n".into(),
                name: name.into(),
            },
            gvk: Gvk::new("v1", kind),
            action: Action::Unchanged,
            differences: Vec::new(),
            stage: Stage::Apply,
            wave,
            group: 0,
            options: Options::default(),
        };
        let steps = [
            step("ConfigMap", "a", 0),
            step("ConfigMap", "b", 0),
            step("Deployment", "c", 0),
            step("ConfigMap", "d", 1),
        ];
        let order: Vec<Vec<String>> = waves(&steps.iter().collect::<Vec<_>>())
            .iter()
            .map(|wave| wave.iter().map(|step| step.key.name.clone()).collect())
            .collect();
        assert_eq!(order, [vec!["d"], vec!["c"], vec!["b", "a"]]);
    }
}
