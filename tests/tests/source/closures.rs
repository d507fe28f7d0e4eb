//! What a render reads is what it is kept by: nothing less, nothing more.

use gitops_source::{PlainOptions, RenderRequest};
use gitops_tests::Repo;

use super::{Bench, config_map, request};

const CHART: &str = "apiVersion: v2\nname: c\nversion: 1.0.0\n";

/// 1,000 Applications in one repository, most of them plain.
fn monorepo() -> (Repo, Vec<RenderRequest>) {
    let mut files = vec![("base/kustomization.yaml".to_owned(), "resources: [a.yaml]\n".to_owned())];
    files.push(("base/a.yaml".into(), config_map("a", "1")));
    files.push(("shared/values.yaml".into(), "x: 1\n".into()));
    let mut requests = Vec::new();
    for index in 0..1000 {
        let folder = format!("apps/app{index:03}");
        let mut wanted = request(&folder);
        match index % 100 {
            0 => files.push((
                format!("{folder}/kustomization.yaml"),
                format!("resources: [../../base]\nnamePrefix: p{index}-\n"),
            )),
            1 => {
                files.push((format!("{folder}/Chart.yaml"), CHART.into()));
                files
                    .push((format!("{folder}/templates/a.yaml"), config_map("a", "{{ .Values.x | quote }}")));
                wanted.helm.value_files = vec!["/shared/values.yaml".into()];
            }
            _ => files.push((format!("{folder}/a.yaml"), config_map(&format!("a{index}"), "1"))),
        }
        requests.push(wanted);
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    (Repo::with(&files), requests)
}

#[test]
fn a_commit_that_touches_one_of_a_thousand_applications_renders_one() {
    let bench = Bench::new();
    let (repo, requests) = monorepo();
    let render_all = || {
        let before = bench.kept();
        let snapshot = bench.cache().snapshot(&repo.url().parse().unwrap(), &repo.head()).unwrap();
        for wanted in &requests {
            let rendered = gitops_source::render(&snapshot, wanted, &bench.tools, &bench.renders());
            assert_eq!(rendered.unwrap().len(), 1, "{}", wanted.path);
        }
        bench.kept() - before
    };
    assert_eq!(render_all(), 1000);
    assert_eq!(render_all(), 0);
    repo.commit("one plain", &[("apps/app502/a.yaml", &config_map("a502", "2")), ("README.md", "1")]);
    assert_eq!(render_all(), 1, "one plain Application");
    repo.commit("one chart", &[("apps/app501/values.yaml", "y: 1\n")]);
    assert_eq!(render_all(), 1, "one chart");
    repo.commit(
        "one kustomization",
        &[("apps/app300/kustomization.yaml", "resources: [../../base]\nnamePrefix: q-\n")],
    );
    assert_eq!(render_all(), 1, "one kustomization");
    repo.commit("shared values", &[("shared/values.yaml", "x: 2\n")]);
    assert_eq!(render_all(), 10, "what ten charts share");
    repo.commit("base", &[("base/a.yaml", &config_map("a", "2"))]);
    assert_eq!(render_all(), 10, "what ten kustomizations share");
}

#[test]
fn a_plain_file_that_changes_is_read_anew_with_few_others() {
    let bench = Bench::new();
    let name = |number: usize| format!("app/f{number:02}.yaml");
    let files: Vec<(String, String)> =
        (0..40).map(|number| (name(number), config_map(&format!("c{number}"), "1"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let repo = Repo::with(&files);
    let values = || {
        let rendered = bench.render(&repo, &request("app")).unwrap();
        rendered.into_iter().map(|object| (object.file.to_string(), object.value)).collect::<Vec<_>>()
    };
    let first = values();
    assert_eq!(first.len(), 40);
    let groups = bench.kept();
    assert!((5..=20).contains(&groups), "{groups}");
    assert_eq!(values(), first, "from what is kept");
    assert_eq!(bench.kept(), groups);
    repo.commit("one", &[("app/f07.yaml", &config_map("c7", "2"))]);
    let second = values();
    assert_eq!(second[7].1["data"]["key"], 2);
    assert_eq!(second.iter().zip(&first).filter(|(new, old)| new != old).count(), 1);
    assert_eq!(bench.kept(), groups + 1);
    repo.commit("one more", &[("app/f07a.yaml", &config_map("more", "1"))]);
    assert_eq!(values().len(), 41);
    assert!(bench.kept() <= groups + 3, "no other group has moved");
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: hunter2}\n";
    repo.commit("a secret", &[("app/f20.yaml", secret)]);
    let kept = bench.kept();
    assert_eq!(values().len(), 41);
    assert_eq!(bench.kept(), kept, "nothing of its group is kept");
    bench.holds_nothing_of("hunter2");
}

#[test]
fn a_link_is_read_anew_with_what_it_leads_to() {
    let bench = Bench::new();
    let repo = Repo::with(&[("app/a.yaml", &config_map("a", "0"))]);
    std::os::unix::fs::symlink("a.yaml", repo.file("app/b.yaml")).unwrap();
    repo.commit_all("a link");
    let wanted = RenderRequest {
        plain: PlainOptions { recurse: true, include: vec!["b.yaml".into()], exclude: Vec::new() },
        ..request("app")
    };
    for number in [1, 2] {
        repo.commit("what it leads to", &[("app/a.yaml", &config_map("a", &number.to_string()))]);
        let rendered = bench.render(&repo, &wanted).unwrap();
        assert_eq!(rendered[0].value["data"]["key"], number);
    }
}

#[test]
fn every_file_that_a_kustomization_names_belongs_to_it() {
    let bench = Bench::new();
    let top = "resources: [../base, own.yaml]\ncomponents: [../component]\npatches: [{path: patch.yaml}]\n\
        configMapGenerator: [{name: g, files: [k=file.txt], envs: [e.env]}]\nreplacements: [{path: replace.yaml}]\n";
    let replacement = "source: {kind: ConfigMap, name: own, fieldPath: data.key}\ntargets: [{select: {kind: ConfigMap, name: base}, fieldPaths: [data.key]}]\n";
    let patch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {patched: \"1\"}\n";
    let repo = Repo::with(&[
        ("app/kustomization.yaml", top),
        ("app/own.yaml", &config_map("own", "1")),
        ("app/patch.yaml", patch),
        ("app/file.txt", "1"),
        ("app/e.env", "A=1"),
        ("app/replace.yaml", replacement),
        ("base/kustomization.yml", "resources: [a.yaml]\n"),
        ("base/a.yaml", &config_map("base", "1")),
        (
            "component/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonLabels: {a: b}\n",
        ),
    ]);
    let wanted = request("app");
    assert_eq!(bench.render(&repo, &wanted).unwrap().len(), 3);
    let kept = bench.kept();
    repo.commit("others", &[("app/notes.txt", "1"), ("base/b.yaml", "1"), ("x", "1")]);
    bench.render(&repo, &wanted).unwrap();
    assert_eq!(bench.kept(), kept, "nobody names these files");
    for (count, (path, text)) in [
        ("app/own.yaml", config_map("own", "2")),
        ("app/patch.yaml", patch.replace("\"1\"", "\"2\"")),
        ("app/file.txt", "2".into()),
        ("app/e.env", "A=2".into()),
        ("app/replace.yaml", format!("{replacement}# changed\n")),
        ("base/kustomization.yml", "resources: [a.yaml]\n# changed\n".into()),
        ("base/a.yaml", config_map("base", "2")),
        (
            "component/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonLabels: {a: c}\n".into(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        repo.commit("change", &[(path, &text)]);
        bench.render(&repo, &wanted).unwrap();
        assert_eq!(bench.kept(), kept + count + 1, "{path} was not noticed");
    }
}

#[test]
fn where_the_closure_is_not_known_the_whole_tree_counts_and_that_is_said() {
    let bench = Bench::new();
    let transformer = "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: p}\nprefix: p-\nfieldSpecs: [{path: metadata/name}]\n";
    let repo = Repo::with(&[
        ("app/kustomization.yaml", "resources: [a.yaml]\ntransformers: [t.yaml]\n"),
        ("app/a.yaml", &config_map("a", "1")),
        ("app/t.yaml", transformer),
    ]);
    let wanted = request("app");
    assert_eq!(bench.render(&repo, &wanted).unwrap()[0].value["metadata"]["name"], "p-a");
    repo.commit("elsewhere", &[("other", "1")]);
    bench.render(&repo, &wanted).unwrap();
    assert_eq!(bench.kept(), 2);
    let (code, _, err) = bench.gitops(repo.path(), "render --repo . --path app", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("app: rendered anew on every commit, since app/kustomization.yaml has transformers"),
        "{err}"
    );
}

#[test]
fn charts_of_a_kustomization_need_leave_and_lie_in_the_repository() {
    let bench = Bench::new();
    let top = "helmCharts: [{name: c, releaseName: r, valuesFile: v.yaml}]\nnamePrefix: p-\n";
    let template = config_map("a", "{{ .Values.x | quote }}");
    let repo = Repo::with(&[
        ("app/kustomization.yaml", top),
        ("app/v.yaml", "x: 7\n"),
        ("app/charts/c/Chart.yaml", CHART),
        ("app/charts/c/templates/a.yaml", &template),
    ]);
    let mut wanted = request("app");
    let error = bench.refusal(&repo, &wanted);
    assert!(error.contains("spec.source.kustomize.enableHelm: true"), "{error}");
    wanted.kustomize.enable_helm = true;
    let objects = bench.render(&repo, &wanted).unwrap();
    assert_eq!(objects[0].value["metadata"]["name"], "p-a");
    assert_eq!(objects[0].value["data"]["key"], "7");
    let kept = bench.kept();
    repo.commit("elsewhere", &[("other", "1")]);
    bench.render(&repo, &wanted).unwrap();
    assert_eq!(bench.kept(), kept);
    repo.commit("chance", &[("app/charts/c/templates/a.yaml", &config_map("a", "{{ randAlphaNum 8 }}"))]);
    let error = bench.refusal(&repo, &wanted);
    assert!(error.contains("data.key is another value"), "{error}");
    let away = "helmCharts: [{name: d, repo: \"https://charts.example\", version: 1.0.0, releaseName: r}]\n";
    repo.commit("away", &[("app/kustomization.yaml", away)]);
    let error = bench.refusal(&repo, &wanted);
    assert!(error.contains("outside of this repository, which a render never fetches"), "{error}");
}
