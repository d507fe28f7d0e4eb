use super::*;

fn family<'a>(object: &'a Value, children: &[&'a Value]) -> Family<'a> {
    Family { children: children.iter().map(|child| Family::alone(child)).collect(), ..Family::alone(object) }
}

#[test]
fn a_workloads_reason_comes_from_its_pods() {
    let deployment = with(
        object(
            "apps/v1",
            "Deployment",
            json!({"replicas": 2}),
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 0}),
        ),
        "/metadata",
        "annotations",
        json!({"deployment.kubernetes.io/revision": "3"}),
    );
    let set = |name: &str, revision: &str| {
        let set = object(
            "apps/v1",
            "ReplicaSet",
            json!({"replicas": 2}),
            json!({"observedGeneration": 2, "replicas": 2}),
        );
        let set =
            with(set, "/metadata", "annotations", json!({"deployment.kubernetes.io/revision": revision}));
        with(set, "/metadata", "name", json!(name))
    };
    let (new, old) = (set("web-2", "3"), set("web-1", "2"));
    let named = |pod: Value, name: &str| with(pod, "/metadata", "name", json!(name));
    let pull = named(pod(container(waiting("ErrImagePull", "x: not found"), json!({}), 0)), "web-2-b");
    let slow = named(pod(container(waiting("ContainerCreating", ""), json!({}), 0)), "web-2-a");
    let crash = named(pod(container(waiting("CrashLoopBackOff", ""), json!({}), 3)), "web-1-a");
    let whole = Family {
        children: vec![family(&old, &[&crash]), family(&new, &[&slow, &pull])],
        ..Family::alone(&deployment)
    };
    assert_eq!(
        told(&family_health(&whole, &health)),
        "Degraded ErrImagePull: 0 of 2 replicas are available: Pod web-2-b: container web cannot get its image reg.example/web:2: not found"
    );
    let fine = object("apps/v1", "Deployment", json!({"replicas": 0}), json!({"observedGeneration": 2}));
    let whole = Family { children: vec![family(&old, &[&crash])], ..Family::alone(&fine) };
    assert_eq!(family_health(&whole, &health).health, Health::Healthy, "what is healthy needs no reason");
}

#[test]
fn what_only_events_tell() {
    let event = |reason: &str, message: &str, time: &str| json!({"kind": "Event", "reason": reason, "message": message, "lastTimestamp": time});
    let probing = with(
        pod(container(json!({"running": {}}), json!({}), 0)),
        "/spec/containers/0",
        "readinessProbe",
        json!({}),
    );
    let mount = pod(container(waiting("ContainerCreating", ""), json!({}), 0));
    let crash = pod(container(waiting("CrashLoopBackOff", ""), json!({"terminated": {"exitCode": 2}}), 3));
    let claim = object(
        "v1",
        "PersistentVolumeClaim",
        json!({"storageClassName": "slow"}),
        json!({"phase": "Pending"}),
    );
    let set = object("apps/v1", "StatefulSet", json!({"replicas": 2}), json!({"observedGeneration": 2}));
    let cases = [
        (
            &probing,
            vec![
                event("Unhealthy", "Readiness probe failed: connection refused", "1"),
                event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", "2"),
            ],
            None,
            "Progressing ReadinessProbe: container web runs, but its readiness probe does not pass: Readiness probe failed: HTTP probe failed with statuscode: 503",
        ),
        (
            &mount,
            vec![event(
                "FailedMount",
                "MountVolume.SetUp failed for volume \"c\" : configmap \"c\" not found",
                "1",
            )],
            None,
            "Progressing FailedMount: MountVolume.SetUp failed for volume \"c\" : configmap \"c\" not found",
        ),
        (
            &crash,
            vec![],
            Some("panic: no database"),
            "Degraded CrashLoopBackOff: container web crashes again and again (3 restarts): exit code 2; its last line: panic: no database",
        ),
        (
            &claim,
            vec![event("WaitForFirstConsumer", "waiting for first consumer", "1")],
            None,
            "Progressing WaitForFirstConsumer: its storage class makes a volume once a Pod uses it, and none does yet",
        ),
        (
            &claim,
            vec![event("ProvisioningFailed", "storageclass.storage.k8s.io \"slow\" not found", "1")],
            None,
            "Progressing ProvisioningFailed: it has no volume of  yet (storage class slow): storageclass.storage.k8s.io \"slow\" not found",
        ),
        (
            &set,
            vec![
                event("SuccessfulCreate", "x", "1"),
                event(
                    "FailedCreate",
                    "create Pod web-0 in StatefulSet web failed error: pods \"web-0\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
                    "2",
                ),
            ],
            None,
            "Degraded QuotaExceeded: 0 of 2 replicas are ready: quota q is used up: requested: pods=1, used: pods=0, limited: pods=0",
        ),
    ];
    for (object, events, last_words, expected) in &cases {
        let family =
            Family { events: events.iter().collect(), last_words: *last_words, ..Family::alone(object) };
        assert_eq!(told(&family_health(&family, &health)), *expected);
    }
}
