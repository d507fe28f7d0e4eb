use super::*;

#[test]
fn storage() {
    let claim = |spec: Value, status: Value| object("v1", "PersistentVolumeClaim", spec, status);
    let fast = json!({"storageClassName": "fast", "volumeName": "pv-1", "resources": {"requests": {"storage": "1Gi"}}});
    let volume = |status: Value| {
        object("v1", "PersistentVolume", json!({"claimRef": {"namespace": "shop", "name": "data"}}), status)
    };
    let attachment = |status: Value| {
        object(
            "storage.k8s.io/v1",
            "VolumeAttachment",
            json!({"nodeName": "n1", "source": {"persistentVolumeName": "pv-1"}}),
            status,
        )
    };
    check(&[
        (claim(fast.clone(), json!({"phase": "Bound"})), "Healthy: it is bound to pv-1"),
        (
            claim(fast.clone(), json!({"phase": "Pending"})),
            "Progressing Pending: it has no volume of 1Gi yet (storage class fast)",
        ),
        (
            claim(json!({"resources": {"requests": {"storage": "1Gi"}}}), json!({"phase": "Pending"})),
            "Progressing Pending: it has no volume of 1Gi yet (no storage class is named, and there is no default)",
        ),
        (claim(fast.clone(), json!({"phase": "Lost"})), "Degraded Lost: its volume pv-1 is gone"),
        (
            claim(
                fast.clone(),
                json!({"phase": "Bound", "conditions": [condition("FileSystemResizePending", "True", "", "Waiting for user to (re-)start a pod to finish file system resize of volume on node.")]}),
            ),
            "Progressing FileSystemResizePending: Waiting for user to (re-)start a pod to finish file system resize of volume on node",
        ),
        (volume(json!({"phase": "Available"})), "Healthy: it is free for a claim"),
        (
            volume(json!({"phase": "Released"})),
            "Degraded Released: its claim shop/data is gone; it takes no other until spec.claimRef is removed",
        ),
        (attachment(json!({"attached": true})), "Healthy: volume pv-1 is attached to n1"),
        (
            attachment(json!({"attached": false, "attachError": {"message": "rpc error: no such disk"}})),
            "Degraded AttachError: volume pv-1 cannot be attached to n1: rpc error: no such disk",
        ),
        (
            object("resource.k8s.io/v1", "ResourceClaim", json!({}), json!({})),
            "Progressing Pending: no device is allocated to it yet",
        ),
    ]);
}

#[test]
fn networking() {
    let service = |spec: Value, status: Value| object("v1", "Service", spec, status);
    let gateway = |conditions: Value| {
        object("gateway.networking.k8s.io/v1", "Gateway", json!({}), json!({"conditions": conditions}))
    };
    let route = |conditions: Value| {
        object(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            json!({}),
            json!({"parents": [{"parentRef": {"name": "edge"}, "conditions": conditions}]}),
        )
    };
    let old = with(condition("Accepted", "True", "Accepted", ""), "", "observedGeneration", json!(1));
    check(&[
        (
            service(json!({"type": "LoadBalancer"}), json!({"loadBalancer": {}})),
            "Progressing NoAddress: its load balancer has no address yet",
        ),
        (
            service(
                json!({"type": "LoadBalancer"}),
                json!({"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}),
            ),
            "Healthy: it is reached at lb.example",
        ),
        (
            service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"}), json!({})),
            "Healthy: it is reached at 10.0.0.1",
        ),
        (
            service(json!({"type": "ExternalName", "externalName": "db.example"}), json!({})),
            "Healthy: it stands for db.example",
        ),
        (
            object("networking.k8s.io/v1", "Ingress", json!({}), json!({"loadBalancer": {}})),
            "Healthy: it is there; its controller tells no address",
        ),
        (object("networking.k8s.io/v1", "NetworkPolicy", json!({}), Value::Null), "Healthy: it is there"),
        (gateway(json!([])), "Progressing NotObserved: condition Accepted is not known yet"),
        (gateway(json!([old])), "Progressing NotObserved: its controller has not seen the change yet"),
        (
            gateway(json!([
                condition("Accepted", "True", "Accepted", ""),
                condition("Programmed", "False", "Invalid", "no listener")
            ])),
            "Degraded Invalid: no listener",
        ),
        (
            gateway(json!([
                condition("Accepted", "True", "Accepted", ""),
                condition("Programmed", "True", "Programmed", "")
            ])),
            "Healthy: conditions Accepted and Programmed are true",
        ),
        (
            route(json!([
                condition("Accepted", "True", "Accepted", ""),
                condition("ResolvedRefs", "False", "BackendNotFound", "Service web is not there")
            ])),
            "Degraded BackendNotFound: gateway edge: Service web is not there",
        ),
        (
            route(json!([
                condition("Accepted", "True", "Accepted", ""),
                condition("ResolvedRefs", "True", "ResolvedRefs", "")
            ])),
            "Healthy: it is accepted by edge",
        ),
        (
            object("gateway.networking.k8s.io/v1", "GRPCRoute", json!({}), json!({})),
            "Progressing NotObserved: no gateway has taken it yet",
        ),
    ]);
}

#[test]
fn autoscaling_and_policy() {
    let hpa = |conditions: Value| {
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"maxReplicas": 5}),
            json!({"currentReplicas": 2, "desiredReplicas": 3, "conditions": conditions}),
        )
    };
    let budget = |status: Value| object("policy/v1", "PodDisruptionBudget", json!({}), status);
    let policy = json!({"observedGeneration": 2, "typeChecking": {"expressionWarnings": [{"fieldRef": "spec.validations[0].expression", "warning": "apps/v1, Kind=Deployment: ERROR: undefined field 'replica'"}]}});
    let signing = |conditions: Value| {
        object(
            "certificates.k8s.io/v1",
            "CertificateSigningRequest",
            json!({}),
            json!({"conditions": conditions}),
        )
    };
    check(&[
        (hpa(json!([])), "Progressing NotObserved: its controller has not seen it yet"),
        (
            hpa(json!([
                condition("AbleToScale", "True", "ReadyForNewScale", "x"),
                condition(
                    "ScalingActive",
                    "False",
                    "FailedGetResourceMetric",
                    "the HPA was unable to compute the replica count: failed to get cpu utilization"
                )
            ])),
            "Degraded FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization",
        ),
        (
            hpa(json!([condition(
                "ScalingActive",
                "False",
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero"
            )])),
            "Suspended ScalingDisabled: scaling is disabled since the replica count of the target is zero",
        ),
        (
            hpa(json!([condition("AbleToScale", "True", "ReadyForNewScale", "x")])),
            "Healthy: 2 replicas, 3 wanted, 5 at most",
        ),
        (
            budget(
                json!({"observedGeneration": 2, "expectedPods": 2, "currentHealthy": 1, "desiredHealthy": 2}),
            ),
            "Progressing InsufficientPods: 1 of the 2 Pods that it needs are healthy",
        ),
        (
            budget(
                json!({"observedGeneration": 2, "expectedPods": 0, "currentHealthy": 0, "desiredHealthy": 1}),
            ),
            "Healthy: 0 Pods are healthy, 1 needed, 0 may be disrupted",
        ),
        (
            object("v1", "ResourceQuota", json!({"hard": {"pods": "2"}}), json!({})),
            "Progressing NotObserved: its controller has not seen it yet",
        ),
        (
            object(
                "v1",
                "ResourceQuota",
                json!({"hard": {"pods": "2"}}),
                json!({"hard": {"pods": "2"}, "used": {"pods": "1"}}),
            ),
            "Healthy: pods 1 of 2",
        ),
        (object("v1", "LimitRange", json!({}), Value::Null), "Healthy: it is there"),
        (
            object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", json!({}), policy),
            "Degraded TypeCheck: spec.validations[0].expression: apps/v1, Kind=Deployment: ERROR: undefined field 'replica'",
        ),
        (
            object(
                "flowcontrol.apiserver.k8s.io/v1",
                "FlowSchema",
                json!({}),
                json!({"conditions": [condition("Dangling", "True", "NotFound", "This FlowSchema references the PriorityLevelConfiguration object named \"x\" but there is no such object")]}),
            ),
            "Degraded NotFound: This FlowSchema references the PriorityLevelConfiguration object named \"x\" but there is no such object",
        ),
        (signing(json!([])), "Progressing Pending: nobody has approved it yet"),
        (signing(json!([condition("Denied", "True", "No", "not you")])), "Degraded No: not you"),
    ]);
}

#[test]
fn what_makes_up_the_cluster() {
    let definition = |conditions: Value| {
        object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({}),
            json!({"conditions": conditions}),
        )
    };
    let service = |status: &str, reason: &str| {
        object(
            "apiregistration.k8s.io/v1",
            "APIService",
            json!({}),
            json!({"conditions": [condition("Available", status, reason, "so it is")]}),
        )
    };
    let going = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Terminating", "conditions": [condition("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"), condition("NamespaceContentRemaining", "True", "SomeResourcesRemain", "Some resources are remaining: pods. has 1 resource instances")]}});
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b", "c/d"]}});
    let node = |conditions: Value| object("v1", "Node", json!({}), json!({"conditions": conditions}));
    check(&[
        (object("v1", "Namespace", json!({}), json!({"phase": "Active"})), "Healthy: it is active"),
        (
            going,
            "Progressing Terminating: it is being deleted: Some resources are remaining: pods. has 1 resource instances (since 2026-01-01T00:00:00Z)",
        ),
        (
            held,
            "Progressing Terminating: it is being deleted and waits for a/b, c/d (since 2026-01-01T00:00:00Z)",
        ),
        (definition(json!([])), "Progressing NotObserved: condition Established is not known yet"),
        (
            definition(json!([condition(
                "NamesAccepted",
                "False",
                "PluralConflict",
                "\"tools\" is already in use"
            )])),
            "Degraded PluralConflict: \"tools\" is already in use",
        ),
        (
            definition(json!([
                condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
                condition("Established", "True", "InitialNamesAccepted", "x")
            ])),
            "Healthy: its kind is served",
        ),
        (service("True", "Passed"), "Healthy: condition Available is true"),
        (service("False", "MissingEndpoints"), "Progressing MissingEndpoints: so it is"),
        (service("False", "FailedDiscoveryCheck"), "Degraded FailedDiscoveryCheck: so it is"),
        (
            node(json!([condition(
                "Ready",
                "Unknown",
                "NodeStatusUnknown",
                "Kubelet stopped posting node status."
            )])),
            "Degraded NodeStatusUnknown: Kubelet stopped posting node status",
        ),
        (
            node(json!([
                condition("Ready", "True", "KubeletReady", ""),
                condition("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has disk pressure")
            ])),
            "Degraded KubeletHasDiskPressure: kubelet has disk pressure",
        ),
    ]);
}

#[test]
fn any_other_kind() {
    let db = |spec: Value, status: Value| object("example.com/v1", "Db", spec, status);
    let of = |conditions: Value| db(json!({}), json!({"conditions": conditions}));
    check(&[
        (db(json!({}), Value::Null), "Healthy: it is there"),
        (
            db(json!({}), json!({"observedGeneration": 1})),
            "Progressing NotObserved: its controller has not seen the change yet",
        ),
        (db(json!({"suspend": true}), Value::Null), "Suspended Suspended: it is suspended (spec.suspend)"),
        (of(json!([condition("Ready", "True", "Fine", "")])), "Healthy: condition Ready is true"),
        (
            of(json!([condition("Ready", "False", "NoDisk", "the disk is gone.")])),
            "Degraded NoDisk: the disk is gone",
        ),
        (
            of(json!([condition("Ready", "False", "Provisioning", "")])),
            "Progressing Provisioning: condition Ready is False",
        ),
        (of(json!([condition("Ready", "Unknown", "Asking", "who knows")])), "Progressing Asking: who knows"),
        (
            of(json!([condition("Stalled", "True", "Bad", "stuck"), condition("Ready", "Unknown", "x", "")])),
            "Degraded Bad: stuck",
        ),
        (
            of(json!([
                condition("Reconciling", "True", "Busy", "at it"),
                condition("Ready", "False", "x", "")
            ])),
            "Progressing Busy: at it",
        ),
        (
            of(json!([
                condition("Ready", "True", "x", ""),
                condition("Synced", "False", "ReconcileError", "no access")
            ])),
            "Progressing ReconcileError: no access",
        ),
        (of(json!([condition("Odd", "False", "x", "")])), "Healthy: none of its conditions says otherwise"),
        (
            db(json!({}), json!({"phase": "Failed", "message": "no license"})),
            "Degraded Failed: it is Failed: no license",
        ),
        (db(json!({}), json!({"state": "Creating"})), "Progressing Creating: it is Creating"),
        (db(json!({}), json!({"phase": "Running"})), "Healthy: it is Running"),
        (
            object(
                "kubectl-gitops.dev/v1alpha1",
                "Application",
                json!({}),
                json!({"observedGeneration": 2, "conditions": [condition("Rendered", "False", "BadYaml", "app/x.yaml:1:7: no")]}),
            ),
            "Degraded BadYaml: app/x.yaml:1:7: no",
        ),
        (
            object(
                "kubectl-gitops.dev/v1alpha1",
                "Rollout",
                json!({}),
                json!({"phase": "Aborted", "message": "errors: 3 of 5 failed"}),
            ),
            "Degraded Aborted: errors: 3 of 5 failed",
        ),
    ]);
}

#[test]
fn strangers_and_nonsense_do_not_break_it() {
    let odd = [
        json!(null),
        json!([]),
        json!({"kind": 1, "status": "x"}),
        json!({"apiVersion": "v1", "kind": "Pod", "status": {"containerStatuses": "x", "conditions": [1]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": "2"}, "status": []}),
    ];
    for object in odd {
        assert!(!health(&object).message.is_empty(), "{object}");
    }
}

#[test]
fn certificates_of_pods_and_migrations_of_what_is_stored() {
    let of = |api: &str, kind: &str, conditions: Value| {
        object(api, kind, json!({}), json!({"conditions": conditions}))
    };
    let request = |conditions| of("certificates.k8s.io/v1beta1", "PodCertificateRequest", conditions);
    let migration = |conditions| of("storagemigration.k8s.io/v1beta1", "StorageVersionMigration", conditions);
    check(&[
        (request(json!([])), "Progressing Pending: its signer has not issued a certificate yet"),
        (
            request(json!([condition("Denied", "True", "UnsupportedKeyType", "ED25519 is not taken.")])),
            "Degraded UnsupportedKeyType: ED25519 is not taken",
        ),
        (
            request(json!([condition("Failed", "True", "SignerDown", "no answer")])),
            "Degraded SignerDown: no answer",
        ),
        (request(json!([condition("Issued", "True", "Signed", "")])), "Healthy: its certificate is issued"),
        (migration(json!([])), "Progressing Pending: it has not begun yet"),
        (
            migration(json!([condition("Running", "True", "StorageVersionMigrationInProgress", "")])),
            "Progressing StorageVersionMigrationInProgress: condition Running is True",
        ),
        (
            migration(json!([
                condition("Running", "False", "", ""),
                condition("Failed", "True", "StorageVersionMigrationFailed", "the kind is gone")
            ])),
            "Degraded StorageVersionMigrationFailed: the kind is gone",
        ),
        (
            migration(json!([condition("Succeeded", "True", "StorageVersionMigrationSucceeded", "")])),
            "Healthy: all objects are stored in the newest version",
        ),
    ]);
}
