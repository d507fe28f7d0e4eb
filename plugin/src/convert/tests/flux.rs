//! Flux's resources.

use serde_json::{Value, json};

use super::{Folders, OWN, said};
use crate::convert::{Folder, Holds, Seen};

/// A GitRepository of the repository one stands in, and other sources.
fn sources() -> String {
    let source = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: flux-system}}\nspec: {spec}\n---\n"
        )
    };
    [
        source("GitRepository", "own", &format!("{{url: '{OWN}', ref: {{branch: main}}}}")),
        source("GitRepository", "other", "{url: 'https://h/x', ref: {branch: a, tag: v1}}"),
        source("GitRepository", "ranged", "{url: 'https://h/x', ref: {semver: '>=1.0.0'}}"),
        source("HelmRepository", "charts", "{url: 'https://charts.example'}"),
        source("OCIRepository", "artifact", "{url: 'oci://r.example/team/app', ref: {tag: v2}}"),
        source("Bucket", "bucket", "{bucketName: a, endpoint: b}"),
    ]
    .concat()
}

fn kustomization(name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  {spec}\n---\n"
    )
}

fn release(name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  {spec}\n---\n"
    )
}

fn tree() -> Folders {
    Folders::default()
        .holding("apps/web", Holds::Kustomize)
        .holding("plain", Holds::Plain)
        .holding("charts/web", Holds::Chart)
        .with_file("charts/web/Chart.yaml")
        .with_file("charts/web/prod.yaml")
}

const GIT: &str = "sourceRef: {kind: GitRepository, name: own}";

#[test]
fn kustomizations_are_written_as_ours() {
    let cases: [(&str, Value); 6] = [
        (
            "path: ./apps/web\nprune: true\nsourceRef: {kind: GitRepository, name: own}",
            json!({"source": {"path": "apps/web", "revision": "main"}, "sync": {"mode": "Automatic", "prune": true}}),
        ),
        (
            "path: ./plain\nwait: true\nforce: true\nsuspend: true\nserviceAccountName: sa\nsourceRef: {kind: GitRepository, name: own}",
            json!({"source": {"path": "plain", "revision": "main"}, "suspend": true, "serviceAccountName": "sa", "sync": {"mode": "Automatic", "options": ["Force=true"]}}),
        ),
        (
            "sourceRef: {kind: GitRepository, name: other}",
            json!({"source": {"repo": "https://h/x", "revision": "v1"}, "sync": {"mode": "Automatic"}}),
        ),
        (
            "path: app\nsourceRef: {kind: OCIRepository, name: artifact}",
            json!({"source": {"repo": "oci://r.example/team/app", "revision": "v2", "path": "app"}, "sync": {"mode": "Automatic"}}),
        ),
        (
            "path: apps/web\ntargetNamespace: shop\nimages: [{name: a, newName: b, newTag: '1'}, {name: c, newTag: '2'}, {name: d, digest: 'sha256:e'}]\ncomponents: [../c]\nsourceRef: {kind: GitRepository, name: own}",
            json!({"source": {"path": "apps/web", "revision": "main", "kustomize": {"images": ["a=b:1", "c=c:2", "d=d@sha256:e"], "components": ["../c"]}}, "destination": {"namespace": "shop"}, "sync": {"mode": "Automatic"}}),
        ),
        (
            "path: apps/web\nhealthCheckExprs: [{apiVersion: ex.io/v1, kind: Db, current: status.ready}]\ndriftIgnoreRules: [{paths: [/spec/replicas], target: {kind: Deployment, name: web}}]\nsourceRef: {kind: GitRepository, name: own}",
            json!({"source": {"path": "apps/web", "revision": "main"}, "health": [{"group": "ex.io", "kind": "Db", "cel": "(self.status.ready) ? 'Healthy' : 'Progressing'"}], "ignore": [{"group": "*", "kind": "Deployment", "name": "web", "path": "/spec/replicas"}], "sync": {"mode": "Automatic"}}),
        ),
    ];
    for (spec, expected) in cases {
        let said = said(&(sources() + &kustomization("web", spec)), &tree());
        assert_eq!(said.specs["web"], expected, "{spec}");
        said.finds(&[]);
    }
}

#[test]
fn releases_are_written_as_ours() {
    let sync = json!({"mode": "Automatic", "prune": true, "selfHeal": false});
    let cases: [(&str, Value); 5] = [
        (
            "chart: {spec: {chart: web, version: '>=1.0.0', sourceRef: {kind: HelmRepository, name: charts, namespace: flux-system}}}\nvalues: {a: 1}",
            json!({"source": {"repo": "https://charts.example", "helm": {"chart": "web", "version": ">=1.0.0", "values": {"a": 1}}}, "destination": {"namespace": "shop"}, "sync": sync}),
        ),
        (
            "chart: {spec: {chart: ./charts/web, valuesFiles: [charts/web/values.yaml, charts/web/prod.yaml], sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}\ninstall: {createNamespace: true}",
            json!({"source": {"path": "charts/web", "revision": "main", "helm": {"valueFiles": ["/charts/web/prod.yaml"]}}, "destination": {"namespace": "shop", "createNamespace": true}, "sync": sync}),
        ),
        (
            "chartRef: {kind: OCIRepository, name: artifact, namespace: flux-system}\ntargetNamespace: prod",
            json!({"source": {"repo": "oci://r.example/team", "helm": {"chart": "app", "version": "v2", "releaseName": "prod-web"}}, "destination": {"namespace": "prod"}, "sync": sync}),
        ),
        (
            "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}\nreleaseName: other\ndriftDetection: {mode: enabled, ignore: [{paths: [/spec/replicas]}]}\nsuspend: true",
            json!({"source": {"path": "charts/web", "revision": "main", "helm": {"releaseName": "other"}}, "destination": {"namespace": "shop"}, "suspend": true, "ignore": [{"group": "*", "kind": "*", "path": "/spec/replicas"}], "sync": {"mode": "Automatic", "prune": true}}),
        ),
        (
            "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}",
            json!({"source": {"path": "charts/web", "revision": "main"}, "destination": {"namespace": "shop"}, "sync": sync}),
        ),
    ];
    for (spec, expected) in cases {
        let said = said(&(sources() + &release("web", spec)), &tree());
        assert_eq!(said.specs["web"], expected, "{spec}");
        said.finds(&[]);
    }
}

#[test]
fn what_a_kustomization_cannot_say_is_told() {
    let cases: [(&str, &[(&str, &str)]); 12] = [
        (
            "postBuild: {substitute: {a: b}, substituteFrom: [{kind: Secret, name: s}]}",
            &[
                ("!", "spec.postBuild.substitute of Kustomization flux-system/web: nothing is substituted"),
                ("!", "spec.postBuild.substituteFrom"),
            ],
        ),
        (
            "patches: [{patch: x}]\nnamePrefix: a-\nnameSuffix: -b\ncommonMetadata: {labels: {a: b}}",
            &[
                ("!", "spec.patches"),
                ("!", "spec.namePrefix"),
                ("!", "spec.nameSuffix"),
                ("!", "`labels: [{\"pairs\":{\"a\":\"b\"}}]`"),
            ],
        ),
        (
            "interval: 5m\ntimeout: 1m\nretryInterval: 1m",
            &[("f", "spec.interval"), ("f", "spec.timeout"), ("f", "spec.retryInterval")],
        ),
        ("healthChecks: [{kind: Deployment, name: a}]", &[("f", "spec.healthChecks")]),
        ("decryption: {provider: sops, secretRef: {name: s}}", &[("f", "spec.decryption")]),
        ("deletionPolicy: Orphan", &[("f", "spec.deletionPolicy")]),
        ("kubeConfig: {secretRef: {name: east-kubeconfig}}", &[("!", "--name east")]),
        ("dependsOn: [{name: gone}]", &[("f", "spec.dependsOn[0]")]),
        ("path: gone", &[("!", "gone is not there")]),
        ("path: plain\nimages: [{name: a, newTag: '1'}]", &[("!", "kustomize create")]),
        ("path: other\ntargetNamespace: shop", &[("!", "names namespace else")]),
        ("path: nested", &[("!", "nested/x below it is")]),
    ];
    let seen = Seen {
        file: "other/a.yaml".into(),
        kind: "Service".into(),
        namespace: "else".into(),
        ..Seen::default()
    };
    let tree = tree()
        .with("other", Folder { objects: vec![seen], is_whole: true, ..Folder::default() })
        .with("nested", Folder { inner: vec!["nested/x".into()], ..Folder::default() });
    for (spec, expected) in cases {
        let path = if spec.contains("path:") { "" } else { "path: apps/web\n" };
        let said = said(&(sources() + &kustomization("web", &format!("{path}{spec}\n{GIT}"))), &tree);
        assert!(said.specs.contains_key("web"), "{spec}: {:?}", said.findings);
        said.finds(expected);
    }
}

#[test]
fn what_a_release_cannot_say_is_told() {
    let chart = "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}";
    let cases: [(&str, &[(&str, &str)]); 7] = [
        (
            "valuesFrom: [{kind: Secret, name: s}]",
            &[("!", "spec.valuesFrom[0] of HelmRelease shop/web: values of Secret s")],
        ),
        ("valuesFrom: [{kind: ConfigMap, name: gone}]", &[("!", "not among the files")]),
        ("postRenderers: [{kustomize: {patches: [{patch: x}]}}]", &[("!", "spec.postRenderers")]),
        (
            "install: {crds: Skip, remediation: {retries: 3}}",
            &[("!", "spec.install.crds"), ("f", "spec.install.remediation")],
        ),
        ("upgrade: {crds: CreateReplace, cleanupOnFail: true}", &[("f", "spec.upgrade.cleanupOnFail")]),
        (
            "test: {enable: true}\nmaxHistory: 3\npersistentClient: true",
            &[("f", "spec.test"), ("f", "spec.maxHistory")],
        ),
        ("brandNew: 1", &[("!", "spec.brandNew")]),
    ];
    for (spec, expected) in cases {
        let said = said(&(sources() + &release("web", &format!("{chart}\n{spec}"))), &tree());
        assert!(said.specs.contains_key("web"), "{spec}: {:?}", said.findings);
        said.finds(expected);
    }
    let files = "chart: {spec: {chart: charts/web, valuesFiles: [charts/web/prod.yaml], sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}";
    said(&(sources() + &release("web", files)), &tree()).finds(&[("!", "values.yaml counts, too")]);
}

#[test]
fn what_cannot_be_read_is_left_out_by_itself() {
    let broken = kustomization(
        "web",
        &format!(
            "path: apps/web\nhealthCheckExprs: [{{apiVersion: a/v1, kind: Db, current: 'status.'}}]\n{GIT}"
        ),
    );
    let nameless = kustomization("Web_1", &format!("path: apps/web\n{GIT}"));
    let labelled = kustomization("labelled", &format!("path: apps/web\n{GIT}"))
        .replace("namespace: flux-system}", "labels: {a: 1}}");
    let good = kustomization("good", &format!("path: apps/web\n{GIT}"));
    let said = said(&(sources() + &broken + &nameless + &labelled + &good), &tree());
    assert_eq!(said.specs.keys().collect::<Vec<_>>(), ["good", "web"]);
    said.finds(&[("f", "cannot be read here"), ("!", "no name"), ("!", "its Application cannot be read")]);
}

#[test]
fn a_folder_of_releases_is_what_its_kustomization_makes_of_them() {
    let seen = |group: &str, kind: &str, name: &str| Seen {
        file: "apps/r.yaml".into(),
        group: group.into(),
        kind: kind.into(),
        name: name.into(),
        ..Seen::default()
    };
    let objects = vec![seen("", "Namespace", "shop"), seen("helm.toolkit.fluxcd.io", "HelmRelease", "db")];
    let folder =
        Folder { holds: Holds::Kustomize, objects, is_whole: true, changes: true, ..Folder::default() };
    let chart = "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}";
    let text = sources() + &kustomization("web", &format!("path: apps\n{GIT}")) + &release("db", chart);
    let said = said(&text, &tree().with("apps", folder));
    // The Namespace is nobody else's.
    assert_eq!(said.specs.keys().collect::<Vec<_>>(), ["db", "web"]);
    said.finds(&[
        ("!", "kustomize build"),
        ("f", "apps/r.yaml holds HelmRelease db, which would be applied as it is"),
    ]);
}

#[test]
fn releases_wait_for_what_their_kustomization_waits_for() {
    let seen = |kind: &str, name: &str| Seen {
        file: "f.yaml".into(),
        group: "helm.toolkit.fluxcd.io".into(),
        kind: kind.into(),
        name: name.into(),
        ..Seen::default()
    };
    let folder =
        |name: &str| Folder { objects: vec![seen("HelmRelease", name)], is_whole: true, ..Folder::default() };
    let tree = tree().with("infra", folder("db")).with("apps", folder("api"));
    let chart = "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}";
    let text = sources()
        + &kustomization("infra", &format!("path: infra\n{GIT}"))
        + &kustomization("apps", &format!("path: apps\ndependsOn: [{{name: infra}}]\n{GIT}"))
        + &kustomization("web", &format!("path: apps/web\ndependsOn: [{{name: apps}}]\n{GIT}"))
        + &release("db", chart)
        + &release("api", chart);
    let said = said(&text, &tree);
    let after = |name: &str| said.specs[name].get("dependsOn").cloned().unwrap_or_default();
    assert_eq!(
        (after("db"), after("api"), after("web")),
        (json!(null), json!([{"name": "db"}]), json!([{"name": "api"}]))
    );
    // Both folders are nothing but releases.
    said.finds(&[("f", "left out"), ("f", "left out")]);
}

#[test]
fn values_of_config_maps_among_the_files_are_copied() {
    let spec = "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}\nvaluesFrom: [{kind: ConfigMap, name: v}, {kind: ConfigMap, name: v, valuesKey: number, targetPath: c.d}]\nvalues: {b: 3}";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: v, namespace: shop}\ndata: {values.yaml: 'a: 1\n\n  b: 2', number: '7'}\n---\n";
    let said = said(&(sources() + map + &release("web", spec)), &tree());
    assert_eq!(said.specs["web"]["source"]["helm"]["values"], json!({"a": 1, "b": 3, "c": {"d": 7}}));
    said.finds(&[("f", "valuesFrom[0]"), ("f", "valuesFrom[1]")]);
}

#[test]
fn what_makes_no_sense_alone_is_left_out() {
    let cases = [
        (kustomization("web", "sourceRef: {kind: GitRepository, name: gone}"), "--from"),
        (kustomization("web", "sourceRef: {kind: Bucket, name: bucket}"), "a Bucket is no source"),
        (release("web", "values: {a: 1}"), "kustomize build"),
        (
            release("web", "chart: {spec: {chart: a, sourceRef: {kind: Bucket, name: bucket}}}"),
            "a Bucket is no source",
        ),
    ];
    for (text, word) in cases {
        let said = said(&(sources() + &text), &tree());
        assert!(said.specs.is_empty(), "{text}");
        said.finds(&[("!", word)]);
    }
    let patch = "chart: {spec: {version: '>=1'}}";
    said(&(sources() + &release("web", patch)), &tree())
        .finds(&[("!f.yaml:31: HelmRelease shop/web", "a patch is read")]);
    let ranged =
        said(&(sources() + &kustomization("web", "sourceRef: {kind: GitRepository, name: ranged}")), &tree());
    ranged.finds(&[("!", "range of tags")]);
    assert_eq!(ranged.specs["web"]["source"]["revision"], ">=1.0.0");
    let other = "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata: {name: a}\n---\napiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: b}\n---\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    said(other, &tree())
        .finds(&[("f.yaml:1: Receiver a", "controller.md"), ("f.yaml:5: ImagePolicy b", "set-image")]);
}

#[test]
fn who_waits_for_whom_goes_along_under_the_new_names() {
    let chart = "chart: {spec: {chart: charts/web, sourceRef: {kind: GitRepository, name: own, namespace: flux-system}}}";
    let text = sources()
        + &kustomization("web", &format!("path: apps/web\ndependsOn: [{{name: infra}}]\n{GIT}"))
        + &kustomization("infra", &format!("path: plain\n{GIT}"))
        + &release("db", &format!("{chart}\ndependsOn: [{{name: web}}]"))
        + &release("web", chart);
    let said = said(&text, &tree());
    assert_eq!(said.specs["web"]["dependsOn"], json!([{"name": "infra"}]));
    assert_eq!(said.specs["db"]["dependsOn"], json!([{"name": "shop-web"}]));
    assert_eq!(said.specs["shop-web"]["source"]["helm"]["releaseName"], "web");
    said.finds(&[("f", "the Application is called shop-web")]);
}
