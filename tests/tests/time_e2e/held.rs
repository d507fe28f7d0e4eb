//! A version that a Rollout holds back, while no webhook answers, and when one
//! comes back that knows nothing.

use gitops_tests::Replica;
use gitops_tests::cluster::eventually;
use gitops_tests::shop::{CONFIG, DEPLOYMENT};
use serde_json::json;

use crate::{LIMIT, Stage, cluster};

pub fn a_held_version_stays_held_without_a_webhook_and_with_a_cold_one() {
    let rollout = json!({"apiVersion": "kubectl-gitops.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}, "spec": {
        "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}}});
    let rollout = rollout.to_string();
    let files =
        [("app/web.yaml", DEPLOYMENT), ("app/config.yaml", CONFIG), ("app/rollout.yaml", rollout.as_str())];
    let stage = Stage::of(&files);
    let server = stage.server("127.0.0.1:0");
    let webhook = stage.replica("warm", &Replica::default());
    stage.hold(&server);
    let commit = stage.push("web:2", &[]);
    eventually("the newest commit is copied", LIMIT, || {
        let list = cluster().kubectl("get secrets --namespace gitops-system -o json").ok().json();
        let of_it = |secret: &&serde_json::Value| {
            let annotations = &secret["metadata"]["annotations"];
            annotations["kubectl-gitops.dev/copy-of"] == format!("{}/web", stage.shop.name())
                && annotations["kubectl-gitops.dev/copy-revision"] == *commit
        };
        list["items"].as_array()?.iter().find(of_it).map(drop)
    });
    // Nobody drives the Rollout: what runs stays.
    stage.shop.sync().ok();
    stage.set_image("web:2").refused(&["web:1"]);
    drop(server);
    webhook.kill();
    let tried = stage.set_image("web:2");
    assert!(tried.code != 0 && tried.stderr.contains("failed calling webhook"), "{}", tried.stderr);
    // Neither Git nor a disk: it holds what the copy in the cluster says.
    let _webhook = stage.replica("cold", &Replica::default());
    eventually("the cold replica is asked", LIMIT, || {
        stage.set_image("evil").stderr.contains("is kept as Git says").then_some(())
    });
    stage.set_image("web:2").refused(&["is kept as Git says"]);
    assert_eq!(stage.image(), "web:1");
}
