//! Hooks: made, waited for, and deleted as their policy says. In: a hook of
//! the plan. Out: how it ended.

use std::time::{Duration, Instant};

use gitops_cluster::{ApplyOptions, ClusterError, DeleteOptions, Discovery, Kind};
use gitops_core::desired::stamp;
use gitops_core::health::{Health, HealthReport};
use gitops_core::names::ANNOTATION_OWNER;
use gitops_core::object::ObjectKey;
use gitops_core::plan::{Action, DeletePolicy, HookState, HookStep, hook_state};
use serde_json::Value;

use super::worker::Worker;
use super::{DryRun, Outcome, Result, Run, waiting};

/// How long an object that is to be made anew may take to go.
pub(super) const GONE: Duration = Duration::from_secs(60);

/// A hook that was made.
pub(super) struct Started {
    key: ObjectKey,
    uid: Option<String>,
}

/// How a hook ended.
pub(super) enum End {
    Succeeded,
    Failed(String),
    TimedOut(String),
    Error(ClusterError),
    Stopped(&'static str),
}

/// Makes a hook; the one of the run before goes first where its policy says so.
pub(super) async fn start(
    worker: &Worker<'_>,
    hook: &HookStep,
    discovery: &Discovery,
    failure: Option<&str>,
) -> (Result, Option<Started>) {
    let mut result = Result {
        key: hook.key.clone(),
        gvk: hook.gvk.clone(),
        action: Action::Create,
        differences: Vec::new(),
        outcome: Outcome::Done,
        generation: 0,
        answer: None,
        is_expiring: false,
        health: None,
        hook: Some(hook.phase),
        note: String::new(),
        marked: false,
    };
    let run = worker.run;
    if let Some(reason) = run.stop.before_write().await.or(failure) {
        result.outcome = Outcome::Skipped(reason.to_owned());
        return (result, None);
    }
    if run.options.dry_run == DryRun::Client {
        return (result, None);
    }
    match make(run, hook, discovery).await {
        Ok(started) => {
            result.key = started.key.clone();
            (result, (run.options.dry_run == DryRun::None).then_some(started))
        }
        Err(error) if worker.is_unchecked(&hook.key, &hook.gvk, &error, discovery) => {
            result.outcome = Outcome::Skipped(
                "its namespace or kind is not there yet, so the server cannot check it".into(),
            );
            (result, None)
        }
        Err(error) => {
            result.outcome = Outcome::Failed(error);
            (result, None)
        }
    }
}

async fn make(
    run: &Run<'_>,
    hook: &HookStep,
    discovery: &Discovery,
) -> std::result::Result<Started, ClusterError> {
    let missing = || ClusterError::NotFound { what: hook.gvk.to_string() };
    let kind = discovery.kind(&hook.gvk).ok_or_else(missing)?;
    let object = run.survey.desired.objects.get(&hook.key).ok_or_else(missing)?;
    let dry_run = run.options.dry_run == DryRun::Server;
    let mut value = stamp(object, &run.loaded.application, &run.survey.desired.revision);
    let mut key = hook.key.clone();
    if let Some(base) = hook.key.name.strip_suffix('*') {
        key.name = run_name(base, &run.survey.desired.revision, hook);
        value["metadata"]["name"] = key.name.clone().into();
        // Git declares no object of this name: a mark would say otherwise.
        if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(ANNOTATION_OWNER);
        }
    } else if hook.delete.contains(&DeletePolicy::BeforeHookCreation) && !dry_run {
        gone(run, kind, &key).await?;
    }
    let options = ApplyOptions { dry_run, ..ApplyOptions::default() };
    let applied = run.cluster.apply(kind, &key, &value, &options).await?.object;
    Ok(Started { key, uid: uid(&applied) })
}

fn uid(object: &Value) -> Option<String> {
    object.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
}

/// As Argo CD names them: the commit, the phase and the time make a run's name.
fn run_name(base: &str, revision: &str, hook: &HookStep) -> String {
    let now = jiff::Timestamp::now().as_second();
    let phase = format!("{:?}", hook.phase).to_lowercase();
    format!("{base}{}-{phase}-{now}", revision.get(..7).unwrap_or(revision))
}

/// Deletes an object and waits until it is gone.
pub(super) async fn gone(
    run: &Run<'_>,
    kind: &Kind,
    key: &ObjectKey,
) -> std::result::Result<(), ClusterError> {
    let start = Instant::now();
    let mut told = None;
    while let Some(live) = run.cluster.get(kind, key).await? {
        let uid = uid(&live);
        if told != uid {
            let options = DeleteOptions { uid: uid.clone(), ..DeleteOptions::default() };
            run.cluster.delete(kind, key, &options).await?;
            told = uid;
            continue;
        }
        if start.elapsed() > GONE {
            return Err(ClusterError::Timeout { what: format!("waiting until {key} is gone") });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Waits for a hook's end, and deletes it if its policy says so.
pub(super) async fn end(run: &Run<'_>, hook: &HookStep, started: Started, discovery: &Discovery) -> End {
    let Some(kind) = discovery.kind(&hook.gvk) else { return End::Succeeded };
    let end = watch(run, kind, &started).await;
    let policy = match end {
        End::Succeeded => DeletePolicy::HookSucceeded,
        End::Failed(_) => DeletePolicy::HookFailed,
        End::TimedOut(_) | End::Error(_) | End::Stopped(_) => return end,
    };
    if hook.delete.contains(&policy) {
        let options = DeleteOptions { uid: started.uid, ..DeleteOptions::default() };
        if let Err(error) = run.cluster.delete(kind, &started.key, &options).await {
            return End::Error(error);
        }
    }
    end
}

async fn watch(run: &Run<'_>, kind: &Kind, started: &Started) -> End {
    let start = Instant::now();
    loop {
        let message = match run.cluster.get(kind, &started.key).await {
            Ok(None) => {
                return End::Failed("it is gone before its end was seen; hook-delete-policy: HookSucceeded takes it away in time".into());
            }
            Ok(Some(live)) => match hook_state(&live) {
                HookState::Succeeded => return End::Succeeded,
                HookState::Failed(why) => return End::Failed(why),
                HookState::Running(message) => message,
            },
            Err(error) if error.is_passing() => error.to_string(),
            Err(error) => return End::Error(error),
        };
        if let Some(reason) = run.stop.reason() {
            return End::Stopped(reason);
        }
        if start.elapsed() > run.options.timeout {
            return End::TimedOut(format!("it has not ended in time: {message}"));
        }
        let state = HealthReport { health: Health::Progressing, reason: "Running".into(), message };
        run.progress.waiting(&[(started.key.clone(), state)]);
        tokio::time::sleep(waiting::INTERVAL / 2).await;
    }
}
