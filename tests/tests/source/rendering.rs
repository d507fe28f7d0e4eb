//! What a good repository renders to, and what a mistaken one says.

use gitops_source::SourceType;
use gitops_tests::Repo;
use serde_json::json;

use super::{Bench, config_map, request};

const CHART: (&str, &str) = ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n");

#[test]
fn a_kustomization_at_the_root_is_built_and_keeps_its_files_names() {
    let bench = Bench::new();
    let repo = Repo::with(&[
        ("kustomization.yaml", "resources: [base, b.yaml]\nnamePrefix: p-\n"),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", &config_map("a", "1")),
        ("b.yaml", &config_map("b", "1")),
    ]);
    for path in ["", ".", "./", "/"] {
        let objects = bench.render(&repo, &request(path)).unwrap();
        let mut found: Vec<(&str, &str)> = objects
            .iter()
            .map(|object| (object.value["metadata"]["name"].as_str().unwrap(), &*object.file))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [("p-a", "base/a.yaml"), ("p-b", "b.yaml")], "{path:?}");
    }
    let objects = bench.render(&repo, &request("./base/")).unwrap();
    assert_eq!(&*objects[0].file, "base/a.yaml");
    let error = bench.refusal(&repo, &request("base/../.."));
    assert!(error.contains("has no .. in it"), "{error}");
}

#[test]
fn a_chart_that_is_not_the_same_twice_is_refused_by_path() {
    for (template, path) in [
        ("x: {{ randAlphaNum 8 | quote }}", "data.x"),
        ("x: {{ now | unixEpoch | quote }}", "data.x"),
        ("x: {{ now | date \"2006\" | quote }}", "data.x"),
        ("x: {{ genCA \"a\" 1 | toString | b64enc }}", "data.x"),
    ] {
        let bench = Bench::new();
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  {template}\n");
        let repo = Repo::with(&[CHART, ("templates/a.yaml", &text)]);
        let error = bench.refusal(&repo, &request(""));
        assert!(error.contains("ConfigMap a") && error.contains(path), "{template}: {error}");
    }
    let bench = Bench::new();
    let repo = Repo::with(&[
        CHART,
        ("templates/a.yaml", &format!("{}# {{{{ now }}}}\n", config_map("a", "{{ \"right now\" | quote }}"))),
        ("templates/NOTES.txt", "{{ now }}"),
    ]);
    let objects = bench.render(&repo, &request("")).unwrap();
    assert_eq!(
        objects[0].value["data"],
        json!({"key": "right now"}),
        "now in a comment or in the notes is harmless"
    );
}

#[test]
fn a_packed_dependency_that_asks_for_the_time_is_found() {
    let bench = Bench::new();
    let chart = "apiVersion: v2\nname: c\nversion: 1.0.0\ndependencies: [{name: d, version: 1.0.0}]\n";
    let repo = Repo::with(&[
        ("Chart.yaml", chart),
        ("charts/d/Chart.yaml", "apiVersion: v2\nname: d\nversion: 1.0.0\n"),
        ("charts/d/templates/a.yaml", &config_map("a", "{{ now | date \"2006\" | quote }}")),
    ]);
    let packed = std::process::Command::new("tar")
        .args(["-czf", "d-1.0.0.tgz", "d"])
        .current_dir(repo.file("charts"))
        .status()
        .unwrap();
    assert!(packed.success());
    std::fs::remove_dir_all(repo.file("charts/d")).unwrap();
    repo.commit_all("packed");
    let error = bench.refusal(&repo, &request(""));
    assert!(error.contains("data.key is another value"), "{error}");
}

#[test]
fn chance_is_found_wherever_a_template_calls_it() {
    let helper = "{{- define \"c.random\" }}{{ randAlphaNum 16 | quote }}{{ end -}}";
    let dependency = "apiVersion: v2\nname: d\nversion: 1.0.0\n";
    let tpl = config_map("a", "{{ tpl .Values.text . | quote }}");
    for files in [
        // A helper whose name is made up.
        &[
            ("templates/_helpers.tpl", helper),
            ("templates/a.yaml", &config_map("a", "{{ include (printf \"c.%s\" .Values.name) . }}")),
            ("values.yaml", "name: random\n"),
        ][..],
        // Code in values, whole and in pieces.
        &[("templates/a.yaml", &tpl), ("values.yaml", "text: '{{ randAlphaNum 16 }}'\n")],
        &[
            ("templates/a.yaml", &tpl.replace(".Values.text", "(printf \"{{ %s 16 }}\" .Values.text)")),
            ("values.yaml", "text: randAlphaNum\n"),
        ],
        // A chart inside of the chart.
        &[
            ("charts/d/Chart.yaml", dependency),
            ("charts/d/templates/a.yaml", &config_map("a", "{{ uuidv4 }}")),
        ],
    ] {
        let repo = Repo::with(&[CHART]);
        repo.commit("chart", files);
        let error = Bench::new().refusal(&repo, &request(""));
        assert!(error.contains("data.key is another value"), "{files:?}: {error}");
    }
}

/// A helm that gives another value whenever it is run again for a render.
const FICKLE: &str = "#!/bin/sh
if [ \"$1\" = version ]; then echo v4.1.0; exit; fi
turn=1; [ -e \"$HOME/ran\" ] && turn=2; : > \"$HOME/ran\"
printf -- '---\\n# Source: c/templates/a.yaml\\napiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: a}\\ndata: {turn: \"%s\"}\\n' $turn
";

#[test]
fn only_a_chart_that_may_be_another_is_rendered_twice() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    let tool = bench.home.path().join("helm");
    std::fs::write(&tool, FICKLE).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    bench.tools.helm = tool;
    let repo = Repo::with(&[CHART, ("templates/a.yaml", &config_map("a", "{{ .Values.now | quote }}"))]);
    let objects = bench.render(&repo, &request("")).unwrap();
    assert_eq!(objects[0].value["data"], json!({"turn": "1"}));
    repo.commit("now", &[("templates/b.yaml", "# {{ now }}\n")]);
    let error = bench.refusal(&repo, &request(""));
    assert!(error.contains("data.turn is another value"), "{error}");
}

#[test]
fn a_chart_takes_values_as_helm_does() {
    let bench = Bench::new();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  {{- range $k, $v := .Values }}\n  {{ $k }}: {{ printf \"%T %v\" $v $v | quote }}\n  {{- end }}\n";
    let repo = Repo::with(&[
        ("chart/Chart.yaml", CHART.1),
        ("chart/values.yaml", "a: 1\n"),
        ("chart/own.yaml", "b: from-own\n"),
        ("shared.yaml", "c: from-shared\n"),
        ("chart/templates/a.yaml", template),
        (
            "chart/crds/two.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n",
        ),
    ]);
    let mut wanted = request("chart");
    wanted.helm.value_files = vec!["own.yaml".into(), "/shared.yaml".into()];
    wanted.helm.values = json!({"d": true});
    wanted.helm.set = [("e", "false"), ("f", "a,b\\c"), ("g", "{x,y}"), ("h", "3")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    let objects = bench.render(&repo, &wanted).unwrap();
    let data = &objects.iter().find(|object| object.value["metadata"]["name"] == "a").unwrap().value["data"];
    let expected = json!({
        "a": "float64 1", "b": "string from-own", "c": "string from-shared", "d": "bool true",
        "e": "bool false", "f": "string a,b\\c", "g": "[]interface {} [x y]", "h": "int64 3",
    });
    assert_eq!(*data, expected);
    let two = objects.iter().find(|object| object.value["metadata"]["name"] == "two").unwrap();
    assert_eq!(&*two.file, "chart/crds/two.yaml");
    wanted.helm.value_files = vec!["/../../etc/passwd".into()];
    assert!(bench.refusal(&repo, &wanted).contains("etc/passwd"));
    wanted.helm.value_files = vec!["nothing.yaml".into()];
    assert!(bench.refusal(&repo, &wanted).contains("chart/nothing.yaml: there is no such values file"));
}

#[test]
fn a_render_with_a_secret_leaves_none_of_it_behind() {
    let bench = Bench::new();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: hunter2}\n";
    let repo = Repo::with(&[CHART, ("templates/a.yaml", secret)]);
    for _ in 0..2 {
        assert_eq!(bench.render(&repo, &request("")).unwrap().len(), 1);
    }
    let grep =
        std::process::Command::new("grep").args(["-r", "hunter2"]).arg(bench.renders()).output().unwrap();
    assert!(grep.stdout.is_empty(), "{}", String::from_utf8_lossy(&grep.stdout));
}

#[test]
fn mistakes_name_file_and_document() {
    let bench = Bench::new();
    let repo =
        Repo::with(&[("app/a.yaml", &format!("---\n---\n{}---\nnot: an object\n", config_map("a", "1")))]);
    let error = bench.refusal(&repo, &request("app"));
    assert!(error.starts_with("app/a.yaml:") && error.contains("document 3"), "{error}");
    let both = Repo::with(&[CHART, ("kustomization.yaml", "resources: []\n")]);
    assert!(bench.refusal(&both, &request("")).contains("both Chart.yaml and a kustomization"));
    let mut wanted = request("");
    wanted.kind = SourceType::Helm;
    let mut bench = Bench::new();
    bench.tools.helm = "/nowhere/helm".into();
    assert_eq!(bench.refusal(&both, &wanted), "helm is not installed: /nowhere/helm is not found");
}

#[test]
fn a_submodule_says_what_it_is() {
    let bench = Bench::new();
    let inner = Repo::with(&[("a.yaml", &config_map("a", "1"))]);
    let repo = Repo::with(&[("b.yaml", &config_map("b", "1"))]);
    repo.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        &inner.url(),
        "vendor/inner",
    ]);
    repo.commit_all("submodule");
    let error = bench.refusal(&repo, &request("vendor/inner/a"));
    assert!(error.contains("submodule vendor/inner, which is not read"), "{error}");
}
