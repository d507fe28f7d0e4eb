//! Somebody else's mutating webhook, that adds a sidecar to Pods. In: a
//! namespace. Out: a configuration in the cluster, and a server on this machine
//! behind it; both go when dropped.

use std::net::TcpListener;

use axum::Json;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Background;
use crate::cluster::TestCluster;

/// Lives as long as this value.
#[derive(Debug)]
pub struct Injector {
    cluster: &'static TestCluster,
    name: String,
    _background: Background,
}

impl Injector {
    /// Adds a container named `sidecar` to every new Pod of a namespace.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(cluster: &'static TestCluster, namespace: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, private) = (key.cert.pem(), key.signing_key.serialize_pem());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}/mutate", listener.local_addr().unwrap());
        let background = Background::new(1);
        let ca = STANDARD.encode(&certificate);
        background.spawn(async move {
            let tls = axum_server::tls_rustls::RustlsConfig::from_pem(
                certificate.into_bytes(),
                private.into_bytes(),
            )
            .await;
            let router = axum::Router::new().route("/mutate", post(inject));
            axum_server::from_tcp_rustls(listener, tls.unwrap())
                .unwrap()
                .serve(router.into_make_service())
                .await
                .unwrap();
        });
        let name = format!("injector-{namespace}");
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [{
            "name": "sidecar.example.com", "clientConfig": {"url": url, "caBundle": ca}, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]}]});
        cluster.kubectl_stdin("create -f -", &configuration.to_string()).ok();
        Self { cluster, name, _background: background }
    }
}

async fn inject(Json(review): Json<Value>) -> Json<Value> {
    let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "sidecar:1"}}]);
    Json(
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": review["request"]["uid"], "allowed": true,
        "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())}}),
    )
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.cluster
            .kubectl(&format!("delete mutatingwebhookconfiguration {} --ignore-not-found", self.name));
    }
}
