//! Charts and artifacts from a real registry (Debian's docker-registry) and a
//! real chart repository (`helm repo index`, served by the test).

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use gitops_source::registry::{Wanted, fetch, mark};
use gitops_source::{Credentials, Login, RepoUrl, Secret, SourceError};
use gitops_tests::Repo;
use gitops_tests::chart_repository::{ChartRepository as Server, helm, package};
use sha2::{Digest, Sha256};

use super::oci_registry::{Registry, packed};
use super::{Bench, LONG, application, config_map};

fn chart(version: &str) -> Wanted {
    Wanted::Chart { name: "web".into(), version: version.into() }
}

/// What a poll asks for.
fn marked(url: &str, wanted: &Wanted) -> String {
    mark(&url.parse().unwrap(), wanted, &Credentials::default(), LONG).unwrap()
}

fn title(bench: &Bench, url: &str, wanted: &Wanted, beside: &str) -> Result<String, String> {
    let repo: RepoUrl = url.parse().unwrap();
    fetch(&bench.cache(), &repo, wanted, beside, &Credentials::default(), LONG)
        .map(|commit| commit.subject)
        .map_err(|error| error.to_string())
}

#[test]
fn a_chart_repository_is_read_by_its_index() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    for (version, color) in [("1.0.0", "red"), ("1.2.0", "green"), ("2.0.0-rc.1", "blue")] {
        package(folder.path(), version, color);
    }
    helm(&["repo", "index", "."], folder.path());
    let server = Server::new(folder.path(), None);
    let find = |version: &str, beside: &str| title(&bench, &server.url(), &chart(version), beside);
    assert_eq!(find("1.0.0", "").unwrap(), "web 1.0.0");
    let asked = server.asked();
    assert_eq!(find("1.0.0", "").unwrap(), "web 1.0.0");
    assert_eq!(server.asked(), asked, "a version that is here is not asked for again");
    // A range holds for the commits that it was resolved for.
    assert_eq!(find("^1.0", "commit-a").unwrap(), "web 1.2.0");
    let before = marked(&server.url(), &chart("^1.0"));
    assert_eq!(marked(&server.url(), &chart("^1.0")), before);
    package(folder.path(), "1.3.0", "black");
    helm(&["repo", "index", "."], folder.path());
    assert_ne!(marked(&server.url(), &chart("^1.0")), before, "another index is another mark");
    let asked = server.asked();
    assert_eq!(find("^1.0", "commit-a").unwrap(), "web 1.2.0");
    assert_eq!(server.asked(), asked);
    assert_eq!(find("^1.0", "commit-b").unwrap(), "web 1.3.0");
    assert_eq!(find(">=2.0.0-0", "").unwrap(), "web 2.0.0-rc.1");
    let error = find("^3", "").unwrap_err();
    assert!(
        error.contains("web has no version \"^3\"; there are: 2.0.0-rc.1, 1.3.0, 1.2.0, 1.0.0"),
        "{error}"
    );
    assert!(find("newest", "").unwrap_err().contains("neither a version nor a range"));
    let archive = std::fs::read(folder.path().join("web-1.0.0.tgz")).unwrap();
    let pinned = format!("1.0.0@sha256:{}", hex::encode(Sha256::digest(archive)));
    assert_eq!(find(&pinned, "").unwrap(), "web 1.0.0");
    let wrong = format!("1.0.0@sha256:{}", "0".repeat(64));
    let error = find(&wrong, "").unwrap_err();
    assert!(error.contains("has the digest sha256:") && error.contains(", not sha256:000"), "{error}");
    let other = Wanted::Chart { name: "shop".into(), version: "1.0.0".into() };
    let error = title(&bench, &server.url(), &other, "").unwrap_err();
    assert!(error.contains("it has no chart \"shop\"; there are: web"), "{error}");
    let error = title(&bench, &format!("{}/nothing", server.url()), &chart("1.0.0"), "").unwrap_err();
    assert!(error.contains("there is no index.yaml"), "{error}");
}

#[test]
fn a_chart_that_is_not_what_its_index_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    helm(&["repo", "index", "."], folder.path());
    let server = Server::new(folder.path(), None);
    package(folder.path(), "1.0.0", "evil");
    let bench = Bench::new();
    let error = title(&bench, &server.url(), &chart("1.0.0"), "").unwrap_err();
    assert!(error.contains("web 1.0.0 has the digest sha256:"), "{error}");
    std::fs::write(folder.path().join("index.yaml"), "entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}")
        .unwrap();
    std::fs::write(folder.path().join("web.tgz"), "no archive").unwrap();
    let error = title(&bench, &server.url(), &chart("1.0.0"), "").unwrap_err();
    assert!(error.contains("it is no archive that can be unpacked"), "{error}");
    let tar = |name: &str| {
        let mut archive = tar_of(name, b"x");
        let mut packed = Vec::new();
        let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        gzip.stdin.take().unwrap().write_all(&std::mem::take(&mut archive)).unwrap();
        gzip.stdout.take().unwrap().read_to_end(&mut packed).unwrap();
        gzip.wait().unwrap();
        packed
    };
    for (name, expected) in [
        ("../evil", "leads out of it"),
        ("/evil", "leads out of it"),
        ("web/.git/config", "no file may have this name"),
    ] {
        std::fs::write(folder.path().join("web.tgz"), tar(name)).unwrap();
        let bench = Bench::new();
        let spec =
            format!("  source: {{repo: \"{}\", helm: {{chart: web, version: 1.0.0}}}}\n", server.url());
        let repo = Repo::with(&[("gitops.yaml", &application(&spec))]);
        let (code, out, err) = bench.gitops(repo.path(), "render", &[]);
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        assert!(err.contains(expected), "{name}: {err}");
    }
    std::fs::write(folder.path().join("index.yaml"), "no: index\n").unwrap();
    assert!(
        title(&bench, &server.url(), &chart("1.0.1"), "").unwrap_err().contains("it is no chart repository")
    );
}

/// A tar archive with one file, whose name no honest program would write.
fn tar_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(bytes);
    archive.resize(512 * 4, 0);
    archive
}

#[test]
fn a_login_goes_to_its_own_host_only() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    helm(&["repo", "index", "."], folder.path());
    // ada:hunter2
    let server = Server::new(folder.path(), Some("YWRhOmh1bnRlcjI="));
    let repo: RepoUrl = server.url().parse().unwrap();
    let ada = Login::Basic { username: "ada".into(), password: Secret::new("hunter2") }.into();
    let get =
        |credentials: &Credentials| fetch(&bench.cache(), &repo, &chart("1.0.0"), "", credentials, LONG);
    let error = get(&Credentials::default()).unwrap_err();
    assert!(matches!(error, SourceError::Credentials { .. }), "{error}");
    assert_eq!(get(&ada).unwrap().subject, "web 1.0.0");
    // A chart that lies elsewhere is asked for without it.
    let other = Server::new(folder.path(), Some("YWRhOmh1bnRlcjI="));
    std::fs::write(
        folder.path().join("index.yaml"),
        format!("entries: {{web: [{{version: 1.1.0, urls: [\"{}/web-1.0.0.tgz\"]}}]}}", other.url()),
    )
    .unwrap();
    let error = fetch(&bench.cache(), &repo, &chart("1.1.0"), "", &ada, LONG).unwrap_err();
    assert!(matches!(error, SourceError::Credentials { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn a_chart_of_a_repository_takes_values_of_git() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    helm(&["repo", "index", "."], folder.path());
    let server = Server::new(folder.path(), None);
    let spec = format!(
        "  sources:\n  - {{ref: own}}\n  - {{repo: \"{}\", helm: {{chart: web, version: \"1.x\", valueFiles: [\"$own/web.yaml\"]}}}}\n",
        server.url()
    );
    let repo = Repo::with(&[("gitops.yaml", &application(&spec)), ("web.yaml", "color: white\n")]);
    let (code, out, err) = bench.gitops(repo.path(), "render --origin", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("key: white") && out.contains("//web/templates/a.yaml"), "{out}");
    for (spec, expected) in [
        (
            "helm: {chart: web, version: 1.0.0}, path: x",
            "spec.source.path: a chart of a repository has no path",
        ),
        ("helm: {version: 1.0.0}", "spec.source.helm.version: it needs helm.chart"),
        ("helm: {chart: web, version: 1.0.0}, type: Plain", "spec.source.type: with helm.chart it is Helm"),
        ("type: OCI", "spec.source.repo: type OCI needs a registry"),
        ("helm: {chart: web, version: 7.x}", "web has no version \"7.x\"; there are: 1.0.0"),
    ] {
        let spec = format!("  source: {{repo: \"{}\", {spec}}}\n", server.url());
        repo.commit("bad", &[("gitops.yaml", &application(&spec))]);
        let (code, out, err) = bench.gitops(repo.path(), "render", &[]);
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        assert!(err.contains(expected) && err.contains("hint: "), "{err}");
    }
}

#[test]
fn a_kustomization_inflates_charts_of_a_repository() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    package(folder.path(), "1.1.0", "green");
    helm(&["repo", "index", "."], folder.path());
    let server = Server::new(folder.path(), None);
    let inflates = |version: &str| {
        format!(
            "resources: [../base]\nnamePrefix: p-\nhelmCharts: [{{name: web, repo: \"{}\", {version} releaseName: r, valuesInline: {{}}}}]\n",
            server.url()
        )
    };
    let spec = "  source: {path: app, kustomize: {enableHelm: true}}\n";
    let repo = Repo::with(&[
        ("gitops.yaml", &application(spec)),
        ("app/kustomization.yaml", &inflates("version: 1.0.0,")),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", &config_map("a", "1")),
    ]);
    let render = || bench.gitops(repo.path(), "render", &[]);
    let (code, out, err) = render();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("key: red") && out.contains("name: p-web") && out.contains("name: p-a"), "{out}");
    // What is here needs no repository any more, and a range holds for its commit.
    let asked = server.asked();
    assert_eq!(render().0, 0);
    assert_eq!(server.asked(), asked);
    for version in ["version: \">=1.0\",", ""] {
        repo.commit("newest", &[("app/kustomization.yaml", &inflates(version))]);
        let (code, out, err) = render();
        assert!(code == 0 && out.contains("key: green"), "{version:?}: {out}{err}");
    }
    package(folder.path(), "1.2.0", "black");
    helm(&["repo", "index", "."], folder.path());
    assert!(render().1.contains("key: green"), "the commit means the same version as before");
    repo.commit("again", &[("base/a.yaml", &config_map("a", "2"))]);
    assert!(render().1.contains("key: black"));
    // A chart beside the kustomization goes first, as with kustomize itself.
    repo.commit(
        "own",
        &[
            ("app/kustomization.yaml", &inflates("version: 1.0.0,")),
            ("app/charts/web-1.0.0/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
            ("app/charts/web-1.0.0/web/values.yaml", ""),
            ("app/charts/web-1.0.0/web/templates/a.yaml", &config_map("own", "white")),
        ],
    );
    assert!(render().1.contains("key: white"));
    repo.git(&["rm", "-rq", "app/charts"]);
    std::os::unix::fs::symlink("../base", repo.file("app/charts")).unwrap();
    for (version, link, expected) in [
        ("version: 7.0.0,", false, "web has no version \"7.0.0\"; there are: 1.2.0, 1.1.0, 1.0.0"),
        ("version: 1.0.0,", true, "a fetched chart is not put behind the link app/charts"),
    ] {
        if !link {
            std::fs::rename(repo.file("app/charts"), repo.file("app/other")).unwrap();
        } else {
            std::fs::rename(repo.file("app/other"), repo.file("app/charts")).unwrap();
        }
        repo.commit("bad", &[("app/kustomization.yaml", &inflates(version))]);
        let (code, out, err) = render();
        assert_eq!((code, out.as_str()), (4, ""), "{err}");
        assert!(err.contains(expected) && err.contains("hint: "), "{err}");
    }
}

#[test]
fn a_project_says_which_charts_a_kustomization_may_inflate() {
    let bench = Bench::new();
    let folder = tempfile::tempdir().unwrap();
    package(folder.path(), "1.0.0", "red");
    helm(&["repo", "index", "."], folder.path());
    let server = Server::new(folder.path(), None);
    let chart =
        format!("helmCharts: [{{name: web, repo: \"{}\", version: 1.0.0, releaseName: r}}]\n", server.url());
    let spec = "  source: {path: app, kustomize: {enableHelm: true}}\n";
    let repo = Repo::with(&[("gitops.yaml", &application(spec)), ("app/kustomization.yaml", &chart)]);
    let environment = bench.environment();
    let mut loaded = gitops_engine::read_file(&repo.file("gitops.yaml"), "shop", &Credentials::default())
        .unwrap()
        .remove(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(gitops_engine::desired::commit(&loaded, &environment, None)).unwrap();
    let mut desired = |repositories: serde_json::Value| {
        let project = serde_json::json!({"repositories": repositories});
        loaded.project = Some(serde_json::from_value(project).unwrap());
        runtime
            .block_on(gitops_engine::desired(
                &loaded,
                &environment,
                &repo.head(),
                &super::multiple::Everything,
            ))
            .map(|set| set.objects.len())
            .map_err(|error| error.to_string())
    };
    let git = serde_json::json!({"url": "file:///**"});
    let error = desired(serde_json::json!([git])).unwrap_err();
    assert!(error.contains("chart web 1.0.0 of ") && error.contains("no rule is about it"), "{error}");
    assert_eq!(server.asked(), 0, "nobody was asked");
    let of_it = |versions: &[&str]| serde_json::json!([git, {"url": server.url(), "branches": versions}]);
    let error = desired(of_it(&["2.*"])).unwrap_err();
    assert!(error.contains("1.0.0 is none of the versions that count (2.*)"), "{error}");
    assert_eq!(desired(of_it(&["1.*"])).unwrap(), 1);
}

static ONE: Mutex<()> = Mutex::new(());

#[test]
fn charts_lie_in_a_registry() {
    let _one = ONE.lock();
    let registry = Registry::start();
    let bench = Bench::new();
    let url = format!("oci://{}/charts", registry.host());
    for (version, color, newest) in [("1.0.0", "red", "1.0.0"), ("1.2.0+build.1", "green", "1.2.0+build.1")] {
        package(registry.folder.path(), version, color);
        let file = format!("web-{version}.tgz");
        helm(
            &["push", &file, &format!("oci://{}/charts", registry.host()), "--plain-http"],
            registry.folder.path(),
        );
        assert!(marked(&url, &chart("^1")).starts_with(&format!("web {newest} sha256:")));
    }
    let find = |version: &str, beside: &str| title(&bench, &url, &chart(version), beside);
    assert_eq!(find("1.0.0", "").unwrap(), "web 1.0.0");
    assert_eq!(find("^1", "a").unwrap(), "web 1.2.0+build.1");
    let mark = marked(&url, &chart("1.0.0"));
    let pinned = format!("1.0.0@{}", mark.rsplit(' ').next().unwrap());
    assert_eq!(find(&pinned, "").unwrap(), "web 1.0.0");
    let error = find(&format!("1.0.0@sha256:{}", "0".repeat(64)), "").unwrap_err();
    assert!(error.contains(&"0".repeat(64)), "{error}");
    let error = find("2.0.0", "").unwrap_err();
    assert!(error.contains(&format!("there is no {}/charts/web:2.0.0", registry.host())), "{error}");
    let error = find("^2", "").unwrap_err();
    assert!(error.contains("there are: 1.2.0+build.1, 1.0.0"), "{error}");
    let spec = format!(
        "  source: {{repo: \"{url}\", helm: {{chart: web, version: 1.0.0, values: {{color: pink}}}}}}\n"
    );
    let repo = Repo::with(&[("gitops.yaml", &application(&spec))]);
    let (code, out, err) = bench.gitops(repo.path(), "render", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("key: pink"), "{out}");
    let inflating = Repo::with(&[
        ("gitops.yaml", &application("  source: {path: app, kustomize: {enableHelm: true}}\n")),
        (
            "app/kustomization.yaml",
            &format!(
                "helmCharts: [{{name: web, repo: \"{url}\", version: 1.0.0, releaseName: r, valuesInline: {{color: teal}}}}]\n"
            ),
        ),
    ]);
    let (code, out, err) = bench.gitops(inflating.path(), "render", &[]);
    assert!(code == 0 && out.contains("key: teal"), "{out}{err}");
    drop(registry);
    // What is here needs no registry any more.
    assert_eq!(find("1.0.0", "").unwrap(), "web 1.0.0");
    let (code, out, err) = bench.gitops(repo.path(), "render", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("key: pink"));
    let error = find("1.0.1", "").unwrap_err();
    assert!(error.contains("cannot be reached"), "{error}");
}

#[test]
fn artifacts_are_rendered_like_folders() {
    let _one = ONE.lock();
    let registry = Registry::start();
    let bench = Bench::new();
    let flux = "application/vnd.cncf.flux.content.v1.tar+gzip";
    let first = packed(&[
        ("app/kustomization.yaml", "resources: [../base]\nnamePrefix: p-\n"),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", &config_map("a", "one")),
    ]);
    let digest = registry.push("team/app:v1", flux, first.clone());
    let url = format!("oci://{}/team/app", registry.host());
    let repo = Repo::new();
    let render = |source: &str| {
        let spec = format!("  source: {{repo: \"{url}\", {source}}}\n");
        repo.commit("describe", &[("gitops.yaml", &application(&spec))]);
        bench.gitops(repo.path(), "render --origin", &[])
    };
    let (code, out, err) = render("type: OCI, revision: v1, path: app");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("name: p-a") && out.contains("key: one") && out.contains("# base/a.yaml"), "{out}");
    // A tag moves, a digest does not.
    let tagged = Wanted::Artifact { reference: "v1".into() };
    assert_eq!(marked(&url, &tagged), digest);
    registry.push("team/app:v1", flux, packed(&[("app/a.yaml", &config_map("a", "two"))]));
    assert_ne!(marked(&url, &tagged), digest);
    let (_, out, _) = render("revision: v1, path: app");
    assert!(out.contains("key: two"), "{out}");
    let (code, out, err) = render(&format!("type: OCI, revision: \"{digest}\", path: app"));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("key: one"), "{out}");
    registry.push("team/app:odd", "application/octet-stream", first);
    for (source, expected) in [
        ("revision: v9", format!("there is no {}/team/app:v9", registry.host())),
        ("revision: odd", "one layer of a type that ends in tar+gzip is needed".to_owned()),
        ("revision: v1, path: nowhere", "has no \"nowhere\" at".to_owned()),
        ("revision: v1, type: Helm, path: app", "has no \"app/Chart.yaml\"".to_owned()),
    ] {
        let (code, out, err) = render(source);
        assert_eq!((code, out.as_str()), (4, ""), "{source}: {err}");
        assert!(err.contains(&expected) && err.contains("hint: "), "{source}: {err}");
    }
}
