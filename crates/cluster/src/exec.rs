//! Credentials that a command prints (client.authentication.k8s.io). In: what
//! to run. Out: a user with what it printed, and for how long that counts. A
//! command that takes too long is ended: nobody else waits for it.

use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::config::{AuthInfo, ExecConfig};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use crate::error::ClusterError;

/// Of one run.
const PATIENCE: Duration = Duration::from_secs(20);
/// Credentials are made anew so long before they end.
const EARLY: Duration = Duration::from_secs(60);
/// And not more often than this.
const SELDOM: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Printed {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    /// In PEM.
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs the command. None: the credentials count until they are refused.
pub(crate) async fn run(
    exec: &ExecConfig,
    cluster: &kube::config::Cluster,
) -> Result<(AuthInfo, Option<Duration>), ClusterError> {
    let name = exec.command.clone().unwrap_or_default();
    let failed = |reason: String| ClusterError::Configuration(format!("credentials by {name}: {reason}"));
    let mut command = Command::new(&name);
    command.args(exec.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info(exec, cluster));
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .map_err(|_| failed(format!("it has not ended within {} s", PATIENCE.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(failed(format!("{}: {last}", output.status)));
    }
    read(&output.stdout, Timestamp::now()).map_err(failed)
}

/// What the command is told of what it is for.
fn info(exec: &ExecConfig, cluster: &kube::config::Cluster) -> String {
    let mut spec = json!({"interactive": false});
    if exec.provide_cluster_info {
        spec["cluster"] = json!({
            "server": cluster.server,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify.unwrap_or(false),
            "certificate-authority-data": cluster.certificate_authority_data,
        });
    }
    json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec}).to_string()
}

fn read(printed: &[u8], now: Timestamp) -> Result<(AuthInfo, Option<Duration>), String> {
    let printed: Printed =
        serde_json::from_slice(printed).map_err(|error| format!("it prints no ExecCredential: {error}"))?;
    let status = printed.status.ok_or("it prints no status")?;
    let encoded = |text: String| json!(ByteString(text.into_bytes())).as_str().map(str::to_owned);
    let user = AuthInfo {
        token: status.token.filter(|token| !token.is_empty()).map(Into::into),
        client_certificate_data: status.client_certificate_data.and_then(encoded),
        client_key_data: status.client_key_data.and_then(encoded).map(Into::into),
        ..AuthInfo::default()
    };
    let has_certificate = user.client_certificate_data.is_some() && user.client_key_data.is_some();
    if user.token.is_none() && !has_certificate {
        return Err("it prints neither a token nor a certificate with its key".into());
    }
    let valid = match status.expiration_timestamp {
        None => None,
        Some(text) => {
            let end: Timestamp =
                text.parse().map_err(|_| format!("expirationTimestamp {text:?} is no time"))?;
            let left = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            Some(left.saturating_sub(EARLY).max(SELDOM))
        }
    };
    Ok((user, valid))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn printed(status: &serde_json::Value) -> Result<(AuthInfo, Option<Duration>), String> {
        let now = "2026-11-24T10:00:00Z".parse().unwrap();
        read(json!({"kind": "ExecCredential", "status": status}).to_string().as_bytes(), now)
    }

    #[test]
    fn what_is_printed_counts_until_a_minute_before_its_end() {
        let (user, valid) =
            printed(&json!({"token": "t", "expirationTimestamp": "2026-11-24T10:15:00Z"})).unwrap();
        assert!(user.token.is_some());
        assert_eq!(valid, Some(Duration::from_secs(14 * 60)));
        let over = printed(&json!({"token": "t", "expirationTimestamp": "2026-11-24T09:00:00Z"})).unwrap();
        assert_eq!(over.1, Some(SELDOM), "a wrong clock is no reason to run it all the time");
        let (user, valid) = printed(&json!({"clientCertificateData": "C", "clientKeyData": "K"})).unwrap();
        assert_eq!((user.client_certificate_data.as_deref(), valid), (Some("Qw=="), None));
        assert!(printed(&json!({"clientCertificateData": "C"})).unwrap_err().contains("neither"));
        assert!(read(b"hello", Timestamp::UNIX_EPOCH).unwrap_err().contains("no ExecCredential"));
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let exec = |script: &str| ExecConfig {
            command: Some("sh".into()),
            args: Some(vec!["-c".into(), script.into()]),
            ..serde_json::from_value(json!({"provideClusterInfo": true})).unwrap()
        };
        let cluster = kube::config::Cluster { server: Some("https://east".into()), ..Default::default() };
        let error = run(&exec("echo first >&2; echo no login >&2; exit 3"), &cluster).await.unwrap_err();
        assert_eq!(error.to_string(), "kubeconfig: credentials by sh: exit status: 3: no login");
        // What it is for is told to it.
        let told =
            r#"echo "$KUBERNETES_EXEC_INFO" | grep -q https://east && echo '{"status":{"token":"t"}}'"#;
        assert!(run(&exec(told), &cluster).await.unwrap().0.token.is_some());
    }
}
