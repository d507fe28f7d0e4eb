//! Writes the generated files anew, or with `--check` fails where one is stale.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool of the build: what is missing ends it")]
#![allow(clippy::print_stderr, reason = "a tool of the build: it says what is stale")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use gitops_core::object::Gvk;
use gitops_core::schema::Schemas;
use serde_json::{Map, Value, json};

/// Serves `--check`: counts what is stale.
struct Files {
    root: PathBuf,
    check: bool,
    stale: Vec<String>,
}

impl Files {
    fn write(&mut self, path: &str, text: &str) {
        let full = self.root.join(path);
        if std::fs::read_to_string(&full).is_ok_and(|there| there == text) {
            return;
        }
        if self.check {
            self.stale.push(path.to_owned());
        } else {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(&full, text).unwrap();
            eprintln!("wrote {path}");
        }
    }
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let mut files = Files { root, check: std::env::args().any(|a| a == "--check"), stale: Vec::new() };
    builtin_schemas(&mut files);
    omits_zero(&mut files);
    definitions(&mut files);
    reference(&mut files);
    chart_readme(&mut files);
    if files.stale.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("stale, run `make generate`: {}", files.stale.join(", "));
    ExitCode::FAILURE
}

/// Folder of a Go module that the test cluster is built from.
fn go_module(files: &Files, name: &str) -> PathBuf {
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", name])
        .current_dir(files.root.join("tests/cluster/go/k8s"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The built-in kinds, compiled from Kubernetes' own OpenAPI documents. All
/// documents become one, so that what they share is kept once.
fn builtin_schemas(files: &mut Files) {
    let folder = go_module(files, "k8s.io/kubernetes").join("api/openapi-spec/v3");
    let mut definitions = Map::new();
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names.iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
        let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
            definitions.append(schemas);
        }
    }
    let kinds: Vec<Gvk> = definitions
        .values()
        .filter(|definition| {
            definition
                .pointer("/properties/metadata/allOf/0/$ref")
                .is_some_and(|r| r.as_str().unwrap().ends_with(".ObjectMeta"))
        })
        .filter_map(|definition| {
            definition.get("x-kubernetes-group-version-kind")?.as_array()?.first().cloned()
        })
        .filter_map(|gvk| {
            let text = |name: &str| Some(gvk.get(name)?.as_str()?.to_owned());
            Some(Gvk { group: text("group")?, version: text("version")?, kind: text("kind")? })
        })
        .filter(|gvk| !gvk.version.contains("alpha") && !gvk.version.contains("beta"))
        .collect();
    let mut schemas = Schemas::new();
    schemas.add_document(&json!({"components": {"schemas": definitions}}), &kinds).unwrap();
    let text = serde_json::to_string(&schemas).unwrap() + "\n";
    files.write("crates/core/data/builtin-schemas.json", &text);
}

/// Fields that drop their zero value, from the Go types.
fn omits_zero(files: &mut Files) {
    let places = [
        ("k8s.io/api", "*/*/types*.go"),
        ("k8s.io/apimachinery", "pkg/apis/meta/v1/types.go"),
        ("k8s.io/apiextensions-apiserver", "pkg/apis/apiextensions/v1/types*.go"),
        ("k8s.io/kube-aggregator", "pkg/apis/apiregistration/v1/types.go"),
    ];
    let sources: Vec<String> = places
        .iter()
        .map(|(module, glob)| format!("{}/{glob}", go_module(files, module).display()))
        .collect();
    let script =
        format!("LC_ALL=C awk -f crates/core/data/omits-zero.awk {} | LC_ALL=C sort -u", sources.join(" "));
    let output = Command::new("sh").args(["-c", &script]).current_dir(&files.root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let header = "# Generated from the Go types of Kubernetes by omits-zero.awk; do not edit.\n";
    files.write(
        "crates/core/data/omits-zero.txt",
        &(header.to_owned() + &String::from_utf8(output.stdout).unwrap()),
    );
}

/// The definitions of our kinds, as templates of the chart: kept when the
/// chart goes, because their objects would go with them.
fn definitions(files: &mut Files) {
    for crd in gitops_api::crds() {
        let mut value = serde_json::to_value(&crd).unwrap();
        value["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        let text = serde_saphyr::to_string(&value).unwrap();
        // Descriptions may hold what helm takes for its own.
        assert!(!text.contains("{{"), "a description holds {{{{");
        let path = format!("charts/gitops/templates/crds/{}.yaml", crd.spec.names.plural);
        files.write(&path, &format!("# Generated by `make generate`; do not edit.\n{text}"));
    }
}

/// The reference of all commands, told by the plugin itself.
fn reference(files: &mut Files) {
    let plugin = std::env::var_os("KUBECTL_GITOPS_BIN")
        .map_or_else(|| gitops_tests::binary("kubectl-gitops"), PathBuf::from);
    let output = Command::new(plugin).arg("markdown-help").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    files.write("docs/cli.md", &String::from_utf8(output.stdout).unwrap());
}

/// The chart's values as a table: `# -- ` before a key says what it is for.
fn chart_readme(files: &mut Files) {
    let text = std::fs::read_to_string(files.root.join("charts/gitops/values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let mut rows = String::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut said = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(comment) = line.trim_start().strip_prefix("# ") {
            said = format!("{said} {}", comment.trim_start_matches("-- ")).trim().to_owned();
            continue;
        }
        let Some((key, _)) = line.trim().split_once(':') else {
            said.clear();
            continue;
        };
        above.retain(|(depth, _)| *depth < indent);
        above.push((indent, key.to_owned()));
        let keys: Vec<&str> = above.iter().map(|(_, key)| key.as_str()).collect();
        let value = values.pointer(&format!("/{}", keys.join("/"))).unwrap();
        let branch = line.trim_end().ends_with(':');
        if !branch || !said.is_empty() {
            let default = if branch { String::new() } else { format!("`{value}`") };
            rows.push_str(&format!("| `{}` | {default} | {said} |\n", keys.join(".")));
        }
        said.clear();
    }
    let text = format!(
        "# gitops\n\nGenerated from values.yaml by `make generate`; do not edit.\n\n\
         Installs the admission webhook and the controller of kubectl-gitops: two replicas of each, the webhook's certificate, RBAC, \
         roles for people (docs/access.md), the definitions of our kinds, and a policy that guards them.\n\n\
         ```sh\nhelm install gitops charts/gitops --namespace gitops-system --create-namespace --wait\n```\n\n\
         Helm 3.14 or newer, or Helm 4; Kubernetes 1.30 or newer. `helm uninstall` leaves the definitions, because their \
         objects would go with them, and nothing that blocks the cluster. `helm test gitops` checks that everything works.\n\n\
         | value | default | what it is for |\n|---|---|---|\n{rows}"
    );
    files.write("charts/gitops/README.md", &text);
}
