use super::*;

#[test]
fn pods() {
    let unscheduled = |reason: &str, message: &str| {
        pod(json!({"phase": "Pending", "conditions": [condition("PodScheduled", "False", reason, message)]}))
    };
    let crash = |ended: Value| {
        pod(container(
            waiting("CrashLoopBackOff", "back-off 40s restarting failed container=web"),
            json!({"terminated": ended}),
            4,
        ))
    };
    let running = container(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}), json!({}), 0);
    let probed = |probe: &str| {
        with(pod(running.clone()), "/spec/containers/0", probe, json!({"httpGet": {"port": 80}}))
    };
    let starting = with(probed("startupProbe"), "/status/containerStatuses/0", "started", json!(false));
    let gated = with(
        unscheduled("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"),
        "/spec",
        "schedulingGates",
        json!([{"name": "example.com/quota"}]),
    );
    let notfound = "Back-off pulling image \"reg.example/web:2\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \"reg.example/web:2\": failed to resolve reference \"reg.example/web:2\": reg.example/web:2: not found";
    check(&[
        (
            unscheduled(
                "Unschedulable",
                "0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            ),
            "Progressing Unschedulable: no node takes it (of 3): 1 node(s) had untolerated taint {a: b}, 2 Insufficient cpu",
        ),
        (
            unscheduled(
                "Unschedulable",
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            ),
            "Progressing Unschedulable: no node takes it (of 1): pod has unbound immediate PersistentVolumeClaims. not found",
        ),
        (
            unscheduled("Unschedulable", "no nodes available to schedule pods"),
            "Progressing Unschedulable: no node takes it: no nodes available to schedule pods",
        ),
        (gated, "Progressing SchedulingGated: it waits for its scheduling gates: example.com/quota"),
        (pod(json!({"phase": "Pending"})), "Progressing Pending: its containers are being made on n1"),
        (
            pod(container(waiting("ContainerCreating", ""), json!({}), 0)),
            "Progressing ContainerCreating: container web is being made",
        ),
        (
            pod(container(waiting("ImagePullBackOff", notfound), json!({}), 0)),
            "Degraded ImagePullBackOff: container web cannot get its image reg.example/web:2: not found",
        ),
        (
            pod(container(
                waiting("ImagePullBackOff", "Back-off pulling image \"reg.example/web:2\""),
                json!({}),
                0,
            )),
            "Degraded ImagePullBackOff: container web cannot get its image reg.example/web:2",
        ),
        (
            pod(container(
                waiting(
                    "ErrImageNeverPull",
                    "Container image \"reg.example/web:2\" is not present with pull policy of Never",
                ),
                json!({}),
                0,
            )),
            "Degraded ErrImageNeverPull: container web cannot get its image reg.example/web:2: Container image \"reg.example/web:2\" is not present with pull policy of Never",
        ),
        (
            pod(container(
                waiting("CreateContainerConfigError", "configmap \"web\" not found"),
                json!({}),
                0,
            )),
            "Degraded CreateContainerConfigError: container web cannot be started: configmap \"web\" not found",
        ),
        (
            crash(json!({"exitCode": 1, "reason": "Error"})),
            "Degraded CrashLoopBackOff: container web crashes again and again (4 restarts): exit code 1",
        ),
        (
            crash(json!({"exitCode": 1, "reason": "Error", "message": "starting\npanic: no database\n"})),
            "Degraded CrashLoopBackOff: container web crashes again and again (4 restarts): exit code 1: panic: no database",
        ),
        (
            crash(json!({"exitCode": 137, "reason": "OOMKilled"})),
            "Degraded CrashLoopBackOff: container web crashes again and again (4 restarts): it ran out of memory (limit 64Mi)",
        ),
        (pod(running.clone()), "Progressing NotReady: container web runs, but is not ready yet"),
        (
            probed("readinessProbe"),
            "Progressing ReadinessProbe: container web runs, but its readiness probe does not pass",
        ),
        (starting, "Progressing StartupProbe: container web runs, but its startup probe has not passed yet"),
        (
            pod(json!({"phase": "Running", "conditions": [condition("Ready", "True", "", "")]})),
            "Healthy: it is ready",
        ),
        (
            with(
                pod(json!({"phase": "Running"})),
                "/spec",
                "readinessGates",
                json!([{"conditionType": "lb/ready"}]),
            ),
            "Progressing ReadinessGate: its readiness gate lb/ready is not met",
        ),
        (pod(json!({"phase": "Succeeded"})), "Healthy: it has done its work"),
        (
            pod(
                json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "}),
            ),
            "Degraded Evicted: The node was low on resource: memory",
        ),
        (
            pod(with(
                container(json!({"terminated": {"exitCode": 3, "reason": "Error"}}), json!({}), 0),
                "",
                "phase",
                json!("Failed"),
            )),
            "Degraded Failed: container web failed: exit code 3",
        ),
        (pod(json!({"phase": "Unknown"})), "Unknown NodeLost: its node does not answer"),
        (
            with(
                pod(json!({"phase": "Running"})),
                "/metadata",
                "deletionTimestamp",
                json!("2026-01-01T00:00:00Z"),
            ),
            "Progressing Terminating: it is being deleted (since 2026-01-01T00:00:00Z)",
        ),
    ]);
}

#[test]
fn what_runs_before_a_pods_containers() {
    let init = |state: Value| {
        let status = json!({"phase": "Pending", "initContainerStatuses": [{"name": "migrate", "ready": false, "restartCount": 1, "state": state}],
            "containerStatuses": [{"name": "web", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]});
        with(pod(status), "/spec", "initContainers", json!([{"name": "migrate", "image": "m:1"}]))
    };
    check(&[
        (init(json!({"running": {}})), "Progressing Initializing: container migrate runs before the others"),
        (
            init(waiting("CrashLoopBackOff", "back-off")),
            "Degraded CrashLoopBackOff: container migrate crashes again and again (1 restart)",
        ),
    ]);
}
