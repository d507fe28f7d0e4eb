//! Kubernetes' own controllers under full enforcement: everything that Git
//! declares is held, what nobody declares is refused, and clusters go on
//! working. The tables of what Kubernetes fills are proven here.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use gitops_tests::{FakeNode, Injector, Shop};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Nothing is allowed but what Git says.
fn closed() -> Value {
    json!({"enforcement": {"mode": "Enforce", "untracked": "Deny", "interactive": "Deny", "customKinds": "Closed"}})
}

/// A namespace of which everything is held, and a node of its own.
fn open(files: impl FnOnce(&FakeNode) -> Vec<(&'static str, Value)>, project: Value) -> (Shop, FakeNode) {
    let mut shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
    let node = FakeNode::start(shop.cluster, &format!("node-{}", shop.name()));
    commit(&mut shop, &files(&node));
    shop.hold_under(project, json!({}));
    (shop, node)
}

fn commit(shop: &mut Shop, objects: &[(&str, Value)]) {
    let files: Vec<(String, String)> =
        objects.iter().map(|(name, object)| (format!("app/{name}.json"), object.to_string())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    shop.repo.commit("objects", &files);
}

/// A Pod's template that lands on the node.
fn template(node: &FakeNode, app: &str, image: &str) -> Value {
    let mut spec = node.placement();
    spec["containers"] = json!([{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]);
    spec["terminationGracePeriodSeconds"] = json!(0);
    json!({"metadata": {"labels": {"app": app}}, "spec": spec})
}

fn workload(kind: &str, name: &str, template: Value, more: Value) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template}});
    for (field, value) in more.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn job(node: &FakeNode) -> Value {
    let mut template = template(node, "job", "job:1");
    template["spec"]["restartPolicy"] = json!("Never");
    json!({"template": template, "backoffLimit": 2})
}

fn items(shop: &Shop, kind: &str) -> Vec<Value> {
    let ran = shop.kubectl(&format!("get {kind} -o json"));
    let list: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// What our webhook has refused to controllers in this namespace.
fn refusals(shop: &Shop) -> Vec<String> {
    let events = items(shop, "events");
    let messages = events.iter().filter_map(|event| event["message"].as_str());
    messages.filter(|message| message.contains("kubectl-gitops.dev")).map(str::to_owned).collect()
}

fn ready(shop: &Shop, kind: &str, name: &str, pointer: &str, count: i64) -> Option<()> {
    (shop.get(kind, name)?.pointer(pointer)?.as_i64()? == count).then_some(())
}

#[test]
fn workloads_come_up_roll_out_and_go() {
    let (mut shop, node) = open(
        |node| {
            vec![
                (
                    "deployment",
                    workload("Deployment", "web", template(node, "web", "web:1"), json!({"replicas": 2})),
                ),
                ("daemon", workload("DaemonSet", "daemon", template(node, "daemon", "d:1"), json!({}))),
                (
                    "stateful",
                    workload(
                        "StatefulSet",
                        "db",
                        template(node, "db", "db:1"),
                        json!({"replicas": 2, "serviceName": "db"}),
                    ),
                ),
                (
                    "service",
                    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
                ),
                (
                    "budget",
                    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
                ),
            ]
        },
        closed(),
    );
    shop.sync().ok();
    let up = |shop: &Shop| {
        ready(shop, "deployment", "web", "/status/readyReplicas", 2)?;
        ready(shop, "daemonset", "daemon", "/status/numberReady", 1)?;
        ready(shop, "statefulset", "db", "/status/readyReplicas", 2)
    };
    eventually("Deployment, DaemonSet and StatefulSet are ready", LIMIT, || up(&shop));
    eventually("the Service has an address and endpoints", LIMIT, || {
        let slices = items(&shop, "endpointslices");
        let addresses: usize =
            slices.iter().filter_map(|slice| slice["endpoints"].as_array()).map(Vec::len).sum();
        (addresses == 2 && shop.get("service", "web")?["spec"]["clusterIP"].is_string()).then_some(())
    });
    // New versions of all three.
    for (file, kind, name, more) in [
        ("deployment", "Deployment", "web", json!({"replicas": 2})),
        ("daemon", "DaemonSet", "daemon", json!({})),
        ("stateful", "StatefulSet", "db", json!({"replicas": 2, "serviceName": "db"})),
    ] {
        let next = workload(kind, name, template(&node, name, "new:2"), more);
        commit(&mut shop, &[(file, next)]);
    }
    shop.sync().ok();
    eventually("all Pods are of the new version", LIMIT, || {
        let pods = items(&shop, "pods");
        let new = pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == "new:2").count();
        (new == 5 && pods.len() == 5).then_some(())
    });
    eventually("and ready", LIMIT, || up(&shop));
    // Eviction, and a Pod that a person deletes: both come back.
    let pods = items(&shop, "pods");
    let name = |app: &str| {
        let found = pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == app).unwrap();
        found["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let evicted = name("web");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": evicted}});
    let path = format!("/api/v1/namespaces/{}/pods/{evicted}/eviction", shop.name());
    shop.kubectl_stdin(&format!("create --raw {path} -f -"), &eviction.to_string()).ok();
    shop.kubectl(&format!("delete pod {} --wait=false", name("db"))).ok();
    eventually("the evicted and the deleted Pod are made anew", LIMIT, || {
        let gone = !items(&shop, "pods").iter().any(|pod| pod["metadata"]["name"] == evicted.as_str());
        up(&shop).filter(|()| gone)
    });
    // A restart of now rolls out, and is no drift.
    shop.kubectl("rollout restart deployment web").ok();
    eventually("the restart has rolled out", LIMIT, || {
        let live = shop.get("deployment", "web")?;
        let updated = live["status"]["updatedReplicas"] == 2 && live["status"]["replicas"] == 2;
        (updated && live["status"]["observedGeneration"] == live["metadata"]["generation"]).then_some(())
    });
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert_eq!(diff.code, 0, "{}", diff.stdout);
    assert_eq!(refusals(&shop), Vec::<String>::new());
    // What leaves Git takes its children along.
    shop.repo.remove("less", &["app/deployment.json", "app/stateful.json", "app/daemon.json"]);
    shop.sync().ok();
    eventually("the garbage collector has taken the children", LIMIT, || {
        (items(&shop, "pods").is_empty() && items(&shop, "replicasets").is_empty()).then_some(())
    });
}

#[test]
fn claims_bind() {
    let (mut shop, node) = open(|_| vec![], closed());
    let class = format!("manual-{}", shop.name());
    for index in 0..2 {
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{class}-{index}")}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class, "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/x"}}});
        shop.cluster.kubectl_stdin("create -f -", &volume.to_string()).ok();
    }
    let claim = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let mut pods = template(&node, "db", "db:1");
    pods["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let stateful = workload(
        "StatefulSet",
        "db",
        pods,
        json!({"serviceName": "db", "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}),
    );
    let single = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "single"}, "spec": claim});
    commit(&mut shop, &[("stateful", stateful), ("claim", single)]);
    shop.sync().ok();
    eventually("both claims are bound, and the Pod runs with its own", LIMIT, || {
        let bound =
            items(&shop, "persistentvolumeclaims").iter().filter(|c| c["status"]["phase"] == "Bound").count();
        ready(&shop, "statefulset", "db", "/status/readyReplicas", 1).filter(|()| bound == 2)
    });
    let mine = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "mine"}, "spec": claim});
    shop.kubectl_stdin("create -f -", &mine.to_string()).refused(&["no Application declares it"]);
    assert_eq!(refusals(&shop), Vec::<String>::new());
    for index in 0..2 {
        shop.cluster.kubectl(&format!("delete persistentvolume {class}-{index} --wait=false"));
    }
}

#[test]
fn jobs_run_and_expire_and_cron_jobs_start_them() {
    let (mut shop, node) = open(|_| vec![], closed());
    let mut expiring =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": job(&node)});
    expiring["spec"]["ttlSecondsAfterFinished"] = json!(3);
    let mut indexed =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "indexed"}, "spec": job(&node)});
    indexed["spec"]["completionMode"] = json!("Indexed");
    indexed["spec"]["completions"] = json!(2);
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job(&node)}}});
    commit(&mut shop, &[("once", expiring), ("indexed", indexed), ("cron", cron)]);
    shop.sync().ok();
    shop.kubectl("create job by-hand --from=cronjob/cron").ok();
    eventually("the Indexed Job and the one by hand complete", LIMIT, || {
        ready(&shop, "job", "indexed", "/status/succeeded", 2)?;
        ready(&shop, "job", "by-hand", "/status/succeeded", 1)
    });
    eventually("the finished Job expires", LIMIT, || shop.get("job", "once").is_none().then_some(()));
    // It has run: a sync does not run it again.
    let ran = shop.sync().ok();
    assert!(!ran.stdout.contains("created Job"), "{}", ran.stdout);
    eventually("the CronJob has started a Job, and it completes", Duration::from_secs(90), || {
        let jobs = items(&shop, "jobs");
        let own = jobs.iter().find(|job| {
            job["metadata"]["ownerReferences"][0]["kind"] == "CronJob" && job["metadata"]["name"] != "by-hand"
        })?;
        (own["status"]["succeeded"] == 1).then_some(())
    });
    assert_eq!(refusals(&shop), Vec::<String>::new());
}

#[test]
fn limits_quotas_tokens_and_defaults_of_a_namespace() {
    let (mut shop, node) = open(|_| vec![], closed());
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "defaultRequest": {"cpu": "100m"}}]}});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": {"pods": "20"}}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}});
    let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "web"}}, "type": "kubernetes.io/service-account-token"});
    let mut pods = template(&node, "web", "web:1");
    pods["spec"]["serviceAccountName"] = json!("web");
    commit(&mut shop, &[("limits", limits), ("quota", quota), ("account", account), ("token", token)]);
    shop.sync().ok();
    commit(&mut shop, &[("web", workload("Deployment", "web", pods, json!({"replicas": 2})))]);
    shop.sync().ok();
    eventually("Pods with limits and tokens run", LIMIT, || {
        ready(&shop, "deployment", "web", "/status/readyReplicas", 2)
    });
    assert_eq!(items(&shop, "pods")[0]["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
    eventually("the token's Secret is filled", LIMIT, || {
        shop.get("secret", "token")?["data"]["token"].as_str().map(drop)
    });
    shop.kubectl("create token web").ok();
    eventually("the quota is counted", LIMIT, || {
        (shop.get("resourcequota", "quota")?["status"]["used"]["pods"] == "2").then_some(())
    });
    // What Kubernetes makes for itself in every namespace comes back.
    shop.kubectl("delete configmap kube-root-ca.crt").ok();
    shop.kubectl("delete serviceaccount default").ok();
    eventually("the root CA and the default account are made anew", LIMIT, || {
        shop.get("configmap", "kube-root-ca.crt")?;
        shop.get("serviceaccount", "default").map(drop)
    });
    let diff =
        shop.cluster.gitops(std::path::Path::new("/"), &format!("diff web --namespace {}", shop.name()));
    assert_eq!(diff.code, 0, "{}", diff.stdout);
    assert_eq!(refusals(&shop), Vec::<String>::new());
}

#[test]
fn nodes_come_and_go() {
    let (mut shop, node) = open(|_| vec![], closed());
    let pods = template(&node, "web", "web:1");
    commit(&mut shop, &[("web", workload("Deployment", "web", pods, json!({"replicas": 2})))]);
    shop.sync().ok();
    eventually("Pods run", LIMIT, || ready(&shop, "deployment", "web", "/status/readyReplicas", 2));
    let uids = |shop: &Shop| -> Vec<Value> {
        items(shop, "pods").iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
    };
    // Tainted: the Pods go at once, and come back when the taint does.
    let before = uids(&shop);
    let name = node.name.clone();
    shop.cluster.kubectl(&format!("taint node {name} maintenance=yes:NoExecute")).ok();
    eventually("the tainted node's Pods go", LIMIT, || {
        uids(&shop).iter().all(|uid| !before.contains(uid)).then_some(())
    });
    shop.cluster.kubectl(&format!("taint node {name} maintenance-")).ok();
    eventually("Pods run again", LIMIT, || ready(&shop, "deployment", "web", "/status/readyReplicas", 2));
    // Gone: Kubernetes waits 40 s before it takes its Pods away.
    let before = uids(&shop);
    node.leave();
    eventually("the lost node's Pods go", Duration::from_secs(120), || {
        uids(&shop).iter().all(|uid| !before.contains(uid)).then_some(())
    });
    let node = FakeNode::start(shop.cluster, &name);
    eventually("they run on the new node", LIMIT, || {
        ready(&shop, "deployment", "web", "/status/readyReplicas", 2)
    });
    assert_eq!(refusals(&shop), Vec::<String>::new());
    node.leave();
}

#[test]
fn a_namespace_ends_once_nobody_declares_it() {
    let (mut shop, node) = open(|_| vec![], closed());
    commit(&mut shop, &[("web", workload("Deployment", "web", template(&node, "web", "web:1"), json!({})))]);
    shop.sync().ok();
    eventually("a Pod runs", LIMIT, || ready(&shop, "deployment", "web", "/status/readyReplicas", 1));
    shop.cluster
        .kubectl(&format!("delete namespace {} --wait=false", shop.name()))
        .refused(&["would go with it"]);
    shop.kubectl("delete application web").ok();
    eventually("the namespace may go", LIMIT, || {
        let ran = shop.cluster.kubectl(&format!("delete namespace {} --wait=false", shop.name()));
        (ran.code == 0).then_some(())
    });
    eventually("and is gone", LIMIT, || {
        let ran = shop.cluster.kubectl(&format!("get namespace {} --ignore-not-found", shop.name()));
        ran.stdout.is_empty().then_some(())
    });
}

#[test]
fn an_injected_sidecar_passes_where_the_project_names_it() {
    for named in [true, false] {
        let mut project = closed();
        if named {
            project["injectors"] = json!([{"kind": "Pod", "path": "spec.containers[name=sidecar]"}]);
        }
        let (mut shop, node) = open(|_| vec![], project);
        let _injector = Injector::start(shop.cluster, shop.name());
        // The API server takes a moment to ask it.
        std::thread::sleep(Duration::from_secs(2));
        commit(
            &mut shop,
            &[("web", workload("Deployment", "web", template(&node, "web", "web:1"), json!({})))],
        );
        shop.sync().ok();
        if named {
            eventually("the Pod with its sidecar runs", LIMIT, || {
                ready(&shop, "deployment", "web", "/status/readyReplicas", 1)
            });
            assert_eq!(items(&shop, "pods")[0]["spec"]["containers"].as_array().unwrap().len(), 2);
            assert_eq!(refusals(&shop), Vec::<String>::new());
        } else {
            let said = eventually("the sidecar is refused, and named", LIMIT, || {
                refusals(&shop).into_iter().find(|said| said.contains("spec.containers[name=sidecar]"))
            });
            assert!(said.contains("denied the request"), "{said}");
            assert!(items(&shop, "pods").is_empty());
        }
    }
}
