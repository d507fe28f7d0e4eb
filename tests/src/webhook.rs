//! Replicas of the webhook as processes of this machine. In: a cluster, a cache
//! directory. Out: their URLs; they are killed when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{TestCluster, eventually};

/// A running replica.
#[derive(Debug)]
pub struct Webhook {
    child: Child,
    pub url: String,
    pub http: String,
    log: PathBuf,
}

/// How a replica is started.
#[derive(Debug, Default)]
pub struct Replica<'a> {
    /// An HTTP proxy on the way to Git.
    pub git_proxy: Option<String>,
    /// Instead of the administrator's.
    pub kubeconfig: Option<&'a Path>,
    /// As the chart has it: the API server looks for it at its Service.
    pub behind_service: bool,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Webhook {
    /// Starts a replica that keeps what it knows in `cache`, and waits until it
    /// is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(cluster: &TestCluster, cache: &Path, replica: &Replica<'_>) -> Self {
        std::fs::create_dir_all(cache).unwrap();
        let (port, health) = (free_port(), free_port());
        let (url, http) = (format!("https://127.0.0.1:{port}"), format!("http://127.0.0.1:{health}"));
        let log = cache.join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(crate::binary("gitops-webhook"));
        command
            .args(["--listen", &format!("127.0.0.1:{port}"), "--http", &format!("127.0.0.1:{health}")])
            .args(["--poll-interval", "1s", "--cache-dir", &cache.display().to_string()])
            .args(["--kubeconfig", &replica.kubeconfig.unwrap_or(cluster.kubeconfig()).display().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        if !replica.behind_service {
            command.args(["--url", &url]);
        }
        if let Some(proxy) = &replica.git_proxy {
            command.env("http_proxy", proxy);
        }
        let webhook = Self { child: command.spawn().unwrap(), url, http, log };
        eventually("the replica is ready", Duration::from_secs(30), || {
            webhook.get("/readyz").filter(|text| text == "ok").map(drop)
        });
        webhook
    }

    fn get(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.http);
        block(async move { reqwest::get(url).await.ok()?.text().await.ok() })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it answers to an update of an object, without the API server.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn update(&self, resource: &str, old: &Value, new: &Value) -> Value {
        let (api_version, kind) = (old["apiVersion"].as_str().unwrap(), &old["kind"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u",
            "kind": {"group": group, "version": version, "kind": kind}, "resource": {"group": group, "version": version, "resource": resource},
            "name": old["metadata"]["name"], "namespace": old["metadata"]["namespace"], "operation": "UPDATE", "userInfo": {"username": "test"},
            "object": new, "oldObject": old}});
        let url = format!("{}/validate", self.url);
        let text = block(async move {
            let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
            let request =
                client.post(url).header("content-type", "application/json").body(review.to_string());
            request.send().await.unwrap().text().await.unwrap()
        });
        serde_json::from_str::<Value>(&text).unwrap()["response"].clone()
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.end();
    }
}

fn block<T>(work: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
