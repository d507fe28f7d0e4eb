use super::*;

#[test]
fn deployments() {
    let of = |status: Value| object("apps/v1", "Deployment", json!({"replicas": 2}), status);
    let quota = condition(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        "pods \"web-6d4cf56db6-\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2",
    );
    check(&[
        (of(json!({})), "Progressing NotObserved: its controller has not seen it yet"),
        (
            of(json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2})),
            "Progressing NotObserved: its controller has not seen the change yet",
        ),
        (
            of(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2})),
            "Healthy: 2 of 2 replicas are available",
        ),
        (
            of(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2})),
            "Progressing RollingOut: 1 of 2 replicas are of the newest version",
        ),
        (
            of(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2})),
            "Progressing RollingOut: 1 old replica still to go",
        ),
        (
            of(json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1})),
            "Progressing Unavailable: 1 of 2 replicas are available",
        ),
        (
            of(
                json!({"observedGeneration": 2, "conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", "ReplicaSet \"web-6d4cf56db6\" has timed out progressing.")]}),
            ),
            "Degraded ProgressDeadlineExceeded: ReplicaSet \"web-6d4cf56db6\" has timed out progressing",
        ),
        (
            of(json!({"observedGeneration": 2, "conditions": [quota]})),
            "Degraded QuotaExceeded: quota compute is used up: requested: pods=1, used: pods=2, limited: pods=2",
        ),
        (
            object("apps/v1", "Deployment", json!({"paused": true}), json!({})),
            "Suspended Paused: it is paused: a new template is not rolled out",
        ),
        (
            object("apps/v1", "Deployment", json!({"replicas": 0}), json!({"observedGeneration": 2})),
            "Healthy: 0 of 0 replicas are available",
        ),
    ]);
}

#[test]
fn other_workloads() {
    let set = |spec: Value, status: Value| object("apps/v1", "StatefulSet", spec, status);
    let daemons = |status: Value| object("apps/v1", "DaemonSet", json!({}), status);
    let replicas = |status: Value| object("apps/v1", "ReplicaSet", json!({"replicas": 2}), status);
    let partition = json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    check(&[
        (
            set(json!({"replicas": 3}), json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 1})),
            "Progressing NotReady: 1 of 3 replicas are ready",
        ),
        (
            set(json!({"replicas": 1}), json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2})),
            "Progressing ScalingDown: 1 replica still to go",
        ),
        (
            set(
                json!({"replicas": 3}),
                json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            ),
            "Progressing RollingOut: 1 of 3 replicas are of the newest version",
        ),
        (
            set(
                partition.clone(),
                json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            ),
            "Healthy: 3 of 3 replicas are ready, 1 of them of the newest version (partition 2)",
        ),
        (
            set(
                json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
                json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            ),
            "Healthy: 3 of 3 replicas are ready",
        ),
        (
            set(
                json!({"replicas": 1, "minReadySeconds": 9}),
                json!({"observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "availableReplicas": 0}),
            ),
            "Progressing Unavailable: 0 of 1 replicas are available",
        ),
        (
            daemons(
                json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 2, "numberAvailable": 3}),
            ),
            "Progressing RollingOut: 2 of 3 Pods are of the newest version",
        ),
        (
            daemons(
                json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2}),
            ),
            "Progressing Unavailable: 2 of 3 Pods are available",
        ),
        (
            daemons(json!({"observedGeneration": 2, "desiredNumberScheduled": 0})),
            "Healthy: no node is meant to run it",
        ),
        (
            replicas(json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 1})),
            "Progressing NotReady: 1 of 2 replicas are ready",
        ),
        (
            replicas(json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2})),
            "Healthy: 2 of 2 replicas are ready",
        ),
        (
            replicas(
                json!({"observedGeneration": 2, "conditions": [condition("ReplicaFailure", "True", "FailedCreate", "pods \"web-x\" is forbidden: error looking up service account shop/web: serviceaccount \"web\" not found")]}),
            ),
            "Degraded FailedCreate: no Pod can be made: pods \"web-x\" is forbidden: error looking up service account shop/web: serviceaccount \"web\" not found",
        ),
    ]);
}

#[test]
fn jobs() {
    let job = |status: Value| object("batch/v1", "Job", json!({"completions": 3}), status);
    let cron = |status: Value| object("batch/v1", "CronJob", json!({"schedule": "* * * * *"}), status);
    let late =
        json!({"lastScheduleTime": "2026-01-02T00:00:00Z", "lastSuccessfulTime": "2026-01-01T00:00:09Z"});
    check(&[
        (job(json!({})), "Progressing NotObserved: its controller has not seen it yet"),
        (
            job(json!({"startTime": "2026-01-01T00:00:00Z", "active": 1, "succeeded": 1, "failed": 1})),
            "Progressing Running: 1 of 3 Pods are done, 1 active, 1 failed",
        ),
        (
            job(
                json!({"conditions": [condition("Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")]}),
            ),
            "Healthy: it is complete",
        ),
        (
            job(
                json!({"failed": 7, "conditions": [condition("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")]}),
            ),
            "Degraded BackoffLimitExceeded: it has failed: Job has reached the specified backoff limit (7 Pods failed)",
        ),
        (
            job(json!({"conditions": [condition("Suspended", "True", "JobSuspended", "Job suspended")]})),
            "Suspended Suspended: it is suspended (spec.suspend)",
        ),
        (
            object("batch/v1", "CronJob", json!({"suspend": true}), json!({})),
            "Suspended Suspended: it is suspended (spec.suspend)",
        ),
        (cron(json!({})), "Healthy: it has not been due yet"),
        (
            cron(late.clone()),
            "Degraded LastRunFailed: its run of 2026-01-02T00:00:00Z did not succeed; the last that did ended at 2026-01-01T00:00:09Z",
        ),
        (cron(with(late, "", "active", json!([{"name": "web-1"}]))), "Healthy: it is running now"),
        (
            cron(
                json!({"lastScheduleTime": "2026-01-01T00:00:00Z", "lastSuccessfulTime": "2026-01-01T00:00:09Z"}),
            ),
            "Healthy: its run of 2026-01-01T00:00:00Z succeeded",
        ),
    ]);
}
