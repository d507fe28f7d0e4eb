//! `kubectl gitops cluster add`

use std::time::{Duration, Instant};

use clap::Args;
use gitops_cluster::{ApplyOptions, Cluster, Discovery, Endpoint, ErrorKind};
use gitops_core::names::{
    ANNOTATION_MIRROR_SECRETS, FIELD_MANAGER, IN_CLUSTER, LABEL_SECRET_TYPE, OUTPUT_API_VERSION,
    SECRET_TYPE_CLUSTER, SYSTEM_NAMESPACE,
};
use gitops_core::object::{Gvk, ObjectKey};
use serde::Serialize;
use serde_json::{Value, json};

use super::Registry;
use super::access::Access;
use crate::error::{Failure, code};
use crate::output::{self, Format, ObjectId};
use crate::printer::Printer;
use crate::settings::Settings;

/// How long Kubernetes may take to make a token.
const TOKEN: Duration = Duration::from_secs(30);

/// Registers a cluster: an account in it by your own rights, and a Secret in the hub
///
/// In the cluster of CONTEXT, a service account with a token is made, which may
/// read, and write in the namespaces that you name, which are made where they
/// are not there. The hub, which kubectl's other flags mean, gets a Secret with
/// that token, in Argo CD's format. Run it again to change the namespaces, or
/// after the cluster was made anew.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops cluster add east --namespaces shop,team-a\n  kubectl gitops cluster add kind-east --name east --address https://east.internal:6443 --cluster-admin\n  kubectl gitops cluster add east --namespaces shop --print\n  kubectl gitops cluster add east --namespaces shop -o json"
)]
pub struct Arguments {
    /// A context of the kubeconfig, of the cluster that is added
    #[arg(value_name = "CONTEXT")]
    of: String,
    /// What Applications call it (destination.cluster); else as the context is called
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Namespaces of Applications and their objects there: only in these the hub may write
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    namespaces: Vec<String>,
    /// Let the hub do everything there; whoever steals its token then holds the cluster
    #[arg(long)]
    cluster_admin: bool,
    /// The URL at which the hub reaches it, where that is another one than yours
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// What the hub's account is called there
    #[arg(long, default_value = "gitops-hub", value_name = "NAME")]
    account: String,
    /// Take the Secrets for repositories along with Applications
    #[arg(long)]
    mirror_secrets: bool,
    /// Write nothing: print what would be made in the cluster
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    registry: Registry,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What was registered.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Added<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    /// As the hub reaches it.
    server: &'a str,
    /// The hub's Secret that describes it.
    secret: ObjectId,
    account: &'a str,
    namespaces: &'a [String],
    cluster_admin: bool,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let name = arguments.name.clone().unwrap_or_else(|| arguments.of.clone());
    named_well(&name)?;
    let access = Access {
        account: &arguments.account,
        namespaces: &arguments.namespaces,
        cluster_admin: arguments.cluster_admin,
    };
    if arguments.print {
        let format = if arguments.output.is_text() { Format::Yaml } else { arguments.output };
        output::print(&access.objects(), format, printer)?;
        return Ok(code::YES);
    }
    if arguments.namespaces.is_empty() && !arguments.cluster_admin {
        return Err(Failure::usage("nowhere may the hub write")
            .hint("name the namespaces of Applications and their objects: --namespaces shop,team-a; or --cluster-admin"));
    }
    let there = settings.context(&arguments.of).await?;
    let hub = settings.cluster().await?;
    let (identity, other) = (identity(&there).await?, identity(&hub).await?);
    if identity == other {
        return Err(Failure::usage(format!("context {} leads to the hub itself", arguments.of))
            .hint(format!("it is always there, as {IN_CLUSTER}; say which is the hub by --context")));
    }
    let token = give_access(&there, &access, printer).await?;
    let endpoint = settings.endpoint(&arguments.of)?;
    let server = arguments.address.as_deref().unwrap_or(&endpoint.server);
    let secret = register(&hub, arguments, &name, (&endpoint, server), &token).await?;
    let added = Added {
        api_version: OUTPUT_API_VERSION,
        kind: "ClusterAdded",
        name: &name,
        server,
        secret,
        account: &arguments.account,
        namespaces: &arguments.namespaces,
        cluster_admin: arguments.cluster_admin,
    };
    match arguments.output {
        Format::Text | Format::Wide => {
            printer.line(&format!("cluster {name} is registered: kubectl gitops cluster check {name}"));
        }
        Format::Name => printer.line(&name),
        format => output::print(&[added], format, printer)?,
    }
    Ok(code::YES)
}

fn named_well(name: &str) -> Result<(), Failure> {
    let plain = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-' || letter == '.'
    };
    let is_good = !name.is_empty() && name.len() <= 200 && name.chars().all(plain) && name != IN_CLUSTER;
    if is_good && name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Failure::usage(format!("{name:?} is no name for a cluster"))
        .hint("use lower-case letters, digits, - and .: --name NAME"))
}

/// uid of kube-system: what a cluster is known by, whatever its address.
async fn identity(cluster: &Cluster) -> Result<String, Failure> {
    let namespace = cluster.get_json("/api/v1/namespaces/kube-system").await?;
    Ok(namespace.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Makes the account and its rights; its token.
async fn give_access(there: &Cluster, access: &Access<'_>, printer: &Printer) -> Result<Token, Failure> {
    let discovery = there.discovery().await?;
    for namespace in access.needed() {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        match write(there, &discovery, &object, false).await {
            Ok(()) => printer.talk(&format!("made namespace {namespace}")),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    for object in access.objects() {
        write(there, &discovery, &object, true).await?;
    }
    token(there, access).await
}

/// Applies an object, or only makes it.
async fn write(
    cluster: &Cluster,
    discovery: &Discovery,
    object: &Value,
    apply: bool,
) -> Result<(), gitops_cluster::ClusterError> {
    let broken =
        |message: String| gitops_cluster::ClusterError::Other { what: "an object of ours".into(), message };
    let gvk = Gvk::of(object).map_err(|error| broken(error.to_string()))?;
    let key = ObjectKey::of(object).map_err(|error| broken(error.to_string()))?;
    let kind = discovery.kind(&gvk).ok_or_else(|| broken(format!("{gvk} is not served")))?;
    let options = ApplyOptions { field_manager: FIELD_MANAGER, force: apply, ..ApplyOptions::default() };
    if apply {
        cluster.apply(kind, &key, object, &options).await.map(drop)
    } else {
        cluster.create(kind, &key, object, &options).await.map(drop)
    }
}

/// An account's token, and the certificate authority that it comes with.
struct Token {
    token: String,
    /// In base64.
    authority: String,
}

async fn token(there: &Cluster, access: &Access<'_>) -> Result<Token, Failure> {
    let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets/{}", access.token());
    let start = Instant::now();
    loop {
        let secret = there.get_json(&path).await?;
        let field = |name: &str| secret.get("data").and_then(|data| data.get(name)?.as_str());
        if let Some(token) = field("token").and_then(decoded) {
            return Ok(Token { token, authority: field("ca.crt").unwrap_or_default().to_owned() });
        }
        if start.elapsed() > TOKEN {
            return Err(Failure {
                message: format!("Secret {SYSTEM_NAMESPACE}/{} got no token in time", access.token()),
                hint: Some("look at the cluster's kube-controller-manager, and try again".into()),
                code: code::TIMEOUT,
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn decoded(text: &str) -> Option<String> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(text.into()).ok()?;
    String::from_utf8(bytes.0).ok().filter(|text| !text.is_empty())
}

/// Writes the Secret that describes the cluster to the hub.
async fn register(
    hub: &Cluster,
    arguments: &Arguments,
    name: &str,
    (endpoint, server): (&Endpoint, &str),
    token: &Token,
) -> Result<ObjectId, Failure> {
    let namespace = &arguments.registry.clusters_namespace;
    let authority = endpoint.authority.clone().unwrap_or_else(|| token.authority.clone());
    let tls = if endpoint.insecure {
        json!({"insecure": true})
    } else {
        json!({"caData": authority, "serverName": endpoint.server_name.clone().unwrap_or_default()})
    };
    let config = json!({"bearerToken": token.token, "tlsClientConfig": tls});
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": format!("cluster-{name}"), "namespace": namespace,
            "labels": {LABEL_SECRET_TYPE: SECRET_TYPE_CLUSTER}},
        "stringData": {"name": name, "server": server, "config": config.to_string()}});
    if arguments.mirror_secrets {
        secret["metadata"]["annotations"] = json!({ANNOTATION_MIRROR_SECRETS: "true"});
    }
    let discovery = hub.discovery().await?;
    // As the chart makes it, so that a later installation takes it over.
    let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace,
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "gitops", "meta.helm.sh/release-namespace": SYSTEM_NAMESPACE}}});
    match write(hub, &discovery, &home, false).await {
        Err(error) if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Forbidden) => {
            return Err(error.into());
        }
        _ => {}
    }
    write(hub, &discovery, &secret, true).await.map_err(|error| match error.kind() {
        ErrorKind::Forbidden => Failure::from(error)
            .hint(format!("have the right to write Secrets in {namespace} of the hub given to you")),
        _ => error.into(),
    })?;
    let key = ObjectKey {
        group: String::new(),
        kind: "Secret".into(),
        namespace: namespace.clone(),
        name: format!("cluster-{name}"),
    };
    Ok(ObjectId::new(&Gvk::new("v1", "Secret"), &key))
}
