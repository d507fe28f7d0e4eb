//! Whether a cluster answers. In: a cluster that is registered. Out: what
//! asking it has come to, again and again, and its Applications due whenever
//! that changes.

use std::sync::Arc;
use std::time::Duration;

use gitops_cluster::{ClusterError, ErrorKind};
use serde_json::Value;

use super::events;
use super::member::{Member, Reach};
use crate::controller::Controller;
use crate::schedule::Backoff;

/// Of one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions to one that answers.
const INTERVAL: Duration = Duration::from_secs(10);
/// And to one that does not.
const FAILED: Backoff = Backoff { limit: 0, first: Duration::from_secs(1), max: Duration::from_secs(60) };
/// However much it is doubted, it is not asked more often.
const SPACING: Duration = Duration::from_secs(1);

/// Asks until the cluster is no longer known.
pub async fn follow(controller: Arc<Controller>, member: Arc<Member>) {
    let mut failed = 0;
    loop {
        let reach = ask(&member).await;
        failed = if reach == Reach::There { 0 } else { failed + 1 };
        controller.metrics.cluster(&member.name, reach == Reach::There);
        if matches!(reach, Reach::Away("ClusterUnauthorized", _)) {
            member.refused.notify_one();
        }
        let before = member.note(reach.clone());
        tell(&controller, &member, &before, &reach);
        let pause = if failed == 0 { INTERVAL } else { FAILED.pause(failed) };
        tokio::time::sleep(SPACING).await;
        let _ = tokio::time::timeout(pause.saturating_sub(SPACING), member.doubted.notified()).await;
    }
}

/// Its version is told to everybody, its kinds only to those it knows. One that
/// was made anew at the same address is another one.
async fn ask(member: &Member) -> Reach {
    let cluster = &member.cluster;
    let asked = async {
        cluster.version().await?;
        cluster.get_json("/api/v1").await?;
        match cluster.get_json("/api/v1/namespaces/kube-system").await {
            Ok(namespace) => {
                let uid = namespace.pointer("/metadata/uid").and_then(Value::as_str);
                cluster.identify(uid.unwrap_or_default());
                Ok(())
            }
            // An account may be for some namespaces only.
            Err(error) if error.kind() == ErrorKind::Forbidden => Ok(()),
            Err(error) => Err(error),
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(())) => Reach::There,
        Ok(Err(error)) => Reach::Away(reason(&error), error.to_string()),
        Err(_) => Reach::Away(
            "ClusterUnreachable",
            format!("{} does not answer within {} s", member.cluster.server(), PATIENCE.as_secs()),
        ),
    }
}

fn reason(error: &ClusterError) -> &'static str {
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::Configuration => "ClusterUnauthorized",
        _ => "ClusterUnreachable",
    }
}

fn tell(controller: &Arc<Controller>, member: &Member, before: &Reach, now: &Reach) {
    let kind = |reach: &Reach| match reach {
        Reach::Unknown => "",
        Reach::There => "There",
        Reach::Away(reason, _) => *reason,
    };
    if kind(before) == kind(now) {
        return;
    }
    match now {
        Reach::There => {
            tracing::info!(cluster = member.name, server = member.cluster.server(), "the cluster answers");
            if *before != Reach::Unknown {
                events::cluster(controller, member, false, "ClusterReachable", "it answers again");
            }
        }
        Reach::Away(reason, message) => {
            tracing::warn!(cluster = member.name, error = message, "the cluster cannot be used");
            events::cluster(controller, member, true, reason, message);
        }
        Reach::Unknown => {}
    }
    controller.look_at_cluster(&member.name, *now == Reach::There);
}
