//! The chart's pods on a real node: installed by both helms, stopped and
//! replaced under writes, with a new certificate, and gone without a trace.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use gitops_tests::cluster::{Ran, eventually};
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use gitops_tests::{GitServer, NodeCluster, Repo, TestCluster};
use serde_json::json;

const IMAGE: &str =
    "--set image.repository=localhost/gitops,image.tag=dev,image.pullPolicy=Never --namespace gitops-system";

fn helm(cluster: &TestCluster, program: &str, arguments: &str) -> Ran {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = cluster.command(program);
    command.current_dir(root).args(arguments.split_whitespace());
    gitops_tests::cluster::ran(&mut command, None)
}

fn rolled_out(cluster: &TestCluster) {
    for name in ["gitops-webhook", "gitops-controller"] {
        let status = format!("rollout status deployment {name} --namespace gitops-system --timeout=120s");
        cluster.kubectl(&status).ok();
    }
}

fn drift(cluster: &TestCluster) -> Ran {
    cluster.kubectl_args(&[
        "patch",
        "configmap",
        "web",
        "-n",
        "shop",
        "-p",
        r#"{"data":{"greeting":"evil"}}"#,
    ])
}

/// Writes of both sorts, side by side with what `disturb` does: nothing that
/// Git does not say gets in. Returns how many harmless writes failed, of all.
fn under_writes(cluster: &TestCluster, disturb: impl FnOnce()) -> (u32, u32) {
    let stop = AtomicBool::new(false);
    let (harmless, failed, drifts) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..400 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let wrote =
                    cluster.kubectl(&format!("annotate configmap web -n shop --overwrite round=r{round}"));
                harmless.fetch_add(1, Ordering::Relaxed);
                if wrote.code != 0 {
                    eprintln!("a harmless write failed: {}", wrote.stderr.trim());
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..400 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                assert_ne!(drift(cluster).code, 0, "drift got in");
                drifts.fetch_add(1, Ordering::Relaxed);
            }
        });
        disturb();
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
    });
    let live = cluster.kubectl("get configmap web -n shop -o jsonpath={.data.greeting}").ok();
    assert_eq!(live.stdout, "hello");
    assert!(drifts.into_inner() > 3, "too few writes to say anything");
    (failed.into_inner(), harmless.into_inner())
}

/// The webhook's.
fn pods(cluster: &TestCluster) -> Vec<String> {
    let listed = cluster.kubectl(
        "get pods -n gitops-system -l app.kubernetes.io/component=webhook --field-selector=status.phase=Running -o json",
    );
    let listed: serde_json::Value = serde_json::from_str(&listed.ok().stdout).unwrap();
    let all = listed["items"].as_array().unwrap().iter().map(|pod| &pod["metadata"]);
    // Those of a release that was taken away may still be going.
    let there = all.filter(|metadata| metadata.get("deletionTimestamp").is_none());
    there.map(|metadata| metadata["name"].as_str().unwrap().to_owned()).collect()
}

/// The logs of a real Pod, in every form.
fn logs_are_read(node: &NodeCluster) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "said"}, "spec": {"restartPolicy": "Never", "containers": [
        {"name": "one", "image": "localhost/gitops:dev", "imagePullPolicy": "Never", "command": ["/usr/local/bin/gitops-controller", "--version"]}]}});
    let repo = Repo::with(&[("app/pod.yaml", &pod.to_string())]);
    let cluster = &node.cluster;
    cluster.kubectl("create namespace said").ok();
    let gitops =
        |arguments: &str| cluster.gitops(repo.path(), &format!("{arguments} --repo . --path app -n said"));
    gitops("sync --local").ok();
    cluster.kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod said -n said --timeout=60s").ok();
    let text = gitops("logs").ok().stdout;
    assert!(text.starts_with("said/one gitops-controller "), "{text}");
    let line = serde_json::from_str::<serde_json::Value>(&gitops("logs -o jsonl --tail 1").ok().stdout);
    let line = line.unwrap();
    assert_eq!(
        (&line["pod"], &line["container"], &line["namespace"]),
        (&json!("said"), &json!("one"), &json!("said"))
    );
    let logs = gitops("logs -o json").ok().json();
    assert_eq!((&logs["kind"], &logs["lines"][0]), (&json!("Logs"), &line));
    assert_eq!(gitops("logs -o name").ok().stdout, "pod/said\n");
    let endless = gitops("logs -f -o yaml").code(2).stderr;
    assert!(endless.contains("hint: follow with -o jsonl"), "{endless}");

    // Another container, which has run before.
    let mut again = pod;
    again["metadata"]["name"] = "again".into();
    again["spec"]["restartPolicy"] = "OnFailure".into();
    again["spec"]["containers"][0]["name"] = "two".into();
    again["spec"]["containers"][0]["command"][1] = "--no-such-flag".into();
    repo.commit("again", &[("app/again.yaml", &again.to_string())]);
    gitops("sync --local").ok();
    let before = eventually("it has run before", Duration::from_secs(60), || {
        Some(gitops("logs --previous -c two"))
            .filter(|ran| ran.code == 0 && ran.stdout.contains("no-such-flag"))
    });
    assert!(before.stdout.lines().all(|line| line.starts_with("again/two ")), "{}", before.stdout);
    assert_eq!(gitops("logs -c one -o name").ok().stdout, "pod/said\n");
    let nobody = gitops("logs -c three").code(2).stderr;
    assert!(nobody.contains("with a container \"three\""), "{nobody}");
    // It has ended long ago, and printed all that it ever will.
    assert!(gitops("logs -c one --since 1h").ok().stdout.contains("said/one gitops-controller "));
    let late = gitops("logs -c one --since 1s");
    assert_eq!((late.code, late.stdout.as_str()), (0, ""), "{}", late.stderr);
}

#[test]
fn installed_stopped_renewed_upgraded_and_uninstalled() {
    let user = std::process::Command::new("id").arg("-u").output().unwrap();
    if std::env::consts::OS != "linux" || String::from_utf8_lossy(&user.stdout).trim() != "0" {
        eprintln!("skipped: a node needs Linux and root");
        return;
    }
    let node = NodeCluster::up("installed");
    let cluster = &node.cluster;
    node.load_image(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/gitops.tar"));

    // helm 3, which does not wait; the pods come by themselves.
    helm(cluster, "helm3", &format!("install gitops charts/gitops --create-namespace {IMAGE}")).ok();
    rolled_out(cluster);
    helm(cluster, "helm3", "test gitops --namespace gitops-system --timeout 120s").ok();
    let repo = Repo::with(&[
        ("app/web.yaml", &DEPLOYMENT.replace("replicas: 2", "replicas: 0")),
        ("app/config.yaml", CONFIG),
    ]);
    let root = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", &root.path().join("shop.git").display().to_string()]);
    let server = GitServer::start(root.path(), &format!("{}:0", node.host_address()), None).unwrap();
    let url = server.url("shop.git");
    cluster.kubectl("create namespace shop").ok();
    for object in [
        json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Project", "metadata": {"name": "shop"}, "spec": {
            "applicationNamespaces": ["shop"], "repositories": [{"url": url}], "destinations": [{"namespaces": ["shop"]}]}}),
        json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Application", "metadata": {"name": "web", "namespace": "shop"}, "spec": {
            "project": "shop", "source": {"repo": url, "revision": "main", "path": "app"}, "destination": {"namespace": "shop"}}}),
    ] {
        cluster.kubectl_stdin("apply -f -", &object.to_string()).ok();
    }
    cluster.gitops(Path::new("/"), "sync web -n shop --local").ok();
    cluster.kubectl("wait --for=condition=Enforced application web -n shop --timeout=60s").ok();
    eventually("drift is refused", Duration::from_secs(20), || {
        drift(cluster).stderr.contains("denied the request").then_some(()).or_else(|| {
            cluster.gitops(Path::new("/"), "sync web -n shop --local");
            None
        })
    });
    cluster.gitops(Path::new("/"), "sync web -n shop --local").ok();

    // One pod goes as Kubernetes takes it away: nobody notices.
    let (failed, all) = under_writes(cluster, || {
        cluster.kubectl(&format!("delete pod -n gitops-system {}", pods(cluster)[0])).ok();
        rolled_out(cluster);
    });
    assert_eq!(failed, 0, "of {all} harmless writes");
    // All of them at once, without a word: what cannot be judged is refused.
    under_writes(cluster, || {
        cluster
            .kubectl(&format!(
                "delete pod -n gitops-system --force --grace-period=0 {}",
                pods(cluster).join(" ")
            ))
            .ok();
        rolled_out(cluster);
    });

    // A certificate that is taken away is made anew, and taken over.
    let secrets =
        cluster.kubectl("get secrets -n gitops-system --field-selector=type=kubernetes.io/tls -o name").ok();
    let secret = secrets.stdout.trim().to_owned();
    cluster.kubectl(&format!("delete -n gitops-system {secret}")).ok();
    eventually("a new certificate", Duration::from_secs(60), || {
        (cluster.kubectl(&format!("get -n gitops-system {secret}")).code == 0).then_some(())
    });
    eventually("the webhook answers with it", Duration::from_secs(60), || {
        let passes = cluster.kubectl("annotate configmap web -n shop --overwrite certificate=new").code == 0;
        (passes && drift(cluster).stderr.contains("denied the request")).then_some(())
    });

    // helm 4 takes the release over, and waits.
    let (failed, all) = under_writes(cluster, || {
        let upgrade = format!(
            "upgrade gitops charts/gitops {IMAGE} --set webhook.logFormat=text --wait --timeout 120s"
        );
        helm(cluster, "helm", &upgrade).ok();
    });
    assert_eq!(failed, 0, "of {all} harmless writes during the upgrade");

    // A push becomes live by itself, by the RBAC of the chart.
    let upgrade = format!(
        "upgrade gitops charts/gitops {IMAGE} --set controller.namespaces={{shop}},controller.pollInterval=1s --wait --timeout 120s"
    );
    helm(cluster, "helm", &upgrade).ok();
    cluster.gitops(Path::new("/"), "app set web -n shop --sync Automatic").ok();
    repo.commit("Goodbye", &[("app/config.yaml", &CONFIG.replace("hello", "goodbye"))]);
    repo.git(&["push", "--quiet", &root.path().join("shop.git").display().to_string(), "HEAD:main"]);
    eventually("the push is live", Duration::from_secs(120), || {
        let live = cluster.kubectl("get configmap web -n shop -o jsonpath={.data.greeting}").stdout;
        (live == "goodbye").then_some(())
    });

    // Time zones are known in the image, which has no files of them.
    for (zone, code) in [("Europe/Berlin", 0), ("Mars/Base", 1)] {
        let window = json!({"kind": "Allow", "schedule": "0 8 * * 1-5", "duration": "8h", "timeZone": zone});
        let patch = json!({"spec": {"sync": {"windows": [window]}}}).to_string();
        let arguments =
            ["patch", "application", "web", "-n", "shop", "--type=merge", "--dry-run=server", "-p"];
        cluster.kubectl_args(&[&arguments[..], &[&patch]].concat()).code(code);
    }

    helm(cluster, "helm", "uninstall gitops --namespace gitops-system --wait").ok();
    assert_eq!(drift(cluster).code, 0, "nothing holds the cluster any more");
    cluster.kubectl("delete namespace shop --timeout=60s").ok();
    logs_are_read(&node);
    for (program, wait) in
        [("helm", "--wait --timeout 120s"), ("helm3", "--wait --timeout 120s"), ("helm", "")]
    {
        helm(cluster, program, &format!("install gitops charts/gitops {IMAGE} {wait}")).ok();
        if !wait.is_empty() {
            assert_eq!(pods(cluster).len(), 2, "{program} {wait}");
        }
        rolled_out(cluster);
        helm(cluster, program, "uninstall gitops --namespace gitops-system --wait").ok();
    }
    cluster.kubectl("delete namespace gitops-system --timeout=60s").ok();
}
