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
    // Every file may be imported, so every commit counts; and that is said.
    let snapshot = bench.cache().snapshot(&repo.url().parse().unwrap(), &repo.head()).unwrap();
    let mut wanted = request("app");
    wanted.kind = SourceType::Jsonnet;
    let why = gitops_source::whole_tree(&snapshot, &wanted).unwrap().unwrap();
    assert!(why.contains("import"), "{why}");
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
