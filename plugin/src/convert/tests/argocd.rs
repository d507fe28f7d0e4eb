//! Argo CD's Applications.

use serde_json::{Value, json};

use super::{Folders, OWN, said};
use crate::convert::{Folder, Holds, Seen};

/// An Application; its `repoURL: OWN` is the repository one stands in.
fn application(name: &str, spec: &str) -> String {
    let spec = spec.replace("OWN", OWN).replace('\n', "\n  ");
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: argocd}}\nspec:\n  {spec}\n---\n"
    )
}

fn tree() -> Folders {
    Folders::default()
        .holding("apps/web", Holds::Kustomize)
        .holding("plain", Holds::Plain)
        .holding("chart", Holds::Chart)
        .with_file("chart/own.yaml")
}

#[test]
fn sources_are_written_as_ours() {
    let cases: [(&str, Value); 10] = [
        ("source: {repoURL: OWN, path: ./apps/web/, targetRevision: HEAD}", json!({"path": "apps/web"})),
        (
            "source: {repoURL: 'ssh://git@git.example/team/Shop', path: plain, targetRevision: main}",
            json!({"path": "plain", "revision": "main", "plain": {"recurse": false}}),
        ),
        (
            "source: {repoURL: OWN, path: plain, directory: {recurse: true, include: '*.yaml', exclude: '{a,b}.yaml'}}",
            json!({"path": "plain", "plain": {"include": ["*.yaml"], "exclude": ["{a,b}.yaml"]}}),
        ),
        (
            "source: {repoURL: https://h/x.git, path: a, targetRevision: v1}",
            json!({"repo": "https://h/x.git", "path": "a", "revision": "v1", "plain": {"recurse": false}}),
        ),
        (
            "source: {repoURL: OWN, path: apps/web, targetRevision: v1}",
            json!({"path": "apps/web", "revision": "v1", "plain": {"recurse": false}}),
        ),
        (
            "source: {repoURL: OWN, path: apps/web, kustomize: {images: ['a=b:1', 'c:2'], components: [../c]}}",
            json!({"path": "apps/web", "kustomize": {"images": ["a=b:1", "c:2"], "components": ["../c"]}}),
        ),
        (
            "source: {repoURL: https://charts.example, chart: web, targetRevision: 1.*, helm: {releaseName: x}}",
            json!({"repo": "https://charts.example", "helm": {"chart": "web", "version": "1.*", "releaseName": "x"}}),
        ),
        (
            "source: {repoURL: registry.example/charts, chart: web, targetRevision: 1.2.3}",
            json!({"repo": "oci://registry.example/charts", "helm": {"chart": "web", "version": "1.2.3"}}),
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {releaseName: web, valueFiles: [own.yaml, /x.yaml], values: 'a: {b: 1}', parameters: [{name: a.b, value: '2'}, {name: t, value: 'true', forceString: true}, {name: note, value: '$ARGOCD_APP_NAME', forceString: true}]}}",
            json!({"path": "chart", "helm": {"valueFiles": ["own.yaml", "/x.yaml"], "values": {"a": {"b": 1}, "t": "true"}, "set": {"a.b": "2", "note": "web"}}}),
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {ignoreMissingValueFiles: false, valuesObject: {a: 1}}}",
            json!({"path": "chart", "helm": {"values": {"a": 1}}}),
        ),
    ];
    for (spec, expected) in cases {
        let said = said(&application("web", spec), &tree());
        assert_eq!(said.specs["web"], json!({"source": expected}), "{spec}");
        said.finds(&[]);
    }
}

#[test]
fn several_sources_keep_their_order_and_names() {
    let said = said(
        &application(
            "web",
            "sources:\n- {repoURL: https://charts.example, chart: web, targetRevision: 1.0.0, helm: {valueFiles: [$v/web.yaml]}}\n- {repoURL: OWN, targetRevision: main, ref: v}",
        ),
        &tree(),
    );
    assert_eq!(
        said.specs["web"]["sources"],
        json!([
            {"repo": "https://charts.example", "helm": {"chart": "web", "version": "1.0.0", "valueFiles": ["$v/web.yaml"]}},
            {"revision": "main", "ref": "v"},
        ])
    );
    said.finds(&[]);
}

#[test]
fn destination_and_policy_are_written_as_ours() {
    let said = said(
        &application(
            "web",
            "source: {repoURL: OWN, path: apps/web}
destination: {server: https://kubernetes.default.svc, namespace: shop}
syncPolicy:
  automated: {prune: true, selfHeal: false}
  syncOptions: [CreateNamespace=true, ServerSideApply=true, PruneLast=true]
  retry: {limit: 3, backoff: {duration: '5', factor: 2, maxDuration: 3m}}
ignoreDifferences:
- {group: apps, kind: Deployment, name: web, jsonPointers: [/spec/replicas], managedFieldsManagers: [hpa]}
- {kind: Service, jqPathExpressions: ['.spec.ports[]?.nodePort']}",
        ),
        &tree(),
    );
    assert_eq!(
        said.specs["web"],
        json!({
            "source": {"path": "apps/web"},
            "destination": {"namespace": "shop", "createNamespace": true},
            "sync": {"mode": "Automatic", "selfHeal": false, "prune": true, "options": ["ServerSideApply=true", "PruneLast=true"], "retry": {"limit": 3, "backoff": "5s", "max": "3m"}},
            "ignore": [
                {"group": "apps", "kind": "Deployment", "name": "web", "path": "/spec/replicas"},
                {"group": "apps", "kind": "Deployment", "name": "web", "manager": "hpa"},
                {"group": "", "kind": "Service", "path": ".spec.ports[]?.nodePort"},
            ],
        })
    );
    said.finds(&[]);
}

/// What the fields of a spec beside a good source bring about.
#[test]
fn what_cannot_be_said_is_told_with_its_line() {
    let cases: [(&str, &[(&str, &str)]); 20] = [
        (
            "source: {repoURL: OWN, path: apps/web, kustomize: {namePrefix: a-}}",
            &[(
                "!f.yaml:5: spec.source.kustomize.namePrefix of Application argocd/web",
                "kustomization.yaml",
            )],
        ),
        (
            "source: {repoURL: OWN, path: apps/web, kustomize: {commonLabels: {a: b}, labelWithoutSelector: true}}",
            &[
                ("!f.yaml:5: spec.source.kustomize.commonLabels", "commonLabels"),
                ("f.yaml:5: spec.source.kustomize.labelWithoutSelector", ""),
            ],
        ),
        (
            "source: {repoURL: OWN, path: apps/web, kustomize: {version: v5}}",
            &[("f.yaml:5: spec.source.kustomize.version", "PATH")],
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {skipCrds: true, skipTests: true}}",
            &[("!f.yaml:5: spec.source.helm.skipCrds", "")],
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {fileParameters: [{name: a, path: b}]}}",
            &[("!f.yaml:5: spec.source.helm.fileParameters[0]", "values file")],
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {ignoreMissingValueFiles: true, valueFiles: [own.yaml, no.yaml]}}",
            &[("f.yaml:5: spec.source.helm.valueFiles[1]", "not there")],
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {valueFiles: [https://h/v.yaml]}}",
            &[("!f.yaml:5: spec.source.helm.valueFiles[0]", "commit")],
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {parameters: [{name: 'a[0]', value: '1', forceString: true}]}}",
            &[("!f.yaml:5: spec.source.helm.parameters[0]", "quotes")],
        ),
        (
            "source: {repoURL: OWN, path: chart, helm: {values: 'a: ['}}",
            &[("!f.yaml:5: spec.source.helm.values", "cannot be read")],
        ),
        (
            "source: {repoURL: OWN, path: plain, directory: {jsonnet: {extVars: [{name: a, value: b}]}}}",
            &[("!f.yaml:5: spec.source.directory.jsonnet", ".jsonnet file")],
        ),
        ("source: {repoURL: OWN, path: gone}", &[("!f.yaml:5: spec.source.path", "gone is not there")]),
        (
            "source: {repoURL: OWN, path: apps/web, targetRevision: v1.*}",
            &[("!f.yaml:5: spec.source.targetRevision", "tag")],
        ),
        (
            "source: {repoURL: OWN, path: apps/web}\nrevisionHistoryLimit: 3\ninfo: [{name: a, value: b}]",
            &[("f.yaml:6: spec.revisionHistoryLimit", "history"), ("f.yaml:7: spec.info", "")],
        ),
        (
            "source: {repoURL: OWN, path: apps/web}\ndestination: {server: 'https://East.example:6443'}",
            &[("!f.yaml:6: spec.destination.server", "--name east-example")],
        ),
        (
            "source: {repoURL: OWN, path: apps/web}\ndestination: {name: east}",
            &[("f.yaml:6: spec.destination.name", "cluster add")],
        ),
        ("source: {repoURL: OWN, path: apps/web}\nproject: team", &[("f.yaml:6: spec.project", "Project")]),
        (
            "source: {repoURL: OWN, path: apps/web}\nsyncPolicy: {managedNamespaceMetadata: {labels: {a: b}}}",
            &[("!f.yaml:6: spec.syncPolicy.managedNamespaceMetadata", "Namespace")],
        ),
        (
            "source: {repoURL: OWN, path: apps/web}\nsyncPolicy: {syncOptions: [RespectIgnoreDifferences=false, Nonsense=1]}",
            &[
                ("f.yaml:6: spec.syncPolicy.syncOptions[0]", "not supported"),
                ("f.yaml:6: spec.syncPolicy.syncOptions[1]", "unknown"),
            ],
        ),
        (
            "source: {repoURL: OWN, path: apps/web}\nignoreDifferences: [{kind: Service, jqPathExpressions: ['.spec | keys']}]",
            &[("!f.yaml:6: spec.ignoreDifferences[0].jqPathExpressions[0]", "docs/sync.md")],
        ),
        (
            "source: {repoURL: OWN, path: apps/web}\nbrandNew: {a: 1}",
            &[("!f.yaml:6: spec.brandNew", "not known")],
        ),
    ];
    for (spec, expected) in cases {
        let said = said(&application("web", spec), &tree());
        assert!(said.specs.contains_key("web"), "{spec}: {:?}", said.findings);
        said.finds(expected);
    }
}

#[test]
fn what_makes_no_sense_alone_is_left_out() {
    let cases: [(&str, (&str, &str)); 4] = [
        (
            "source: {repoURL: OWN, path: apps/web, plugin: {name: x}}",
            ("!f.yaml:5: spec.source.plugin", "commit what it makes"),
        ),
        ("source: {repoURL: 'git://h/x', path: a}", ("!f.yaml:5: spec.source.repoURL", "no repository")),
        ("source: {path: a}", ("!f.yaml:5: spec.source", "repoURL")),
        ("project: default", ("!f.yaml:4: spec of", "no source")),
    ];
    for (spec, expected) in cases {
        let said = said(&application("web", spec), &tree());
        assert!(said.specs.is_empty(), "{spec}");
        said.finds(&[expected]);
    }
    let others = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: a}\n---\napiVersion: argoproj.io/v1alpha1\nkind: AppProject\nmetadata: {name: b}\n---\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: c}\n";
    said(others, &tree()).finds(&[
        ("!f.yaml:1: ApplicationSet a", "argocd appset generate"),
        ("f.yaml:5: AppProject b", "write a Project"),
    ]);
}

#[test]
fn what_a_kustomization_does_itself_comes_before() {
    let renames = vec![("a".to_owned(), "mirror/a".to_owned())];
    let folder =
        Folder { holds: Holds::Kustomize, transforms: true, renames, is_whole: true, ..Folder::default() };
    let source = "source: {repoURL: OWN, path: own, kustomize: {images: ['a=b:1', 'a:2', 'c@sha256:d', 'a=*:3', 'c=e:*'], components: [x]}}";
    let said = said(&application("web", source), &tree().with("own", folder));
    let images = &said.specs["web"]["source"]["kustomize"]["images"];
    assert_eq!(*images, json!(["mirror/a=b:1", "mirror/a=a:2", "c@sha256:d", "mirror/a=mirror/a:3", "c=e"]));
    said.finds(&[("!f.yaml:5: spec.source.kustomize.components", "own/kustomization.yaml")]);
}

#[test]
fn passwords_in_urls_go_nowhere() {
    let said = said(&application("web", "source: {repoURL: 'https://ada:hunter2@h/x', path: a}"), &tree());
    assert_eq!(said.specs["web"]["source"]["repo"], "https://h/x");
    assert!(!said.findings.iter().any(|line| line.contains("hunter2")));
    said.finds(&[("f.yaml:5: spec.source.repoURL", "left out")]);
}

#[test]
fn an_app_of_apps_is_gitops_yaml_itself() {
    let seen = |kind: &str, name: &str, group: &str| Seen {
        file: format!("argocd/{name}.yaml"),
        group: group.into(),
        kind: kind.into(),
        name: name.into(),
        ..Seen::default()
    };
    let folder = |objects: Vec<Seen>| Folder { objects, is_whole: true, ..Folder::default() };
    let argocd = "argoproj.io";
    let only = tree().with("argocd", folder(vec![seen("Application", "web", argocd)]));
    let text = application("root", "source: {repoURL: OWN, path: argocd}")
        + &application("web", "source: {repoURL: OWN, path: apps/web}");
    let one = said(&text, &only);
    assert_eq!(one.specs.keys().collect::<Vec<_>>(), ["web"]);
    one.finds(&[("f.yaml:5: spec.source.path", "left out")]);
    let mixed = tree().with(
        "argocd",
        folder(vec![
            seen("Application", "web", argocd),
            seen("Application", "db", argocd),
            seen("Service", "s", ""),
        ]),
    );
    let two = said(&text, &mixed);
    assert_eq!(two.specs.len(), 2);
    two.finds(&[
        ("!f.yaml:5: spec.source.path", "--from argocd/db.yaml"),
        ("f.yaml:5: spec.source.path", "take it out"),
    ]);
}

#[test]
fn names_are_made_to_fit_and_releases_keep_theirs() {
    let long = "a".repeat(60);
    let one = said(&application(&long, "source: {repoURL: OWN, path: chart}"), &tree());
    let spec = &one.specs[&"a".repeat(52)];
    assert_eq!(spec["source"], json!({"path": "chart", "helm": {"releaseName": long}}));
    one.finds(&[("f.yaml:1: Application", "is called")]);
    let twice = application("web", "source: {repoURL: OWN, path: chart}").repeat(2);
    let two = said(&twice, &tree());
    assert_eq!(two.specs.len(), 1);
    two.finds(&[("!f.yaml:7: Application argocd/web", "f.yaml:1 already")]);
}

#[test]
fn metadata_is_kept_or_told() {
    let text = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: web\n  labels: {team: a}\n  annotations: {argocd.argoproj.io/sync-wave: '1', x/y: z}\n  finalizers: [resources-finalizer.argocd.argoproj.io]\n  uid: x\nspec: {source: {repoURL: https://h/x, path: a, kustomize: {images: ['a:1']}}}\nstatus: {health: {}}\n";
    said(text, &tree()).finds(&[
        ("f.yaml:6: metadata.annotations.argocd.argoproj.io/sync-wave", "dependsOn"),
        ("f.yaml:6: metadata.annotations.x/y", "nothing"),
        ("f.yaml:7: metadata.finalizers", "--cascade"),
        ("f.yaml:9: spec.source.kustomize.images", "gives another name"),
    ]);
}
