//! Where others fail: amounts in other words, a syncer that is trusted, a stale
//! old object.

use gitops_tests::Shop;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::json;

#[test]
fn the_same_amount_in_other_words_is_no_change() {
    let deployment = DEPLOYMENT.replace(
        "          image: web:1\n",
        "          image: web:1\n          resources: {limits: {cpu: \"1\", memory: 1Gi}}\n",
    );
    let shop = Shop::with(&[("app/config.yaml", CONFIG), ("app/web.yaml", &deployment)]);
    for (cpu, memory) in [("1000m", "1024Mi"), ("1.0", "1073741824"), ("1", "1048576Ki")] {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": cpu, "memory": memory}}}]}}}});
        shop.kubectl_args(&["patch", "deployment", "web", "-p", &patch.to_string()]).ok();
    }
    let more = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "1001m"}}}]}}}});
    shop.kubectl_args(&["patch", "deployment", "web", "-p", &more.to_string()])
        .refused(&["resources.limits.cpu"]);
}

#[test]
fn the_syncer_itself_is_held() {
    let shop = Shop::open();
    // A commit that was never pushed, synced by the plugin with an administrator's kubeconfig.
    let fork = tempfile::tempdir().unwrap();
    let path = fork.path().display().to_string();
    shop.repo.git(&["clone", "--quiet", ".", &path]);
    std::fs::write(fork.path().join("app/web.yaml"), DEPLOYMENT.replace("replicas: 2", "replicas: 8"))
        .unwrap();
    for arguments in [
        ["add", "--all"].as_slice(),
        &["-c", "user.name=e", "-c", "user.email=e@e", "commit", "--quiet", "-m", "mine"],
    ] {
        let mut all = vec!["-C", path.as_str()];
        all.extend(arguments);
        shop.repo.git(&all);
    }
    let ran = shop.cluster.gitops(
        std::path::Path::new("/"),
        &format!("sync web --repo {path} --path app --namespace {}", shop.name()),
    );
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("that commit is unknown here"), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(shop.get("deployment", "web").unwrap()["spec"]["replicas"], 2);
}

#[test]
fn a_stale_old_object_opens_nothing() {
    // Two writers at once on a drifted object: one mends, one would keep the drift in another field's name.
    let shop = Shop::unheld(&[("app/config.yaml", CONFIG), ("app/web.yaml", DEPLOYMENT)]);
    shop.kubectl_stdin("apply -f -", &DEPLOYMENT.replace("replicas: 2", "replicas: 7")).ok();
    shop.hold(json!({}));
    let stale = shop.get("deployment", "web").unwrap();
    shop.kubectl("scale deployment web --replicas=2").ok();
    // With its resourceVersion it conflicts; without, it is judged against what is there now.
    let ran = shop.kubectl_stdin("replace -f -", &stale.to_string());
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    let mut bare = stale.clone();
    bare["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    shop.kubectl_stdin("replace -f -", &bare.to_string()).refused(&["spec.replicas", "7"]);
}
