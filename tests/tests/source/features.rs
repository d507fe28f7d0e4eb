//! What plain folders, kustomizations and charts can be told, feature by feature.

use gitops_core::desired::Rendered;
use gitops_tests::Repo;
use serde_json::{Value, json};

use super::{Bench, config_map, request};

fn names(objects: &[Rendered]) -> Vec<&str> {
    let mut names: Vec<&str> =
        objects.iter().map(|object| object.value["metadata"]["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn files_of_a_folder_are_chosen() {
    let bench = Bench::new();
    let map = |name: &str| config_map(name, "1");
    let json = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "json"}}"#;
    let repo = Repo::with(&[
        ("app/a.yaml", &map("a")),
        ("app/b.yml", &map("b")),
        ("app/c.json", json),
        ("app/notes.txt", "no object"),
        ("app/.hidden/d.yaml", &map("hidden")),
        ("app/deep/e.yaml", &map("e")),
        ("app/deep/tests/f.yaml", &map("f")),
    ]);
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (recurse, include, exclude, wanted) in [
        (true, &[][..], &[][..], &["a", "b", "e", "f", "json"][..]),
        (false, &[], &[], &["a", "b", "json"]),
        (true, &["*.yaml"], &[], &["a", "e", "f"]),
        (true, &["deep/**"], &["**/tests/*"], &["e"]),
        (true, &["{a,b}.{yaml,yml}", "*.json"], &["b*"], &["a", "json"]),
    ] {
        let mut asked = request("app");
        asked.plain.recurse = recurse;
        (asked.plain.include, asked.plain.exclude) = (texts(include), texts(exclude));
        assert_eq!(names(&bench.render(&repo, &asked).unwrap()), wanted, "{include:?} {exclude:?}");
    }
    let mut asked = request("app");
    asked.plain.include = texts(&["["]);
    assert!(bench.refusal(&repo, &asked).starts_with("[: "));
}

#[test]
fn a_kustomization_says_all_that_kustomize_reads_and_the_application_adds_to_it() {
    let bench = Bench::new();
    let workload = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: web:1}, {name: log, image: log:1}]}\n";
    let top = "resources: [web.yaml]\nnamePrefix: p-\nnameSuffix: -s\nnamespace: other\nimages: [{name: log, newName: mirror.example/log, newTag: \"2\"}]\nreplicas: [{name: web, count: 4}]\nlabels: [{pairs: {team: blue}}]\ncommonAnnotations: {note: hello}\ncomponents: [../own]\npatches: [{path: patch.yaml}]\n";
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {minReadySeconds: 7}\n";
    let component = |label: &str| {
        format!(
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{{pairs: {{{label}: yes-it-is}}}}]\n"
        )
    };
    let repo = Repo::with(&[
        ("app/kustomization.yaml", top),
        ("app/web.yaml", workload),
        ("app/patch.yaml", patch),
        ("own/kustomization.yaml", &component("own")),
        ("more/kustomization.yaml", &component("more")),
    ]);
    let mut asked = request("app");
    asked.kustomize.images = vec!["web=registry.example/web:3".into()];
    asked.kustomize.components = vec!["../more".into()];
    let objects = bench.render(&repo, &asked).unwrap();
    let web = &objects[0].value;
    let metadata = json!({"name": "p-web-s", "namespace": "other", "annotations": {"note": "hello"},
        "labels": {"team": "blue", "own": "yes-it-is", "more": "yes-it-is"}});
    assert_eq!(web["metadata"], metadata);
    let images: Vec<&Value> = web["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["image"])
        .collect();
    assert_eq!(images, ["registry.example/web:3", "mirror.example/log:2"]);
    assert_eq!((&web["spec"]["replicas"], &web["spec"]["minReadySeconds"]), (&json!(4), &json!(7)));
    assert_eq!(&*objects[0].file, "app/web.yaml");
}

#[test]
fn a_chart_is_rendered_for_its_destination() {
    let bench = Bench::new();
    let template = "{{ if .Capabilities.APIVersions.Has \"ex.io/v1/Db\" }}\napiVersion: ex.io/v1\nkind: Db\nmetadata: {name: db}\n---\n{{ end }}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}\ndata: {version: {{ .Capabilities.KubeVersion.Version | quote }}, install: {{ .Release.IsInstall | quote }}}\n";
    let hook = |name: &str, at: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{helm.sh/hook: \"{at}\"}}}}\n"
        )
    };
    let repo = Repo::with(&[
        ("app/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\nkubeVersion: \">= 1.30.0-0\"\n"),
        ("app/templates/a.yaml", template),
        ("app/templates/before.yaml", &hook("before", "pre-install,pre-upgrade")),
        ("app/templates/test.yaml", &hook("test", "test")),
        ("app/crds/b.yaml", &config_map("from-crds", "1")),
    ]);
    let mut asked = request("app");
    asked.helm.release_name = "named".into();
    let objects = bench.render(&repo, &asked).unwrap();
    assert_eq!(names(&objects), ["before", "from-crds", "named"]);
    let named = |objects: &[Rendered]| {
        let found = objects.iter().find(|object| object.value["metadata"]["name"] == "named");
        found.unwrap().value.clone()
    };
    let web = named(&objects);
    assert_eq!((&web["metadata"]["namespace"], &web["data"]["version"]), (&json!("shop"), &json!("v1.37.2")));
    // Another destination is another render, also from the cache.
    asked.api_versions = vec!["ex.io/v1/Db".into(), "ex.io/v1".into()];
    asked.kube_version = "1.36.1".into();
    for _ in 0..2 {
        let objects = bench.render(&repo, &asked).unwrap();
        assert_eq!(names(&objects), ["before", "db", "from-crds", "named"]);
        assert_eq!(named(&objects)["data"]["version"], "v1.36.1");
    }
    asked.kube_version = "1.29.0".into();
    assert!(bench.refusal(&repo, &asked).contains("kubeVersion"));
}
