//! A node that is none: it takes Pods and says that they run. In: a name. Out:
//! a Node whose Pods become ready, Jobs' Pods succeed, deleted Pods go; an image
//! with the tag `broken` crashes. Only what tolerates its taint comes here, so
//! that other tests' Pods stay away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::StreamExt;
use gitops_cluster::{Cluster, ConnectOptions};
use serde_json::{Value, json};

use crate::cluster::TestCluster;

/// How often Pods are looked at.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often the node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Pods that are played at once.
const PARALLEL: usize = 16;

/// Lives as long as this value.
#[derive(Debug)]
pub struct FakeNode {
    pub name: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeNode {
    /// Registers the node and starts to play it.
    ///
    /// # Panics
    /// When the API server cannot be reached.
    pub fn start(cluster: &TestCluster, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (kubeconfig, stopped, node) = (cluster.kubeconfig().to_owned(), stop.clone(), name.to_owned());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let options = ConnectOptions { kubeconfig: vec![kubeconfig], ..ConnectOptions::default() };
                let player = Player { client: Cluster::connect(&options).await.unwrap().client(), node };
                player.register().await;
                ready.send(()).unwrap();
                player.play(&stopped).await;
            });
        });
        is_ready.recv().expect("the fake node registers");
        Self { name: name.to_owned(), stop, thread: Some(thread) }
    }

    /// What a Pod's spec needs to come here.
    pub fn placement(&self) -> Value {
        json!({"nodeSelector": {"kubernetes.io/hostname": self.name},
            "tolerations": [{"key": "fake-node", "operator": "Equal", "value": self.name, "effect": "NoSchedule"}]})
    }

    /// The node falls silent and its Node object goes.
    pub fn leave(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.end();
    }
}

struct Player {
    client: kube::Client,
    node: String,
}

impl Player {
    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        let mut request = http::Request::builder().method(method).uri(path);
        if body.is_some() {
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            request = request.header("content-type", kind);
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.client.request(request.body(body).unwrap()).await.ok()
    }

    async fn register(&self) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node, "labels": {"kubernetes.io/hostname": self.node}},
            "spec": {"taints": [{"key": "fake-node", "value": self.node, "effect": "NoSchedule"}]}});
        self.call("POST", "/api/v1/nodes", Some(&node)).await;
        self.heartbeat().await;
    }

    async fn heartbeat(&self) {
        let room = json!({"cpu": "32", "memory": "64Gi", "pods": "1000", "ephemeral-storage": "100Gi"});
        let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Played", "message": "", "lastHeartbeatTime": now(), "lastTransitionTime": now()}]}});
        self.call("PATCH", &format!("/api/v1/nodes/{}/status", self.node), Some(&status)).await;
    }

    async fn play(&self, stop: &AtomicBool) {
        let mut beat = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if beat.elapsed() > HEARTBEAT {
                self.heartbeat().await;
                beat = Instant::now();
            }
            let path = format!("/api/v1/pods?fieldSelector=spec.nodeName={}", self.node);
            let pods = self.call("GET", &path, None).await.unwrap_or_default();
            let pods = pods["items"].as_array().into_iter().flatten();
            futures::stream::iter(pods).for_each_concurrent(PARALLEL, |pod| self.pod(pod)).await;
            tokio::time::sleep(INTERVAL).await;
        }
        self.call("DELETE", &format!("/api/v1/nodes/{}", self.node), None).await;
    }

    async fn pod(&self, pod: &Value) {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let path =
            format!("/api/v1/namespaces/{}/pods/{}", text("/metadata/namespace"), text("/metadata/name"));
        if !text("/metadata/deletionTimestamp").is_empty() {
            let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
            self.call("DELETE", &path, Some(&options)).await;
            return;
        }
        if text("/status/phase") == "Pending" {
            let ends = text("/metadata/ownerReferences/0/kind") == "Job";
            let status = status(pod, ends);
            self.call("PATCH", &format!("{path}/status"), Some(&status)).await;
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Running and ready, or, for a Job's Pod, done; or crashing.
fn status(pod: &Value, ends: bool) -> Value {
    let images =
        pod["spec"]["containers"].as_array().into_iter().flatten().map(|container| &container["image"]);
    let broken =
        images.into_iter().any(|image| image.as_str().is_some_and(|image| image.ends_with(":broken")));
    let state = if broken {
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}})
    } else if ends {
        json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now(), "containerID": "fake://x"}})
    } else {
        json!({"running": {"startedAt": now()}})
    };
    let containers: Vec<Value> = (pod["spec"]["containers"].as_array().into_iter().flatten())
        .map(|c| json!({"name": c["name"], "image": c["image"], "imageID": "fake", "ready": !ends && !broken, "restartCount": u8::from(broken), "state": state}))
        .collect();
    let hash = pod["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .bytes()
        .fold(7_u32, |h, b| h.wrapping_mul(31) ^ u32::from(b));
    let ready = if ends || broken { "False" } else { "True" };
    let condition =
        |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": now()});
    json!({"status": {"phase": if ends { "Succeeded" } else { "Running" }, "startTime": now(),
        "podIP": format!("10.99.{}.{}", hash >> 8 & 255, hash % 254 + 1), "podIPs": [{"ip": format!("10.99.{}.{}", hash >> 8 & 255, hash % 254 + 1)}],
        "conditions": [condition("Ready", ready), condition("ContainersReady", ready), condition("Initialized", "True"), condition("PodScheduled", "True")],
        "containerStatuses": containers}})
}
