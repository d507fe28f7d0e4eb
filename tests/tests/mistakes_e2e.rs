//! Bad input of every type of source, beside objects that are good: what the
//! message names, the exit code, and that nothing was applied.
#![allow(clippy::unwrap_used, reason = "tests")]

use gitops_tests::{Repo, cluster};

const GOOD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n";
const CHART: &str = "apiVersion: v2\nname: c\nversion: 1.0.0\n";
const KUSTOMIZATION: &str = "resources: [good.yaml]\n";

/// For nobody's key; without its metadata; and as an ini file.
const SEALED: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: \"ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]\"}\nsops: {mac: x}\n";
const BARE: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: \"ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]\"}\n";
const SEALED_INI: &str = "[a]\nb = ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]\n\n[sops]\nmac = x\n";

/// A mistake: the Application's source, its files in `app`, what is told.
struct Case {
    source: &'static str,
    files: &'static [(&'static str, &'static str)],
    told: &'static str,
    code: i32,
}

const fn case(
    source: &'static str,
    files: &'static [(&'static str, &'static str)],
    told: &'static str,
) -> Case {
    Case { source, files, told, code: 4 }
}

const CASES: [Case; 37] = [
    // Plain YAML and JSON.
    case("path: app", &[("bad.yaml", "a: [\n")], "app/bad.yaml:"),
    case("path: app", &[("bad.yaml", "a: 1\na: 2\n")], "app/bad.yaml:2"),
    case("path: app", &[("bad.yaml", "just words\n")], "app/bad.yaml:1"),
    case("path: app", &[("bad.json", "{\"kind\": \"Pod\"")], "app/bad.json:"),
    case(
        "path: app",
        &[("bad.yaml", "kind: ConfigMap\nmetadata: {name: a}\n")],
        "apiVersion or kind is missing",
    ),
    case("path: app", &[("bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n")], "app/bad.yaml:1"),
    case("path: app", &[("bad.yaml", GOOD)], "ConfigMap"),
    case(
        "path: app",
        &[("bad.yaml", "apiVersion: ex.io/v1\nkind: Unheard\nmetadata: {name: a}\n")],
        "Unheard",
    ),
    case("path: app", &[("bad.yaml", "apiVersion: v1\nkind: List\nitems: [1]\n")], "an item of this list"),
    case(
        "path: app",
        &[(
            "bad.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {argocd.argoproj.io/sync-wave: first}}\n",
        )],
        "app/bad.yaml:1",
    ),
    case("{path: app, plain: {include: [\"[\"]}}", &[], "[: "),
    case("path: nowhere", &[], "has no \"nowhere\""),
    case("path: ../app", &[], "has no .. in it"),
    // Kustomize.
    case("path: app", &[("kustomization.yaml", "resources: [good.yaml, gone.yaml]\n")], "gone.yaml"),
    case("path: app", &[("kustomization.yaml", "resources: good.yaml: bad\n")], "app/kustomization.yaml:1"),
    case("path: app", &[("kustomization.yaml", "resources: [good.yaml]\nnoSuchField: 1\n")], "noSuchField"),
    case(
        "path: app",
        &[("kustomization.yaml", "resources: [\"https://git.example/x//y?ref=main\"]\n")],
        "outside of this repository",
    ),
    case(
        "path: app",
        &[("kustomization.yaml", "resources: [good.yaml]\nhelmCharts: [{name: c}]\n")],
        "enableHelm: true",
    ),
    case(
        "{path: app, kustomize: {images: [\"=\"]}}",
        &[("kustomization.yaml", KUSTOMIZATION)],
        "no image override",
    ),
    case("{path: app, kustomize: {components: [gone]}}", &[("kustomization.yaml", KUSTOMIZATION)], "gone"),
    case("{path: app, type: Kustomize}", &[], "kustomize failed"),
    // Helm.
    case("path: app", &[("Chart.yaml", "name: [\n")], "Chart.yaml"),
    case(
        "path: app",
        &[("Chart.yaml", CHART), ("templates/a.yaml", "{{ .Values.a.b.c }}")],
        "templates/a.yaml",
    ),
    case(
        "path: app",
        &[("Chart.yaml", CHART), ("templates/a.yaml", "{{ required \"say a color\" .Values.color }}")],
        "say a color",
    ),
    case("path: app", &[("Chart.yaml", CHART), ("templates/a.yaml", "a: [")], "c/templates/a.yaml"),
    case("{path: app, helm: {valueFiles: [gone.yaml]}}", &[("Chart.yaml", CHART)], "gone.yaml"),
    case(
        "path: app",
        &[("Chart.yaml", CHART), ("kustomization.yaml", KUSTOMIZATION)],
        "both Chart.yaml and a kustomization",
    ),
    case("{path: app, type: Helm}", &[], "app/Chart.yaml"),
    // Jsonnet.
    case("path: app/a.jsonnet", &[("a.jsonnet", "{ a: }")], "a.jsonnet"),
    case("path: app/a.jsonnet", &[("a.jsonnet", "import '/etc/passwd'")], "passwd"),
    case("path: app/a.jsonnet", &[("a.jsonnet", "import 'gone.libsonnet'")], "gone.libsonnet"),
    // SOPS.
    case("path: app", &[("bad.yaml", SEALED)], "app/bad.yaml: SOPS: "),
    case("path: app", &[("bad.yaml", BARE)], "is no whole SOPS file"),
    case(
        "path: app",
        &[("kustomization.yaml", "configMapGenerator: [{name: a, files: [a.ini]}]\n"), ("a.ini", SEALED_INI)],
        "app/a.ini: SOPS: ",
    ),
    // Several sources, and charts of elsewhere.
    case(
        "{path: app, helm: {valueFiles: [$base/values.yaml]}}",
        &[("Chart.yaml", CHART)],
        "no source has the ref \"base\"",
    ),
    case(
        "{repo: \"http://127.0.0.1:1/charts\", helm: {chart: web, version: 1.0.0}}",
        &[],
        "http://127.0.0.1:1/charts",
    ),
    // Registries.
    case("{repo: \"oci://127.0.0.1:1/x\", type: OCI}", &[], "cannot be reached"),
];

/// What was synced before stays as it was: nothing is changed, made or pruned.
#[test]
fn nothing_is_applied_of_a_source_with_a_mistake() {
    let namespace = cluster().namespace("mistakes");
    let application = |source: &str| {
        format!(
            "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\nmetadata: {{name: web, namespace: {0}}}\nspec:\n  source: {source}\n  destination: {{namespace: {0}}}\n",
            namespace.name
        )
    };
    let kept = GOOD.replace("good", "kept");
    let repo = Repo::with(&[
        ("gitops.yaml", &application("{path: app}")),
        ("app/good.yaml", GOOD),
        ("app/kept.yaml", &kept),
    ]);
    let first = repo.head();
    cluster().gitops(repo.path(), "sync").ok();
    let live = || {
        let get = format!("get configmap good kept new --ignore-not-found -o json -n {}", namespace.name);
        let list = cluster().kubectl(&get).ok().json();
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["resourceVersion"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = live();
    assert_eq!(before.len(), 2);
    for Case { source, files, told, code } in CASES {
        let source = if source.starts_with('{') { source.to_owned() } else { format!("{{{source}}}") };
        repo.git(&["reset", "--quiet", "--hard", &first]);
        std::fs::remove_file(repo.file("app/kept.yaml")).unwrap();
        let mut changed = vec![
            ("gitops.yaml".to_owned(), application(&source)),
            ("app/good.yaml".to_owned(), format!("{GOOD}data: {{changed: here}}\n")),
            ("app/new.yaml".to_owned(), GOOD.replace("good", "new")),
        ];
        changed.extend(files.iter().map(|(path, text)| (format!("app/{path}"), (*text).to_owned())));
        let changed: Vec<(&str, &str)> =
            changed.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        repo.commit("mistake", &changed);
        for command in ["diff", "sync --prune --confirm-prune"] {
            let ran = cluster().gitops(repo.path(), command);
            let shown =
                format!("{command} of {source} {files:?}: {}: {}{}", ran.code, ran.stdout, ran.stderr);
            assert_eq!(ran.code, code, "{shown}");
            assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(told), "{told}: {shown}");
            assert!(ran.stderr.contains("\nhint: "), "{shown}");
            assert!(!ran.stderr.contains("/tmp/.tmp") && !ran.stderr.contains("panicked"), "{shown}");
            assert_eq!(ran.stdout, "", "{shown}");
        }
        assert_eq!(live(), before, "{source} {files:?}");
    }
}

#[test]
fn a_gitops_yaml_with_a_mistake_is_told_with_its_place() {
    let namespace = cluster().namespace("mistakes");
    let head = "apiVersion: kubectl-gitops.dev/v1alpha1\nkind: Application\n";
    let named = format!("{head}metadata: {{name: web, namespace: {}}}\n", namespace.name);
    for (text, code, told) in [
        (String::new(), 2, "it holds no Application"),
        ("a: [\n".to_owned(), 4, "gitops.yaml:"),
        (GOOD.to_owned(), 2, "gitops.yaml:1"),
        (format!("{head}spec: {{source: {{path: app}}}}\n"), 2, "metadata"),
        (format!("{named}spec: {{}}\n"), 2, "neither source nor sources"),
        (format!("{named}spec: {{source: {{path: app, pth: x}}}}\n"), 2, "pth"),
        (format!("{named}spec: {{source: {{repo: \"https://[\", path: app}}}}\n"), 2, "https://["),
        (format!("{named}spec: {{source: {{path: app, type: Tanka}}}}\n"), 2, "Tanka"),
        (format!("{named}spec: {{source: {{path: app}}, sync: {{options: [\"Fly=true\"]}}}}\n"), 2, "Fly"),
        (
            format!("{named}spec: {{source: {{path: app}}, sync: {{retry: {{max: soon}}}}}}\n"),
            2,
            "spec.sync.retry.max: \"soon\" is no duration",
        ),
    ] {
        let repo = Repo::with(&[("gitops.yaml", &text), ("app/good.yaml", GOOD)]);
        let ran = cluster().gitops(repo.path(), "sync");
        let shown = format!("{text}: {}: {}{}", ran.code, ran.stdout, ran.stderr);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{shown}");
        assert!(ran.stderr.contains(told) && ran.stderr.contains("\nhint: "), "{told}: {shown}");
    }
}
