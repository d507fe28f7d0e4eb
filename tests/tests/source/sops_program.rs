//! Files that the `sops` program itself has encrypted: each means what it did
//! before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gitops_source::sops::Keys;
use gitops_source::{RenderRequest, Secret};
use gitops_tests::Repo;
use serde_json::json;

use super::{Bench, request};

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sops");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn wanted(path: &str) -> RenderRequest {
    let keys = Keys { age: vec![Secret::new(file("age.key"))], program: None };
    RenderRequest { keys, ..request(path) }
}

#[test]
fn objects_of_the_program_are_read() {
    let bench = Bench::new();
    let repo =
        Repo::with(&[("app/secret.yaml", &file("secret.yaml")), ("app/secret.json", &file("secret.json"))]);
    let objects = bench.render(&repo, &wanted("app")).unwrap();
    let of = |name: &str| {
        objects.iter().map(|object| &object.value).find(|value| value["metadata"]["name"] == name).unwrap()
    };
    let secret = json!({"password": "hunter2", "multi": "one\ntwo\n", "list": "[1, 2]", "empty": ""});
    assert_eq!(of("a")["stringData"], secret);
    assert_eq!(of("b")["data"], json!({"number": "12", "unicode": "grüße ☃"}));
    assert_eq!(of("j")["stringData"], json!({"password": "hunter2"}));
    bench.holds_nothing_of("hunter2");
}

#[test]
fn values_and_files_of_the_program_are_read() {
    let bench = Bench::new();
    let top = "secretGenerator: [{name: s, envs: [prod.env], files: [key.pem]}]\ngeneratorOptions: {disableNameSuffixHash: true}\n";
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {all: {{ .Values | toJson | quote }}}\n";
    let repo = Repo::with(&[
        ("app/kustomization.yaml", top),
        ("app/prod.env", &file("prod.env")),
        ("app/key.pem", &file("key.pem")),
        ("chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("chart/templates/a.yaml", template),
        ("values.yaml", &file("values.yaml")),
    ]);
    let objects = bench.render(&repo, &wanted("app")).unwrap();
    let data = objects[0].value["data"].as_object().unwrap();
    let clear = |name: &str| STANDARD.decode(data[name].as_str().unwrap()).unwrap();
    assert_eq!(clear("PASSWORD"), b"hunter2");
    assert_eq!(clear("LONG"), b"two\\nlines");
    assert_eq!(clear("EMPTY"), b"");
    assert_eq!(clear("key.pem"), b"-----BEGIN hunter2\nnot \0 text\n");
    assert_eq!(data.len(), 4, "{data:?}");
    let mut chart = wanted("chart");
    chart.helm.value_files = vec!["/values.yaml".into()];
    let objects = bench.render(&repo, &chart).unwrap();
    let all: serde_json::Value =
        serde_json::from_str(objects[0].value["data"]["all"].as_str().unwrap()).unwrap();
    assert_eq!(all["password"], "hunter2");
    assert_eq!((&all["port"], &all["ratio"], &all["active"]), (&json!(8080), &json!(1.5), &json!(true)));
    assert_eq!(all["nested"], json!({"deep": ["a", 1, false]}));
    assert_eq!(all.get("nothing").cloned().unwrap_or_default(), json!(null));
    bench.holds_nothing_of("hunter2");
}

/// As `sops decrypt prod.ini` prints it, but for the comments.
const INI: &str = "top = level\n\n[db]\nuser_unencrypted = ada\npassword         = hunter2\nodd              = `a # b; \"c\"`\nlines            = \"\"\"one\ntwo\"\"\"\nnothing          = \n\n[empty]\n\n[more]\nspace = \" x \"\n";

#[test]
fn ini_files_of_the_program_are_read() {
    let bench = Bench::new();
    let top = "secretGenerator: [{name: s, files: [prod.ini]}]\nconfigMapGenerator: [{name: c, files: [prod.ini]}]\ngeneratorOptions: {disableNameSuffixHash: true}\n";
    let (sealed, key) = (file("prod.ini"), file("age.key"));
    let repo = Repo::with(&[("app/kustomization.yaml", top), ("app/prod.ini", &sealed)]);
    let objects = bench.render(&repo, &wanted("app")).unwrap();
    let data = |kind: &str| {
        let object = objects.iter().find(|object| object.value["kind"] == kind).unwrap();
        object.value["data"]["prod.ini"].as_str().unwrap().to_owned()
    };
    assert_eq!(data("ConfigMap"), INI);
    assert_eq!(
        STANDARD.decode(data("Secret").split_whitespace().collect::<String>()).unwrap(),
        INI.as_bytes()
    );
    bench.holds_nothing_of("hunter2");
    let environment = [("SOPS_AGE_KEY", key.as_str())];
    let (code, out, err) = bench.gitops(repo.path(), "render --repo . --path app", &environment);
    assert_eq!((code, out.matches("***").count()), (0, 2), "{out}{err}");
    assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{out}{err}");
    // Without a key, or changed, it is nothing that could be applied.
    assert!(bench.refusal(&repo, &request("app")).contains("app/prod.ini: SOPS: there is no key for it"));
    for (from, to, told) in [
        ("= ada", "= eve", "its values do not match sops.mac"),
        ("[more]", "[less]", "less.space cannot be decrypted"),
        ("nothing          = ", "nothing", "a line is neither section nor key"),
        ("[empty]", "[db]", "a section or a key is in it twice"),
    ] {
        repo.commit("change", &[("app/prod.ini", &sealed.replace(from, to))]);
        let error = bench.refusal(&repo, &wanted("app"));
        assert!(error.starts_with("app/prod.ini: SOPS: ") && error.contains(told), "{told}: {error}");
    }
}

/// A key of GnuPG, in a folder of its own.
struct Gnupg(tempfile::TempDir);

impl Gnupg {
    fn new() -> Self {
        let new = Self(tempfile::tempdir().unwrap());
        let key = ["--batch", "--passphrase", "", "--quick-generate-key", "ops@example.com"];
        new.run(Command::new("gpg").args(key));
        new
    }

    fn run(&self, command: &mut Command) -> String {
        let ran = command.env("GNUPGHOME", self.0.path()).output().unwrap();
        assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    fn fingerprint(&self) -> String {
        let keys = self.run(Command::new("gpg").args(["--with-colons", "--fingerprint"]));
        keys.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':').into()
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        let _ = end.args(["--kill", "all"]).env("GNUPGHOME", self.0.path()).status();
    }
}

#[test]
fn a_key_of_gnupg_is_left_to_the_program_itself() {
    let (bench, gnupg) = (Bench::new(), Gnupg::new());
    let clear = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: hunter2}\n";
    let file = bench.home.path().join("secret.yaml");
    std::fs::write(&file, clear).unwrap();
    let mut encrypt = Command::new("sops");
    encrypt.args(["encrypt", "--encrypted-regex", "^stringData$", "--pgp", &gnupg.fingerprint()]);
    let sealed = gnupg.run(encrypt.arg(&file));
    assert!(sealed.contains("password: ENC[") && !sealed.contains("hunter2"), "{sealed}");
    std::fs::remove_file(&file).unwrap();
    let repo = Repo::with(&[("app/secret.yaml", &sealed)]);
    // As somebody who has the key runs it, and as somebody who has not.
    let run_by = |home: &Path| {
        let program = home.join("sops-as-they-do");
        let script = format!("#!/bin/sh\nGNUPGHOME='{}' exec sops \"$@\"\n", home.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        RenderRequest { keys: Keys { age: Vec::new(), program: Some(program) }, ..request("app") }
    };
    let objects = bench.render(&repo, &run_by(gnupg.0.path())).unwrap();
    assert_eq!(objects[0].value["stringData"], json!({"password": "hunter2"}));
    bench.holds_nothing_of("hunter2");
    let nobody = tempfile::tempdir().unwrap();
    let refusal = bench.refusal(&repo, &run_by(nobody.path()));
    assert!(refusal.contains("sops cannot decrypt it"), "{refusal}");
    bench.holds_nothing_of("hunter2");
}
