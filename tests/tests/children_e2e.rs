//! Children of declared objects, requests beside plain writes, and deletes, at
//! the real API server and against its real controllers: what is refused.
//! That the controllers go on is in `controllers_e2e`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use gitops_tests::Shop;
use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

fn items(shop: &Shop, kind: &str) -> Vec<Value> {
    let list: Value =
        serde_json::from_str(&shop.kubectl(&format!("get {kind} -o json")).stdout).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The first object of a kind whose name begins so, once it is there.
fn first(shop: &Shop, kind: &str, prefix: &str) -> Value {
    eventually(&format!("a {kind} {prefix}"), LIMIT, || {
        let is_it = |object: &Value| object["metadata"]["name"].as_str().unwrap().starts_with(prefix);
        items(shop, kind).into_iter().find(is_it)
    })
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn patch(shop: &Shop, kind: &str, name: &str, patch: &Value) -> Ran {
    shop.kubectl_args(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()])
}

fn create(shop: &Shop, object: &Value) -> Ran {
    shop.kubectl_stdin("create -f -", &object.to_string())
}

/// An object as it could be written anew.
fn copy(object: &Value, name: &str) -> Value {
    let metadata = &object["metadata"];
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "spec": object["spec"],
        "metadata": {"name": name, "labels": metadata["labels"], "annotations": metadata["annotations"], "ownerReferences": metadata["ownerReferences"]}})
}

#[test]
fn a_replica_set_is_its_deployments() {
    let shop = Shop::open();
    let set = first(&shop, "replicasets.apps", "web-");
    let web = name(&set);
    let image = "spec.template.spec.containers[name=web].image";
    shop.kubectl(&format!("set image replicaset/{web} web=evil")).refused(&[
        image,
        "web:1",
        "evil",
        "Deployment web controls it",
        "app/web.yaml:16",
    ]);
    shop.kubectl(&format!("scale replicaset {web} --replicas=9")).refused(&["spec.replicas", "scales it"]);
    patch(&shop, "replicaset", web, &json!({"spec": {"replicas": 9}}))
        .refused(&["spec.replicas", "3 at most"]);
    shop.kubectl(&format!("annotate replicaset {web} team=blue")).ok();
    // One more, of another template, or of a Deployment that is not there.
    let mut second = copy(&set, "web-second");
    second["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    create(&shop, &second).refused(&["spec.template.spec.hostNetwork"]);
    for (field, value, said) in [
        ("uid", "00000000-0000-0000-0000-000000000000", "has the uid"),
        ("name", "other", "there is no Deployment other"),
    ] {
        let mut forged = copy(&set, "web-forged");
        forged["metadata"]["ownerReferences"][0][field] = json!(value);
        create(&shop, &forged).refused(&[said]);
    }
    patch(&shop, "replicaset", web, &json!({"metadata": {"ownerReferences": null}}))
        .refused(&["metadata.ownerReferences", "Deployment web controls it"]);
}

#[test]
fn a_pod_is_its_replica_sets() {
    let shop = Shop::open();
    let pod = first(&shop, "pods", "web-");
    let web = name(&pod);
    shop.kubectl(&format!("set image pod/{web} web=evil")).refused(&[
        "spec.containers[name=web].image",
        "evil",
        "app/web.yaml:16",
    ]);
    shop.kubectl(&format!("label pod {web} app=other --overwrite")).refused(&["metadata.labels.app"]);
    let status = json!({"metadata": {"labels": {"app": "other"}}}).to_string();
    shop.kubectl_args(&["patch", "pod", web, "--subresource=status", "--type=merge", "-p", &status])
        .refused(&["metadata.labels.app"]);
    shop.kubectl(&format!("label pod {web} team=blue")).ok();
    shop.kubectl(&format!("delete pod {web} --wait=false")).ok();
    let forged = |change: &dyn Fn(&mut Value)| {
        let mut forged = copy(&pod, "forged");
        // As a person would write it: what the API server fills is left out.
        forged["spec"] = json!({"containers": [{"name": "web", "image": "web:1"}]});
        change(&mut forged);
        create(&shop, &forged)
    };
    forged(&|pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("x")).refused(&["has the uid"]);
    forged(&|pod| pod["metadata"]["ownerReferences"][0]["name"] = json!("other"))
        .refused(&["there is no ReplicaSet other"]);
    forged(&|pod| pod["spec"]["containers"][0]["image"] = json!("evil"))
        .refused(&["containers[name=web].image"]);
    forged(&|pod| pod["spec"]["hostPID"] = json!(true)).refused(&["spec.hostPID"]);
    forged(&|pod| pod["spec"]["priorityClassName"] = json!("system-node-critical"))
        .refused(&["priorityClassName"]);
    forged(&|_| {}).ok();
}

#[test]
fn what_matches_only_the_selector_is_not_adopted() {
    let shop = Shop::open();
    let set = first(&shop, "replicasets.apps", "web-");
    let labels = &set["spec"]["selector"]["matchLabels"];
    let pod = |name: &str, labels: &Value, image: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}});
    let adopting = format!("ReplicaSet {} would adopt it by its labels", name(&set));
    create(&shop, &pod("stray", labels, "evil")).refused(&[
        &adopting,
        "spec.containers[name=web].image",
        "evil",
    ]);
    // Nobody declares this one, and untracked is Allow; relabelled, or given an
    // owner, it would be somebody's.
    create(&shop, &pod("stray", &json!({"app": "mine"}), "evil")).ok();
    let metadata = |change: Value| patch(&shop, "pod", "stray", &json!({"metadata": change}));
    metadata(json!({"labels": labels})).refused(&[&adopting]);
    let owner = |uid: &Value| json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name(&set), "uid": uid, "controller": true}]});
    metadata(owner(&set["metadata"]["uid"])).refused(&["spec.containers[name=web].image", "evil"]);
    metadata(owner(&json!("x"))).refused(&["has the uid"]);
    // What is as its ReplicaSet makes them is adopted: one is too many then.
    create(&shop, &pod("twin", labels, "web:1")).ok();
    eventually("the ReplicaSet has two Pods of its own again", LIMIT, || {
        let pods = items(&shop, "pods");
        let own =
            pods.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"]);
        (own.count() == 2 && pods.len() == 3).then_some(())
    });
    let mut second = copy(&set, "web-second");
    for field in ["ownerReferences", "annotations"] {
        second["metadata"].as_object_mut().unwrap().remove(field);
    }
    second["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    create(&shop, &second).refused(&["Deployment web would adopt it", "spec.template.spec.hostNetwork"]);
}

#[test]
fn a_closed_namespace_takes_only_what_git_declares() {
    let closed = json!({"enforcement": {"untracked": "Deny"}});
    let shop = Shop::under(closed, &[("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG)]);
    let nobody = &["no Application declares it"];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mine"}, "spec": {"containers": [{"name": "c", "image": "c"}]}});
    create(&shop, &pod).refused(nobody);
    let canary: Value =
        serde_json::from_str(&shop.kubectl("get deployment web -o json").ok().stdout).unwrap();
    let mut canary = copy(&canary, "web-canary");
    canary["metadata"].as_object_mut().unwrap().remove("annotations");
    create(&shop, &canary).refused(nobody);
    shop.kubectl("create serviceaccount mine").refused(nobody);
    shop.kubectl("create secret generic mine --from-literal=a=b").refused(nobody);
    shop.kubectl("create job mine --image=x").refused(nobody);
    // An owner is no way around: neither one that makes no such thing, nor one
    // that does not control it.
    let config = shop.get("configmap", "web").unwrap();
    let set = first(&shop, "replicasets.apps", "web-");
    for (owner, controller) in [(&config, true), (&set, false)] {
        let mut owned = pod.clone();
        owned["metadata"]["ownerReferences"] = json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name(owner), "uid": owner["metadata"]["uid"], "controller": controller}]);
        create(&shop, &owned).refused(nobody);
    }
    // What Kubernetes keeps there, anyone may bring back.
    let default = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    shop.kubectl("delete serviceaccount default --wait=false").ok();
    shop.kubectl_stdin("apply -f -", &default.to_string()).ok();
    eventually("both Pods are there", LIMIT, || (items(&shop, "pods").len() == 2).then_some(()));
}

#[test]
fn traffic_goes_where_the_service_selects() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{port: 80}]\n";
    let open = "apiVersion: v1\nkind: Service\nmetadata: {name: open}\nspec:\n  ports: [{port: 80}]\n";
    let shop = Shop::with(&[("app/web.yaml", service), ("app/open.yaml", open), ("app/config.yaml", CONFIG)]);
    let slice = |name: &str, service: &str, address: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}}, "endpoints": [{"addresses": [address]}]})
    };
    create(&shop, &slice("mine", "web", "10.6.6.6"))
        .refused(&["endpoints[=\"10.6.6.6\"]", "Service web selects no Pod of this address"]);
    let own = first(&shop, "endpointslices", "web-");
    let elsewhere = json!({"endpoints": [{"addresses": ["10.6.6.6"]}]});
    patch(&shop, "endpointslice", name(&own), &elsewhere).refused(&["10.6.6.6"]);
    let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.6.6.6"}], "ports": [{"port": 80}]}]});
    patch(&shop, "endpoints", "web", &endpoints).refused(&["10.6.6.6"]);
    // A Pod that is selected: its address may be in a slice, whoever writes it.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}});
    create(&shop, &pod).ok();
    let status = json!({"status": {"podIP": "10.6.6.7", "podIPs": [{"ip": "10.6.6.7"}]}}).to_string();
    shop.kubectl_args(&["patch", "pod", "one", "--subresource=status", "--type=merge", "-p", &status]).ok();
    create(&shop, &slice("mine", "web", "10.6.6.7")).ok();
    // A Service without a selector, and one that nobody declares.
    create(&shop, &slice("theirs", "open", "10.6.6.6")).ok();
    create(&shop, &slice("nobodys", "other", "10.6.6.6")).ok();
    patch(
        &shop,
        "endpointslice",
        "nobodys",
        &json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}}),
    )
    .refused(&["10.6.6.6"]);
}

#[test]
fn old_revisions_of_a_stateful_set_come_back_while_it_rolls() {
    let set = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"replicas": 2, "serviceName": "db", "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "db", "image": image}]}}}}).to_string()
    };
    let shop = Shop::under(
        json!({"enforcement": {"untracked": "Deny"}}),
        &[("app/db.yaml", &set("db:1")), ("app/config.yaml", CONFIG)],
    );
    first(&shop, "pods", "db-1");
    shop.repo.commit("new", &[("app/db.yaml", &set("db:2"))]);
    shop.sync().ok();
    let image = |pod: &str| shop.get("pod", pod).map(|pod| pod["spec"]["containers"][0]["image"].clone());
    eventually("the second Pod is of the new revision", LIMIT, || (image("db-1")? == "db:2").then_some(()));
    let before = first(&shop, "pods", "db-0");
    shop.kubectl("delete pod db-0 --wait=false").ok();
    eventually("the first comes back as it was", LIMIT, || {
        let pod =
            shop.get("pod", "db-0").filter(|pod| pod["metadata"]["uid"] != before["metadata"]["uid"])?;
        (pod["spec"]["containers"][0]["image"] == "db:1").then_some(())
    });
    // What a revision holds is what the set once was.
    let revision = first(&shop, "controllerrevisions", "db-");
    let mut forged = copy(&revision, "db-forged");
    forged.as_object_mut().unwrap().remove("spec");
    forged["revision"] = json!(9);
    forged["data"] = revision["data"].clone();
    forged["data"]["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil");
    create(&shop, &forged).refused(&["spec.template.spec.containers[name=db].image", "evil"]);
}

#[test]
fn a_cron_jobs_jobs_are_its_template() {
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"}, "spec": {"schedule": "0 0 1 1 *",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c:1"}]}}}}}})
    .to_string();
    let shop = Shop::with(&[("app/cron.yaml", &cron), ("app/config.yaml", CONFIG)]);
    shop.kubectl("create job by-hand --from=cronjob/cron").ok();
    let job = shop.get("job", "by-hand").unwrap();
    let forged = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "forged", "ownerReferences": job["metadata"]["ownerReferences"]},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "evil"}]}}}});
    create(&shop, &forged).refused(&["spec.template.spec.containers[name=c].image", "app/cron.yaml"]);
    let pod = first(&shop, "pods", "by-hand-");
    shop.kubectl(&format!("set image pod/{} c=evil", name(&pod))).refused(&["spec.containers[name=c].image"]);
}

#[test]
fn nothing_is_left_without_its_owner() {
    let shop = Shop::open();
    let set = first(&shop, "replicasets.apps", "web-");
    let behind = &["would stay behind", "--cascade=background"];
    shop.kubectl(&format!("delete replicaset {} --cascade=orphan", name(&set))).refused(behind);
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "orphanDependents": true}).to_string();
    let path = format!("/apis/apps/v1/namespaces/{}/replicasets/{}", shop.name(), name(&set));
    shop.kubectl_stdin(&format!("delete --raw {path} -f -"), &options).refused(behind);
    let finalizer = json!({"metadata": {"finalizers": ["orphan"]}});
    patch(&shop, "replicaset", name(&set), &finalizer).refused(&["metadata.finalizers", "orphan"]);
    patch(&shop, "deployment", "web", &finalizer).refused(&["metadata.finalizers", "orphan"]);
    // In the background it may go, and comes back.
    shop.kubectl(&format!("delete replicaset {} --wait=false", name(&set))).ok();
    eventually("the Deployment makes it anew", LIMIT, || {
        items(&shop, "replicasets.apps")
            .iter()
            .any(|new| new["metadata"]["uid"] != set["metadata"]["uid"])
            .then_some(())
    });
    // What nobody declares may go as it likes.
    shop.kubectl("create deployment other --image=x").ok();
    shop.kubectl("delete deployment other --cascade=orphan").ok();
}

#[test]
fn work_in_running_pods_is_by_policy() {
    // One that can be resized: a Pod without requests may not get some.
    let deployment =
        DEPLOYMENT.replace("image: web:1\n", "image: web:1\n          resources: {requests: {cpu: 5m}}\n");
    for policy in ["Allow", "Warn", "Deny"] {
        let shop = Shop::under(
            json!({"enforcement": {"interactive": policy}}),
            &[("app/web.yaml", &deployment), ("app/config.yaml", CONFIG)],
        );
        let pod = first(&shop, "pods", "web-");
        let target = name(&pod).to_owned();
        let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "targetContainerName": "web"}]}}).to_string();
        let resize =
            json!({"spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "10m"}}}]}})
                .to_string();
        let subresource = |name: &str, patch: &str| {
            let subresource = format!("--subresource={name}");
            shop.kubectl_args(&["patch", "pod", &target, &subresource, "--type=strategic", "-p", patch])
        };
        let asked = [
            ("exec", shop.kubectl(&format!("exec {target} -- true"))),
            ("attach", shop.kubectl(&format!("attach {target}"))),
            ("ephemeralcontainers", subresource("ephemeralcontainers", &debug)),
            ("resize", subresource("resize", &resize)),
        ];
        for (what, ran) in asked {
            let said = format!("{what} works in a running Pod");
            match policy {
                "Deny" => drop(ran.refused(&[&said])),
                "Warn" if matches!(what, "ephemeralcontainers" | "resize") => {
                    assert!(ran.clone().ok().stderr.contains(&said), "{}", ran.stderr);
                }
                _ => assert!(!ran.stderr.contains("denied the request"), "{what}: {}", ran.stderr),
            }
        }
        if policy != "Deny" {
            // What is in the Pod now stands in nobody's way.
            shop.kubectl(&format!("label pod {target} team=blue")).ok();
        }
    }
}

#[test]
fn hooks_lost_pods_and_a_leaving_application_may_go() {
    let hook = |name: &str, policy: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "annotations": {"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": policy}},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "c:1"}]}}}})
        .to_string()
    };
    let pod = |name: &str, node: Option<&str>| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "c:1"}]}}).to_string()
    };
    let shop = Shop::with(&[
        ("app/before.yaml", &hook("before", "BeforeHookCreation")),
        ("app/after.yaml", &hook("after", "HookSucceeded")),
        ("app/here.yaml", &pod("here", None)),
        ("app/lost.yaml", &pod("lost", Some("no-such-node"))),
        ("app/config.yaml", CONFIG),
    ]);
    shop.kubectl("delete job before --wait=false").ok();
    shop.kubectl("delete job after --wait=false").refused(&["Job"]);
    shop.kubectl("delete pod here --wait=false").refused(&["Pod"]);
    shop.kubectl("delete pod lost --wait=false").ok();
    shop.kubectl("delete configmap web").refused(&["ConfigMap"]);
    patch(&shop, "application", "web", &json!({"metadata": {"finalizers": ["example.com/wait"]}})).ok();
    shop.kubectl("delete application web --wait=false").ok();
    shop.kubectl("delete configmap web").ok();
    patch(&shop, "application", "web", &json!({"metadata": {"finalizers": null}})).ok();
}

#[test]
fn another_version_of_a_kind_is_the_same_kind() {
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}})
    .to_string();
    let shop = Shop::with(&[("app/hpa.yaml", &scaler), ("app/config.yaml", CONFIG)]);
    let old = "horizontalpodautoscalers.v1.autoscaling";
    patch(&shop, old, "web", &json!({"spec": {"maxReplicas": 9}})).refused(&["spec.maxReplicas", "3", "9"]);
    patch(&shop, old, "web", &json!({"metadata": {"annotations": {"team": "blue"}}})).ok();
    shop.kubectl(&format!("delete {old} web")).refused(&["HorizontalPodAutoscaler"]);
}

#[test]
fn finalizers_and_dry_runs_are_judged_as_anything() {
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  finalizers: [example.com/keep]\ndata: {greeting: hello}\n";
    let shop = Shop::with(&[("app/config.yaml", config)]);
    let finalizers =
        |list: Value| patch(&shop, "configmap", "web", &json!({"metadata": {"finalizers": list}}));
    finalizers(json!(["example.com/keep", "example.com/mine"])).ok();
    finalizers(json!(["example.com/keep"])).ok();
    finalizers(json!([])).refused(&["metadata.finalizers", "example.com/keep"]);
    let other = json!({"data": {"greeting": "hi"}}).to_string();
    shop.kubectl_args(&["patch", "configmap", "web", "--type=merge", "--dry-run=server", "-p", &other])
        .refused(&["data.greeting"]);
    shop.kubectl("delete configmap web --dry-run=server").refused(&["ConfigMap"]);
    let created =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"a": "b"}});
    shop.repo.commit("late", &[("app/late.yaml", &created.to_string())]);
    let mut wrong = created;
    wrong["data"]["a"] = json!("c");
    eventually("an apply that creates is judged", LIMIT, || {
        let ran = shop.kubectl_stdin("apply --server-side --dry-run=server -f -", &wrong.to_string());
        ran.stderr.contains("data.a").then_some(())
    });
    // So that the namespace can go.
    shop.repo.commit("free", &[("app/config.yaml", CONFIG)]);
    shop.sync().ok();
    finalizers(json!([])).ok();
}

#[test]
fn an_object_of_more_than_a_megabyte_is_judged() {
    let group = format!("big{}.example.com", std::process::id());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("bigs.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"kind": "Big", "plural": "bigs"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}});
    let big = |last: &str| json!({"apiVersion": format!("{group}/v1"), "kind": "Big", "metadata": {"name": "web"}, "spec": {"text": "x".repeat(1_200_000), "last": last}});
    let shop = Shop::with(&[
        ("app/crd.yaml", &definition.to_string()),
        ("app/big.yaml", &big("a").to_string()),
        ("app/config.yaml", CONFIG),
    ]);
    let kind = format!("bigs.{group}");
    patch(&shop, &kind, "web", &json!({"metadata": {"labels": {"team": "blue"}}})).ok();
    eventually("a change of it is refused", LIMIT, || {
        let ran = patch(&shop, &kind, "web", &json!({"spec": {"last": "b"}}));
        ran.stderr.contains("spec.last").then_some(())
    });
    assert_eq!(shop.get(&kind, "web").unwrap()["spec"]["last"], "a");
    shop.kubectl("delete application web").ok();
    eventually("its definition may go", LIMIT, || {
        (shop.cluster.kubectl(&format!("delete crd bigs.{group} --wait=false")).code == 0).then_some(())
    });
}
