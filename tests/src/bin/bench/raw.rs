//! The same requests that a sync needs, and nothing else: no comparison, no
//! order, no parsing of what comes back.

use futures::{StreamExt, TryStreamExt};
use gitops_cluster::ConnectOptions;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::cluster::Cluster;

/// Requests at once: as many as a sync sends.
const PARALLEL: usize = 32;

/// A client whose connections nobody has used.
async fn client(cluster: &Cluster) -> kube::Client {
    let options =
        ConnectOptions { kubeconfig: vec![cluster.kubeconfig.clone().into()], ..ConnectOptions::default() };
    gitops_cluster::Cluster::connect(&options).await.unwrap().client()
}

async fn send(client: &kube::Client, request: http::Request<Vec<u8>>) -> kube::Result<usize> {
    let answer = client.send(request.map(kube::client::Body::from)).await?;
    assert!(answer.status().is_success(), "{}", answer.status());
    Ok(answer.into_body().collect().await?.to_bytes().len())
}

/// Where the objects of a kind are, as [`crate::objects::objects`] makes them.
fn path(object: &Value, namespace: &str) -> String {
    let group = match object["apiVersion"].as_str().unwrap() {
        "v1" => "api/v1".to_owned(),
        version => format!("apis/{version}"),
    };
    let kind = object["kind"].as_str().unwrap().to_lowercase();
    format!("/{group}/namespaces/{namespace}/{kind}s")
}

/// Applies all of these, forced, on fresh connections.
pub async fn apply(cluster: &Cluster, objects: &[Value], namespace: &str) {
    let placed: Vec<(String, &Value)> = objects.iter().map(|object| (namespace.to_owned(), object)).collect();
    apply_in(cluster, &placed).await;
}

/// The same, each in a namespace of its own.
pub async fn apply_in(cluster: &Cluster, objects: &[(String, &Value)]) {
    let client = client(cluster).await;
    let requests = objects.iter().map(|(namespace, object)| {
        let name = object["metadata"]["name"].as_str().unwrap();
        let uri = format!("{}/{name}?force=true&fieldManager=raw", path(object, namespace));
        let request = http::Request::patch(uri).header("content-type", "application/apply-patch+yaml");
        send(&client, request.body(object.to_string().into_bytes()).unwrap())
    });
    let done: Vec<usize> =
        futures::stream::iter(requests).buffer_unordered(PARALLEL).try_collect().await.unwrap();
    assert_eq!(done.len(), objects.len());
}

/// Creates objects of ours and Namespaces, on fresh connections.
pub async fn create(cluster: &Cluster, objects: &[Value]) {
    let client = client(cluster).await;
    // What others are in comes first.
    for kind in ["Namespace", "Project", "Application"] {
        let some: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
        let requests = some.iter().map(|object| {
            let uri = match kind {
                "Namespace" => "/api/v1/namespaces".to_owned(),
                "Project" => "/apis/kubectl-gitops.dev/v1alpha1/projects".to_owned(),
                _ => {
                    let namespace = object["metadata"]["namespace"].as_str().unwrap();
                    format!("/apis/kubectl-gitops.dev/v1alpha1/namespaces/{namespace}/applications")
                }
            };
            let request = http::Request::post(uri).header("content-type", "application/json");
            send(&client, request.body(object.to_string().into_bytes()).unwrap())
        });
        let done: Vec<usize> =
            futures::stream::iter(requests).buffer_unordered(PARALLEL).try_collect().await.unwrap();
        assert_eq!(done.len(), some.len());
    }
}

/// Lists the kinds of these objects, on fresh connections.
pub async fn list(cluster: &Cluster, objects: &[Value], namespace: &str) {
    let client = client(cluster).await;
    let mut paths: Vec<String> = objects.iter().map(|object| path(object, namespace)).collect();
    paths.sort();
    paths.dedup();
    let requests = paths.iter().map(|path| {
        let request = http::Request::get(format!("{path}?resourceVersion=0"));
        send(&client, request.header("accept", "application/json").body(Vec::new()).unwrap())
    });
    let sizes: Vec<usize> =
        futures::stream::iter(requests).buffer_unordered(PARALLEL).try_collect().await.unwrap();
    assert!(sizes.iter().sum::<usize>() > objects.len());
}
