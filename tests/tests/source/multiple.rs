//! Several sources in one Application.

use gitops_tests::Repo;

use super::{Bench, application, config_map};

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n  color: {{ .Values.color }}\n  size: {{ .Values.size | quote }}\n";

fn charts() -> Repo {
    Repo::with(&[
        ("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("web/values.yaml", "color: grey\nsize: 1\n"),
        ("web/templates/a.yaml", TEMPLATE),
    ])
}

#[test]
fn values_lie_in_another_repository_than_the_chart() {
    let bench = Bench::new();
    let charts = charts();
    let own = Repo::with(&[("values/web.yaml", "color: red\n"), ("extra/a.yaml", &config_map("extra", "1"))]);
    let spec = format!(
        "  sources:\n  - {{repo: \"{}\", path: web, helm: {{valueFiles: [\"$own/values/web.yaml\"], set: {{size: \"3\"}}}}}}\n  - {{ref: own}}\n  - {{path: extra}}\n",
        charts.url()
    );
    own.commit("describe", &[("gitops.yaml", &application(&spec))]);
    let (code, out, err) = bench.gitops(own.path(), "render --origin", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("color: red") && out.contains("size: \"3\""), "{out}");
    assert!(out.contains("# web/templates/a.yaml"), "the first source's files bear plain names: {out}");
    assert!(out.contains(&format!("# {}//extra/a.yaml:1", own.url())), "{out}");
    // A change of the values alone is a change of what is rendered.
    own.commit("blue", &[("values/web.yaml", "color: blue\n")]);
    let (_, out, _) = bench.gitops(own.path(), "render", &[]);
    assert!(out.contains("color: blue"), "{out}");
}

#[tokio::test]
async fn a_revision_names_the_commit_of_every_source() {
    let bench = Bench::new();
    let (charts, own) = (charts(), Repo::with(&[("values.yaml", "color: red\n")]));
    let spec = format!(
        "  sources:\n  - {{repo: \"{}\", path: web, helm: {{valueFiles: [\"$own/values.yaml\"]}}}}\n  - {{ref: own}}\n",
        charts.url()
    );
    own.commit("describe", &[("gitops.yaml", &application(&spec))]);
    let environment = bench.environment();
    let file = own.file("gitops.yaml");
    let loaded =
        gitops_engine::read_file(&file, "shop", &gitops_source::Credentials::default()).unwrap().remove(0);
    let find = async || gitops_engine::desired::commit(&loaded, &environment, None).await.unwrap().id;
    let first = find().await;
    assert_eq!(first, format!("{}+{}", charts.head(), own.head()));
    own.commit("blue", &[("values.yaml", "color: blue\n")]);
    let second = find().await;
    assert_eq!(second, format!("{}+{}", charts.head(), own.head()));
    // What was rendered once can be rendered again by what its annotation says.
    for (revision, color) in [(&first, "red"), (&second, "blue")] {
        let set = gitops_engine::desired(&loaded, &environment, revision, &Everything).await.unwrap();
        assert_eq!(set.objects.values().next().unwrap().value["data"]["color"], color);
    }
    let before = |a: &str, b: &str| gitops_engine::revisions::is_before(&loaded, &environment, a, b).unwrap();
    assert!(before(&first, &second) && !before(&second, &first));
}

#[tokio::test]
async fn a_project_is_asked_about_the_commit_of_every_source() {
    let bench = Bench::new();
    let (charts, own) = (charts(), Repo::with(&[("values.yaml", "color: red\n")]));
    let environment = bench.environment();
    let loaded = |source: &str| {
        let spec = format!(
            "  sources:\n  - {{repo: \"{}\", path: web}}\n  - {{{source}, ref: own}}\n",
            charts.url()
        );
        own.commit("describe", &[("gitops.yaml", &application(&spec))]);
        let file = own.file("gitops.yaml");
        gitops_engine::read_file(&file, "shop", &gitops_source::Credentials::default()).unwrap().remove(0)
    };
    let asked = async |source: &str, revision: &str, second: serde_json::Value| {
        let mut loaded = loaded(source);
        let rules =
            serde_json::json!({"repositories": [{"url": charts.url(), "branches": ["main"]}, second]});
        loaded.project = Some(serde_json::from_value(rules).unwrap());
        let trust = gitops_engine::trust::trust(&loaded, &environment, revision).await;
        trust.map_err(|error| error.to_string())
    };
    let here = format!("repo: \"{}\"", own.url());
    let rule = |rest: serde_json::Value| {
        let mut rule = serde_json::json!({"url": own.url()});
        rule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        rule
    };
    own.git(&["checkout", "--quiet", "-b", "dev"]);
    let dev = own.commit("dev", &[("values.yaml", "color: blue\n")]);
    own.git(&["checkout", "--quiet", "main"]);
    let (first, main) = (charts.head(), own.head());
    let tip = format!("{first}+{main}");
    let on_main = || rule(serde_json::json!({"branches": ["main"]}));
    assert_eq!(asked(&here, &tip, on_main()).await, Ok(()));
    let refused = asked(&here, &format!("{first}+{dev}"), on_main()).await.unwrap_err();
    assert!(refused.contains(&dev[..12]) && refused.contains("on no branch"), "{refused}");
    let key = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
    let refused = asked(&here, &tip, rule(serde_json::json!({"signers": [key]}))).await.unwrap_err();
    assert!(refused.contains(&main[..12]) && refused.contains("not signed"), "{refused}");
    let refused = asked(&here, &tip, serde_json::json!({"url": "https://h/other"})).await.unwrap_err();
    assert!(refused.contains(&own.url()) && refused.contains("does not take this repository"), "{refused}");
    let refused = asked(&here, &format!("{tip}+{main}"), on_main()).await.unwrap_err();
    assert!(refused.contains("2 sources"), "{refused}");
    // What does not lie in Git bears no signature that could be checked.
    let artifact = "repo: \"oci://reg.example/a\", revision: v1";
    let oci =
        |rest: &str| serde_json::from_str(&format!("{{\"url\": \"oci://reg.example/a\"{rest}}}")).unwrap();
    assert_eq!(asked(artifact, &tip, oci("")).await, Ok(()));
    for (rest, why) in
        [(r#", "signers": ["SHA256:x"]"#, "not checked yet"), (r#", "branches": ["v2"]"#, "v2")]
    {
        let refused = asked(artifact, &tip, oci(rest)).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[derive(Clone)]
pub(super) struct Everything;

impl gitops_core::desired::Scopes for Everything {
    fn namespaced(&self, _: &gitops_core::object::Gvk) -> Option<bool> {
        Some(true)
    }
}

#[test]
fn mistakes_name_what_to_change_and_end_with_4() {
    let bench = Bench::new();
    let charts = charts();
    let other = Repo::with(&[("a/x.yaml", &config_map("same", "1"))]);
    let own = Repo::with(&[("b/y.yaml", &config_map("same", "2")), ("chart.yaml", "a: 1\n")]);
    let web = charts.url();
    for (spec, expected, code) in [
        (
            format!("  sources:\n  - {{path: b}}\n  - {{repo: \"{}\", path: a}}\n", other.url()),
            vec![
                "ConfigMap shop/same is declared twice: b/y.yaml:1 and".to_owned(),
                format!("{}//a/x.yaml:1", other.url()),
            ],
            4,
        ),
        (
            format!(
                "  sources:\n  - {{repo: \"{web}\", path: web, helm: {{valueFiles: [\"$nobody/v.yaml\"]}}}}\n  - {{ref: base}}\n"
            ),
            vec!["$nobody/v.yaml: no source has the ref \"nobody\"; there are: base".to_owned()],
            4,
        ),
        (
            format!(
                "  sources:\n  - {{repo: \"{web}\", path: web, helm: {{valueFiles: [\"$base/missing.yaml\"]}}}}\n  - {{ref: base}}\n"
            ),
            vec!["has no \"missing.yaml\" at".to_owned()],
            4,
        ),
        (
            format!(
                "  sources:\n  - {{repo: \"{web}\", path: web, helm: {{valueFiles: [\"$base/../../etc/passwd\"]}}}}\n  - {{ref: base}}\n"
            ),
            vec!["a values file is written $name/path".to_owned()],
            4,
        ),
        (
            "  sources:\n  - {ref: base}\n".to_owned(),
            vec!["its sources are only there for others to refer to".to_owned()],
            2,
        ),
        (
            "  sources:\n  - {ref: base, path: b}\n  - {ref: base}\n".to_owned(),
            vec!["two sources have the ref \"base\"".to_owned()],
            2,
        ),
        (
            "  sources:\n  - {path: b}\n  - {path: b, revision: nowhere}\n".to_owned(),
            vec!["has no branch, tag or commit \"nowhere\"".to_owned()],
            4,
        ),
    ] {
        own.commit("describe", &[("gitops.yaml", &application(&spec))]);
        let (found, out, err) = bench.gitops(own.path(), "render", &[]);
        assert_eq!((found, out.as_str()), (code, ""), "{spec}{err}");
        for text in expected {
            assert!(err.contains(&text), "{text}\n{err}");
        }
        assert!(err.contains("hint: "), "{err}");
    }
}
