//! What two want: an object of two Applications, a field that somebody fights
//! over.

use std::time::Duration;

use gitops_tests::cluster::eventually;
use gitops_tests::shop::CONFIG;
use gitops_tests::{Repo, Shop};
use serde_json::{Value, json};

use super::{API, gitops};

#[test]
fn what_two_applications_declare_is_written_by_the_older_alone_in_both_orders() {
    for younger_first in [false, true] {
        let shop = Shop::unheld(&[("app/config.yaml", CONFIG)]);
        let other = Repo::with(&[("app/config.yaml", &CONFIG.replace("hello", "mine"))]);
        shop.hold(json!({}));
        let second = json!({"apiVersion": API, "kind": "Application", "metadata": {"name": "second"}, "spec": {
            "project": shop.name(), "source": {"repo": other.url(), "revision": "main", "path": "app"}, "destination": {"namespace": shop.name()}}});
        // Creation times have seconds.
        std::thread::sleep(Duration::from_millis(1100));
        shop.kubectl_stdin("apply -f -", &second.to_string()).ok();
        let told = |name: &str| {
            eventually(&format!("{name} is told"), Duration::from_secs(30), || {
                let conditions = shop.get("application", name)?["status"]["conditions"].as_array()?.clone();
                conditions
                    .iter()
                    .find(|known| known["reason"] == "Conflicts")
                    .map(|known| known["message"].clone())
            })
        };
        told("second");
        told("web");
        let younger = || gitops(&shop, &format!("sync second -n {}", shop.name()));
        if younger_first {
            // Nothing says whose it is yet; the webhook does.
            assert_ne!(younger().code, 0);
        }
        shop.sync().ok();
        let ran = younger();
        assert_eq!(ran.code, 6, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(&format!("{}/web owns it", shop.name())), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(shop.get("configmap", "web").unwrap()["data"]["greeting"], "hello");
    }
}

#[test]
fn who_fights_over_a_field_is_named() {
    let shop = Shop::open();
    for _ in 0..6 {
        shop.kubectl("--as=fighter --as-group=system:masters scale deployment web --replicas=9")
            .refused(&["spec.replicas"]);
    }
    let message = eventually("the condition names them", Duration::from_secs(20), || {
        let conditions = shop.get("application", "web")?["status"]["conditions"].as_array()?.clone();
        conditions
            .iter()
            .find(|known| known["reason"] == "Contended")
            .and_then(|known| known["message"].as_str().map(str::to_owned))
    });
    assert!(
        message.contains("fighter") && message.contains("spec.replicas") && message.contains("Deployment"),
        "{message}"
    );
    let contended = || -> Vec<Value> {
        let events = shop.kubectl("get events -o json").json();
        events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["reason"] == "Contended")
            .cloned()
            .collect()
    };
    eventually("an Event", Duration::from_secs(20), || (contended().len() == 1).then_some(()));
}
