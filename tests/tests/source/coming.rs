//! Repositories of Argo CD and Flux: what `init --from` makes of them renders as
//! plain kustomize and helm do.

use std::path::{Path, PathBuf};
use std::process::Command;

use gitops_source::{Credentials, yaml};
use gitops_tests::Repo;
use serde_json::Value;

use super::{Bench, config_map};

const WORKLOAD: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: web}]}\n";
const CHART: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-{{ .Release.Namespace }}}\ndata:\n  color: {{ .Values.color | quote }}\n  size: {{ kindOf .Values.size }}\n  flag: {{ kindOf .Values.flag }}\n";

/// A repository whose `origin` is where Argo CD and Flux read it.
fn repository(files: &[(&str, &str)]) -> Repo {
    let extra = config_map("extra", "1");
    let (sub, own) = (config_map("sub", "1"), config_map("own", "1"));
    let mut all = vec![
        ("apps/base/kustomization.yaml", "resources: [web.yaml]\nlabels: [{pairs: {env: production}}]\n"),
        ("apps/base/web.yaml", WORKLOAD),
        ("apps/production/kustomization.yaml", "resources: [../base]\n"),
        (
            "apps/mirrored/kustomization.yaml",
            "resources: [../base]\nimages: [{name: web, newName: mirror.example/web, newTag: \"1\"}]\n",
        ),
        (
            "apps/metrics/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [own.yaml]\n",
        ),
        ("apps/metrics/own.yaml", &own),
        ("infrastructure/extra.yaml", &extra),
        ("infrastructure/sub/sub.yaml", &sub),
        ("charts/api/Chart.yaml", "apiVersion: v2\nname: api\nversion: 1.0.0\n"),
        ("charts/api/values.yaml", "color: grey\nsize: 1\nflag: false\n"),
        ("charts/api/production.yaml", "color: red\n"),
        ("charts/api/templates/a.yaml", CHART),
    ];
    all.extend(files);
    let repo = Repo::with(&all);
    repo.git(&["remote", "add", "origin", "git@git.example:team/shop.git"]);
    repo
}

/// Runs a tool in a folder of a copy of the repository.
fn tool(name: &str, arguments: &[&str], folder: &Path) -> String {
    let program = std::env::var_os(format!("KUBECTL_GITOPS_{}", name.to_uppercase()));
    let program = program.map_or_else(|| name.into(), PathBuf::from);
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn copy(repo: &Repo) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", &repo.url(), folder.path().to_str().unwrap()]);
    folder
}

/// Objects of a text in a settled order, each in the namespace where it goes.
fn objects(text: &str, namespace: &str) -> Vec<Value> {
    let mut objects: Vec<Value> =
        yaml::documents("text", text).unwrap().into_iter().map(|document| document.value).collect();
    objects.iter_mut().for_each(|object| object["metadata"]["namespace"] = namespace.into());
    objects.sort_by_key(ToString::to_string);
    objects
}

/// What an Application of the committed gitops.yaml renders.
fn rendered(bench: &Bench, repo: &Repo, name: &str, namespace: &str) -> Vec<Value> {
    let (code, out, err) = bench.gitops(repo.path(), &format!("render {name}"), &[]);
    assert_eq!(code, 0, "{err}");
    objects(&out, namespace)
}

/// Describes the repository, commits that, and returns the Applications' names
/// and what was said.
fn describe(bench: &Bench, repo: &Repo, from: &str) -> (Vec<String>, String) {
    let (code, out, err) = bench.gitops(repo.path(), &format!("init {from}"), &[]);
    assert!(code == 0 && out.is_empty(), "{code} {out} {err}");
    repo.commit_all("describe");
    let loaded =
        gitops_engine::read_file(&repo.file("gitops.yaml"), "none", &Credentials::default()).unwrap();
    (loaded.iter().map(|one| one.application.name.clone()).collect(), err)
}

fn argocd(name: &str, source: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: argocd}}\nspec:\n  project: default\n  source: {{repoURL: \"https://git.example/team/shop.git\", targetRevision: main, {source}}}\n  destination: {{server: \"https://kubernetes.default.svc\", namespace: shop}}\n  syncPolicy: {{automated: {{prune: true, selfHeal: true}}, syncOptions: [CreateNamespace=true]}}\n"
    )
}

#[test]
fn a_repository_of_argo_cd_is_described_as_it_is() {
    let bench = Bench::new();
    let repo = repository(&[
        ("argocd/root.yaml", &argocd("root", "path: argocd")),
        (
            "argocd/web.yaml",
            &argocd(
                "web",
                "path: apps/production, kustomize: {images: [\"web=registry.example/web:2\"], components: [../metrics]}",
            ),
        ),
        (
            "argocd/mirrored.yaml",
            &argocd("mirrored", "path: apps/mirrored, kustomize: {images: [\"web=registry.example/web:3\"]}"),
        ),
        ("argocd/extra.yaml", &argocd("extra", "path: infrastructure")),
        (
            "argocd/all.yaml",
            &argocd("all", "path: infrastructure, directory: {recurse: true, exclude: \"extra*\"}"),
        ),
        (
            "argocd/api.yaml",
            &argocd(
                "api",
                "path: charts/api, helm: {releaseName: backend, valueFiles: [production.yaml], values: \"color: pink\", parameters: [{name: color, value: \"blue, grey\"}, {name: size, value: \"7\"}, {name: flag, value: \"true\", forceString: true}]}",
            ),
        ),
    ]);
    let (names, said) = describe(&bench, &repo, "--from argocd");
    assert_eq!(names, ["all", "api", "extra", "mirrored", "web"], "{said}");
    assert!(
        said.contains("argocd/root.yaml:6: spec.source.path of Application argocd/root: left out"),
        "{said}"
    );
    let copy = copy(&repo);
    let production = copy.path().join("apps/production");
    tool("kustomize", &["edit", "set", "image", "web=registry.example/web:2"], &production);
    tool("kustomize", &["edit", "add", "component", "../metrics"], &production);
    let built = tool("kustomize", &["build", "."], &production);
    assert_eq!(rendered(&bench, &repo, "web", "shop"), objects(&built, "shop"));
    let mirrored = copy.path().join("apps/mirrored");
    tool("kustomize", &["edit", "set", "image", "web=registry.example/web:3"], &mirrored);
    let built = tool("kustomize", &["build", "."], &mirrored);
    assert!(built.contains("registry.example/web:3"), "{built}");
    assert_eq!(rendered(&bench, &repo, "mirrored", "shop"), objects(&built, "shop"));
    let chart = tool(
        "helm",
        &[
            "template",
            "backend",
            ".",
            "--namespace",
            "shop",
            "--values",
            "production.yaml",
            "--set",
            "color=blue\\, grey",
            "--set",
            "size=7",
            "--set-string",
            "flag=true",
        ],
        &copy.path().join("charts/api"),
    );
    let api = rendered(&bench, &repo, "api", "shop");
    assert_eq!(api, objects(&chart, "shop"));
    assert_eq!(
        (&api[0]["data"]["flag"], &api[0]["metadata"]["name"]),
        (&"string".into(), &"backend-shop".into())
    );
    assert_eq!(rendered(&bench, &repo, "extra", "shop"), objects(&config_map("extra", "1"), "shop"));
    assert_eq!(rendered(&bench, &repo, "all", "shop"), objects(&config_map("sub", "1"), "shop"));
}

#[test]
fn a_repository_of_flux_is_described_as_it_is() {
    let bench = Bench::new();
    let kustomization = |name: &str, spec: &str| {
        format!(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: flux-system}}\nspec:\n  interval: 10m\n  prune: true\n  sourceRef: {{kind: GitRepository, name: flux-system}}\n{spec}"
        )
    };
    let repository_of_flux = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: flux-system, namespace: flux-system}\nspec:\n  interval: 1m\n  ref: {branch: main}\n  secretRef: {name: flux-system}\n  url: ssh://git@git.example/team/shop\n---\n";
    let controllers = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: source-controller, namespace: flux-system, labels: {app.kubernetes.io/part-of: flux}}\nspec: {}\n";
    let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: api, namespace: flux-system}\nspec:\n  interval: 10m\n  targetNamespace: shop\n  chart:\n    spec:\n      chart: ./charts/api\n      sourceRef: {kind: GitRepository, name: flux-system}\n      valuesFiles: [charts/api/values.yaml, charts/api/production.yaml]\n  valuesFrom: [{kind: ConfigMap, name: api}]\n  values: {size: seven}\n";
    let values = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: api, namespace: flux-system}\ndata: {values.yaml: \"flag: text\"}\n";
    let repo = repository(&[
        (
            "clusters/production/flux-system/kustomization.yaml",
            "resources: [gotk-components.yaml, gotk-sync.yaml]\n",
        ),
        ("clusters/production/flux-system/gotk-components.yaml", controllers),
        ("values/api.yaml", values),
        (
            "clusters/production/flux-system/gotk-sync.yaml",
            &format!(
                "{repository_of_flux}{}",
                kustomization("flux-system", "  path: ./clusters/production\n")
            ),
        ),
        (
            "clusters/production/infrastructure.yaml",
            &kustomization("infrastructure", "  path: ./infrastructure\n  targetNamespace: shop\n"),
        ),
        (
            "clusters/production/web.yaml",
            &kustomization(
                "web",
                "  path: ./apps/production\n  targetNamespace: shop\n  images: [{name: web, newName: registry.example/web, newTag: \"2\"}]\n  components: [../metrics]\n  dependsOn: [{name: infrastructure}]\n",
            ),
        ),
        ("clusters/production/releases/api.yaml", release),
    ]);
    let (names, said) = describe(&bench, &repo, "--from clusters/production --from values");
    assert_eq!(names, ["infrastructure", "api", "web"], "{said}");
    assert!(said.contains("spec.path of Kustomization flux-system/flux-system: left out"), "{said}");
    assert!(!said.contains("warning:"), "{said}");
    let copy = copy(&repo);
    let production = copy.path().join("apps/production");
    tool("kustomize", &["edit", "set", "image", "web=registry.example/web:2"], &production);
    tool("kustomize", &["edit", "set", "namespace", "shop"], &production);
    tool("kustomize", &["edit", "add", "component", "../metrics"], &production);
    let built = tool("kustomize", &["build", "."], &production);
    assert_eq!(rendered(&bench, &repo, "web", "shop"), objects(&built, "shop"));
    // As Flux makes one of a folder that has none.
    let infrastructure = copy.path().join("infrastructure");
    tool("kustomize", &["create", "--autodetect", "--recursive"], &infrastructure);
    let built = tool("kustomize", &["build", "."], &infrastructure);
    assert_eq!(rendered(&bench, &repo, "infrastructure", "shop"), objects(&built, "shop"));
    let values = ["--values", "production.yaml", "--set", "flag=text", "--set", "size=seven"];
    let arguments = [&["template", "shop-api", ".", "--namespace", "shop"][..], &values].concat();
    let chart = tool("helm", &arguments, &copy.path().join("charts/api"));
    assert_eq!(rendered(&bench, &repo, "api", "shop"), objects(&chart, "shop"));
}

#[test]
fn exit_codes_tell_what_became_of_it() {
    let bench = Bench::new();
    let substituted = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: web}\nspec:\n  path: apps/production\n  prune: true\n  postBuild: {substitute: {a: b}}\n  sourceRef: {kind: OCIRepository, name: web}\n---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: web}\nspec: {url: \"oci://r.example/web\"}\n";
    let repo = repository(&[
        ("flux.yaml", substituted),
        ("set.yaml", "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: web}\n"),
        ("broken/a.yaml", "apiVersion: argoproj.io/v1alpha1\nkind: [\n"),
        ("templates/Chart.yaml", "apiVersion: v2\nname: apps\nversion: 1.0.0\n"),
        (
            "templates/templates/web.yaml",
            "{{ if .Values.on }}\napiVersion: argoproj.io/v1alpha1\nkind: Application\n{{ end }}\n",
        ),
    ]);
    for (arguments, code, words) in [
        (
            "--from flux.yaml --dry-run",
            1,
            &["warning: flux.yaml:7: spec.postBuild.substitute of Kustomization web: nothing is substituted"]
                [..],
        ),
        (
            "--from set.yaml",
            1,
            &["set.yaml:1: ApplicationSet web", "error: none of these", "nothing was written"],
        ),
        ("--from infrastructure", 2, &["no Application of Argo CD", "hint: "]),
        ("--from set.yaml flux.yaml --dry-run", 1, &["ApplicationSet web", "spec.postBuild"]),
        ("--from gone.yaml", 2, &["gone.yaml: "]),
        ("web --from flux.yaml", 2, &["cannot be used with"]),
        ("--from broken", 4, &["broken/a.yaml:2:7", "hint: "]),
        ("--from templates", 1, &["helm template", "init --from -"]),
    ] {
        let (ended, out, err) = bench.gitops(repo.path(), &format!("init {arguments}"), &[]);
        assert_eq!(ended, code, "{arguments}: {out}{err}");
        words.iter().for_each(|word| assert!(err.contains(word), "{arguments}: {word} is not in {err}"));
        assert_eq!(out.contains("oci://r.example/web"), code == 1 && arguments.contains("dry-run"), "{out}");
    }
    assert!(!repo.file("gitops.yaml").exists());
}
