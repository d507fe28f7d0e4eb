//! Jsonnet: what it renders to, and what it does not get.

use gitops_source::SourceType;
use gitops_tests::Repo;

use super::{Bench, config_map, request};

#[test]
fn objects_lists_and_maps_of_objects_are_read() {
    let bench = Bench::new();
    let repo = Repo::with(&[
        (
            "app/main.jsonnet",
            "local lib = import 'map.libsonnet';\n{ web: lib.map('web', importstr 'text'), more: [lib.map('a', '1'), null, { apiVersion: 'v1', kind: 'List', items: [lib.map('b', '2')] }] }\n",
        ),
        ("app/text", "hello"),
        (
            "lib/map.libsonnet",
            "{ map(name, value): { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: name }, data: { key: std.asciiUpper(value) } } }",
        ),
    ]);
    for path in ["app", "app/main.jsonnet"] {
        let mut wanted = request(path);
        wanted.kind = SourceType::Jsonnet;
        let objects = bench.render(&repo, &wanted).unwrap();
        let mut found: Vec<(&str, &str)> = objects
            .iter()
            .map(|object| {
                assert_eq!(&*object.file, "app/main.jsonnet");
                (
                    object.value["metadata"]["name"].as_str().unwrap(),
                    object.value["data"]["key"].as_str().unwrap(),
                )
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, [("a", "1"), ("b", "2"), ("web", "HELLO")]);
    }
}

#[test]
fn what_is_imported_counts_and_nothing_else() {
    let bench = Bench::new();
    let lib =
        |value: &str| format!("{{ apiVersion: 'v1', kind: 'ConfigMap', metadata: {{ name: '{value}' }} }}");
    let repo = Repo::with(&[
        ("app/main.jsonnet", "[import 'deep/a.libsonnet', import 'b.libsonnet']"),
        ("lib/deep/a.libsonnet", "(import 'c.libsonnet') + { data: { text: importstr '/text' } }"),
        ("lib/deep/c.libsonnet", &lib("c")),
        ("vendor/b.libsonnet", &lib("b")),
        ("text", "not read: a path from the root of this machine"),
    ]);
    let mut wanted = request("app/main.jsonnet");
    wanted.kind = SourceType::Jsonnet;
    let snapshot = || bench.cache().snapshot(&repo.url().parse().unwrap(), &repo.head()).unwrap();
    let id = || gitops_source::reading(&snapshot(), &wanted).unwrap();
    assert!(bench.refusal(&repo, &wanted).contains("/text"));
    repo.commit(
        "beside",
        &[("lib/deep/a.libsonnet", "(import 'c.libsonnet') + { data: { text: importstr '../../text' } }")],
    );
    let names = || {
        let objects = bench.render(&repo, &wanted).unwrap();
        objects
            .iter()
            .map(|object| object.value["metadata"]["name"].to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        (names(), gitops_source::whole_tree(&snapshot(), &wanted).unwrap()),
        (r#""c" "b""#.into(), None)
    );
    let read = gitops_source::reads(&snapshot(), &wanted).unwrap().paths;
    for path in
        ["app/main.jsonnet", "lib/deep/a.libsonnet", "lib/deep/c.libsonnet", "vendor/b.libsonnet", "text"]
    {
        assert!(read.contains(path), "{path}: {read:?}");
    }
    let before = id();
    repo.commit("elsewhere", &[("app/other.jsonnet", "{}"), ("lib/d.libsonnet", "{}"), ("docs/a.md", "")]);
    assert_eq!(id(), before);
    // A file where it is looked for first.
    repo.commit("nearer", &[("app/vendor/b.libsonnet", &lib("nearer"))]);
    assert_ne!(id(), before);
    assert_eq!(names(), r#""c" "nearer""#);
    repo.commit("deeper", &[("lib/deep/c.libsonnet", &lib("d"))]);
    assert_eq!(names(), r#""d" "nearer""#);
    // Where it is not written as it is, every file counts, and that is said.
    repo.commit(
        "hidden",
        &[
            ("vendor/b.libsonnet", ""),
            ("app/vendor/b.libsonnet", "import 'x\\u002elibsonnet'"),
            ("x.libsonnet", &lib("x")),
        ],
    );
    assert_eq!(names(), r#""d" "x""#);
    let why = gitops_source::whole_tree(&snapshot(), &wanted).unwrap().unwrap();
    assert!(why.contains("app/vendor/b.libsonnet imports"), "{why}");
}

#[test]
fn nothing_outside_of_the_repository_is_imported_and_nothing_runs_for_ever() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "hunter2").unwrap();
    let absolute = format!("importstr '{}'", outside.path().display());
    for (program, expected) in [
        (absolute.as_str(), "lies outside of the repository"),
        ("importstr '../../../../../../etc/hostname'", "main.jsonnet: jsonnet failed"),
        ("importstr '/usr/share/doc'", "main.jsonnet: jsonnet failed"),
        ("importstr '/usr/bin/env'", "outside of the repository"),
        ("local f(x) = f(x + 1) + 1; f(0)", "stack overflow"),
        ("{ a: ", "main.jsonnet: jsonnet failed"),
        ("error 'no color is given'", "no color is given"),
        ("import 'missing.libsonnet'", "missing.libsonnet"),
        ("{ a: 1 }", "$.a is 1: an object, a list or a map of objects is needed"),
        ("{ apiVersion: 'v1', metadata: {} }", "apiVersion or kind is missing"),
    ] {
        let bench = Bench::new();
        let repo = Repo::with(&[("app/main.jsonnet", program)]);
        let mut wanted = request("app");
        wanted.kind = SourceType::Jsonnet;
        let error = bench.refusal(&repo, &wanted);
        assert!(error.contains(expected) && error.contains("app/main.jsonnet"), "{program}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(bench.kept(), 0);
    }
    let bench = Bench::new();
    let repo = Repo::with(&[("app/a.yaml", &config_map("a", "1"))]);
    let mut wanted = request("app");
    wanted.kind = SourceType::Jsonnet;
    assert_eq!(bench.refusal(&repo, &wanted), "app: there is no .jsonnet file in it");
}
