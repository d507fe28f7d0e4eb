//! SOPS files for age keys, written here as SOPS writes them (v3.13): what is
//! decrypted, what is refused, and what is left behind of it.

use std::io::Write;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use age::secrecy::ExposeSecret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gitops_source::sops::Keys;
use gitops_source::{RenderRequest, Secret};
use gitops_tests::Repo;
use sha2::{Digest, Sha512};

use super::{Bench, request};

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 32] = [9; 32];
const MODIFIED: &str = "2026-11-25T08:00:00Z";

struct Writer {
    identity: age::x25519::Identity,
}

impl Writer {
    fn new() -> Self {
        Self { identity: age::x25519::Identity::generate() }
    }

    fn keys(&self) -> Keys {
        let text = format!("# created: today\n{}\n", self.identity.to_string().expose_secret());
        Keys { age: vec![Secret::new(text)], program: None }
    }

    fn seal(text: &str, kind: &str, additional: &str) -> String {
        let cipher: AesGcm<Aes256, U32> = AesGcm::new_from_slice(&KEY).unwrap();
        let payload = Payload { msg: text.as_bytes(), aad: additional.as_bytes() };
        let sealed = cipher.encrypt(Nonce::from_slice(&NONCE), payload).unwrap();
        let (data, tag) = sealed.split_at(sealed.len() - 16);
        format!(
            "ENC[AES256_GCM,data:{},iv:{},tag:{},type:{kind}]",
            STANDARD.encode(data),
            STANDARD.encode(NONCE),
            STANDARD.encode(tag)
        )
    }

    /// The `sops` of a file whose values are these, in their order.
    fn metadata(&self, values: &[&str]) -> String {
        let mut hash = Sha512::new();
        values.iter().for_each(|value| hash.update(value));
        let mac = Self::seal(&hex::encode_upper(hash.finalize()), "str", MODIFIED);
        let recipient = self.identity.to_public();
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let mut sealed = Vec::new();
        let armor =
            age::armor::ArmoredWriter::wrap_output(&mut sealed, age::armor::Format::AsciiArmor).unwrap();
        let mut writer = encryptor.wrap_output(armor).unwrap();
        writer.write_all(&KEY).unwrap();
        writer.finish().unwrap().finish().unwrap();
        let sealed: String =
            String::from_utf8(sealed).unwrap().lines().map(|line| format!("        {line}\n")).collect();
        format!(
            "sops:\n  age:\n  - recipient: {recipient}\n    enc: |\n{sealed}  lastmodified: \"{MODIFIED}\"\n  mac: {mac}\n  unencrypted_regex: ^(apiVersion|kind|metadata)$\n  version: 3.13.3\n"
        )
    }

    /// A Secret whose values are of every type that SOPS knows.
    fn secret(&self, password: &str) -> String {
        let values = [
            ("password", password, "str"),
            ("zero", "0", "int"),
            ("active", "True", "bool"),
            ("rate", "1.5", "float"),
        ];
        let mut text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n".to_owned();
        for (name, value, kind) in values {
            text += &format!("  {name}: {}\n", Self::seal(value, kind, &format!("stringData:{name}:")));
        }
        let counted: Vec<&str> =
            ["v1", "Secret", "a"].into_iter().chain(values.map(|(_, value, _)| value)).collect();
        text + &self.metadata(&counted)
    }

    /// A dotenv file, as SOPS writes one.
    fn dotenv(&self, password: &str) -> String {
        let metadata = self.metadata(&["visible", password, "two\nlines"]);
        let lines: Vec<&str> = metadata.lines().map(str::trim).collect();
        let of = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        let start = lines.iter().position(|line| line.starts_with("-----BEGIN")).unwrap();
        let end = lines.iter().position(|line| line.starts_with("-----END")).unwrap();
        format!(
            "#comment\nPLAIN_unencrypted=visible\nPASSWORD={}\nLONG={}\nsops_age__list_0__map_enc={}\\n\nsops_age__list_0__map_recipient={}\nsops_lastmodified={MODIFIED}\nsops_mac={}\nsops_version=3.13.3\n",
            Self::seal(password, "str", "PASSWORD:"),
            Self::seal("two\nlines", "str", "LONG:"),
            lines[start..=end].join("\\n"),
            self.identity.to_public(),
            of("mac: "),
        )
    }

    /// A file of any kind, as SOPS keeps it.
    fn whole(&self, content: &str) -> String {
        let metadata = gitops_source::yaml::documents("sops", &self.metadata(&[content])).unwrap();
        let data = Self::seal(content, "str", "data:");
        serde_json::json!({"data": data, "sops": metadata[0].value["sops"]}).to_string()
    }

    fn values(&self, password: &str) -> String {
        format!(
            "plain: visible\npassword: {}\n{}",
            Self::seal(password, "str", "password:"),
            self.metadata(&["visible", password])
        )
    }
}

fn with(path: &str, keys: Keys) -> RenderRequest {
    RenderRequest { keys, ..request(path) }
}

#[test]
fn a_secret_is_decrypted_and_leaves_nothing_behind() {
    let (bench, writer) = (Bench::new(), Writer::new());
    let repo = Repo::with(&[("app/a.yaml", &writer.secret("hunter2-plain"))]);
    for _ in 0..2 {
        let objects = bench.render(&repo, &with("app", writer.keys())).unwrap();
        let data = serde_json::json!({"password": "hunter2-plain", "zero": 0, "active": true, "rate": 1.5});
        assert_eq!(objects[0].value["stringData"], data);
        assert!(objects[0].value.get("sops").is_none());
        assert_eq!(objects[0].line, 1);
    }
    bench.holds_nothing_of("hunter2-plain");
    // Through the plugin: nothing of it in what it prints or keeps.
    let key = writer.identity.to_string();
    let environment = [("KUBECTL_GITOPS_SOPS_AGE_KEY", key.expose_secret())];
    let (code, out, err) = bench.gitops(repo.path(), "render --repo . --path app -v 9", &environment);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("***") && !out.contains("hunter2") && !err.contains("hunter2"), "{out}{err}");
    assert!(!err.contains("AGE-SECRET-KEY"));
    bench.holds_nothing_of("hunter2-plain");
    let file = bench.home.path().join("keys.txt");
    std::fs::write(&file, key.expose_secret()).unwrap();
    let environment = [("SOPS_AGE_KEY_FILE", file.to_str().unwrap())];
    assert_eq!(bench.gitops(repo.path(), "render --repo . --path app", &environment).0, 0);
}

#[test]
fn values_of_charts_and_resources_of_kustomizations_are_decrypted() {
    let (bench, writer) = (Bench::new(), Writer::new());
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: {{ .Values.password }}, y: {{ .Values.plain }}}\n";
    let repo = Repo::with(&[
        ("chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("chart/templates/a.yaml", template),
        ("secrets.yaml", &writer.values("hunter2-chart")),
        ("app/kustomization.yaml", "resources: [a.yaml]\nnamePrefix: p-\n"),
        ("app/a.yaml", &writer.secret("hunter2-kustomize")),
    ]);
    let mut chart = with("chart", writer.keys());
    chart.helm.value_files = vec!["/secrets.yaml".into()];
    let objects = bench.render(&repo, &chart).unwrap();
    assert_eq!(objects[0].value["data"], serde_json::json!({"x": "hunter2-chart", "y": "visible"}));
    let objects = bench.render(&repo, &with("app", writer.keys())).unwrap();
    assert_eq!(objects[0].value["metadata"]["name"], "p-a");
    assert_eq!(objects[0].value["stringData"]["password"], "hunter2-kustomize");
    // Not even of a ConfigMap that holds what was decrypted.
    bench.holds_nothing_of("hunter2");
    // Without a key nothing encrypted gets through.
    for wanted in [RenderRequest { keys: Keys::default(), ..chart }, request("app")] {
        let error = bench.refusal(&repo, &wanted);
        assert!(error.contains("SOPS: there is no key for it: it is for age age1"), "{error}");
    }
}

#[test]
fn files_of_a_secret_generator_are_decrypted() {
    let (bench, writer) = (Bench::new(), Writer::new());
    let top = "secretGenerator: [{name: s, envs: [prod.env], files: [key.pem]}]\ngeneratorOptions: {disableNameSuffixHash: true}\n";
    let files = [
        ("app/kustomization.yaml", top.to_owned()),
        ("app/prod.env", writer.dotenv("hunter2-env")),
        ("app/key.pem", writer.whole("-----BEGIN hunter2-pem\n")),
    ];
    let repo = Repo::with(&files.each_ref().map(|(path, text)| (*path, text.as_str())));
    let objects = bench.render(&repo, &with("app", writer.keys())).unwrap();
    let data = objects[0].value["data"].as_object().unwrap();
    let clear =
        |name: &str| String::from_utf8(STANDARD.decode(data[name].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(clear("PASSWORD"), "hunter2-env");
    assert_eq!(clear("PLAIN_unencrypted"), "visible");
    assert_eq!(clear("LONG"), "two\\nlines", "as in any dotenv file");
    assert_eq!(clear("key.pem"), "-----BEGIN hunter2-pem\n");
    assert_eq!(data.len(), 4, "nothing of SOPS itself");
    bench.holds_nothing_of("hunter2");
    // Encrypted text is never applied, however it is packed.
    let error = bench.refusal(&repo, &request("app"));
    assert!(error.contains("SOPS: there is no key for it: it is for age age1"), "{error}");
    for (path, text, expected) in [
        ("app/prod.env", files[1].1.replace("visible", "other"), "its values do not match sops.mac"),
        (
            "app/key.pem",
            files[2].1.replace("\"ENC[AES256_GCM,data:", "\"ENC[AES256_GCM,data:AA"),
            "cannot be decrypted",
        ),
    ] {
        repo.commit("change", &[(path, &text)]);
        let error = bench.refusal(&repo, &with("app", writer.keys()));
        assert!(error.starts_with(path) && error.contains(expected), "{error}");
        repo.git(&["revert", "--no-edit", "HEAD"]);
    }
}

#[test]
fn what_was_changed_moved_or_is_for_others_is_refused() {
    let writer = Writer::new();
    let good = writer.secret("hunter2");
    let moved = good.replace("  password: ENC", "  other: ENC");
    let added = good.replace("stringData:\n", "stringData:\n  admin: yes-please\n");
    let renamed = good.replace("name: a", "name: b");
    let swapped = {
        let lines: Vec<&str> = good.lines().collect();
        let mut lines = lines.clone();
        lines.swap(5, 6);
        lines.join("\n")
    };
    let short = good.replace("type:str]\n  zero", "type:strange]\n  zero");
    let no_metadata = good.split("sops:").next().unwrap().to_owned();
    for (text, expected) in [
        (&moved, "stringData.other cannot be decrypted: it was changed, or moved from elsewhere"),
        (&added, "it was changed after it had been encrypted: its values do not match sops.mac"),
        (&renamed, "its values do not match sops.mac"),
        (&swapped, "its values do not match sops.mac"),
        (&short, "stringData.password is of the unknown type strange"),
        (&no_metadata, "it holds a value that SOPS has encrypted, but is no whole SOPS file"),
    ] {
        let bench = Bench::new();
        let repo = Repo::with(&[("app/a.yaml", text)]);
        let error = bench.refusal(&repo, &with("app", writer.keys()));
        assert!(error.starts_with("app/a.yaml: SOPS: ") && error.contains(expected), "{expected}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(bench.kept(), 0);
    }
    let bench = Bench::new();
    let repo = Repo::with(&[("app/a.yaml", &good)]);
    let error = bench.refusal(&repo, &with("app", Writer::new().keys()));
    assert!(
        error.contains(&format!("there is no key for it: it is for age {}", writer.identity.to_public())),
        "{error}"
    );
    let bad = Keys { age: vec![Secret::new("AGE-SECRET-KEY-1NOT")], program: None };
    let error = bench.refusal(&repo, &with("app", bad));
    assert!(error.contains("the age key given for it is none") && !error.contains("1NOT"), "{error}");
    let (code, out, err) =
        bench.gitops(repo.path(), "render --repo . --path app", &[("PATH", "/usr/bin:/bin")]);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.contains("hint: set KUBECTL_GITOPS_SOPS_AGE_KEY"), "{err}");
}

#[test]
fn keys_of_others_are_left_to_the_sops_program() {
    let (bench, writer) = (Bench::new(), Writer::new());
    let repo = Repo::with(&[("app/a.yaml", &writer.secret("hunter2"))]);
    let program = bench.home.path().join("sops");
    let script = "#!/bin/sh\n[ \"$1\" = decrypt ] || exit 1\nprintf 'apiVersion: v1\\nkind: Secret\\nmetadata: {name: by-sops}\\n'\n";
    std::fs::write(&program, script).unwrap();
    let mut mode = std::fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let keys = Keys { age: Vec::new(), program: Some(program.clone()) };
    let objects = bench.render(&repo, &with("app", keys.clone())).unwrap();
    assert_eq!(objects[0].value["metadata"]["name"], "by-sops");
    std::fs::write(&program, "#!/bin/sh\necho hunter2 >&2; exit 3\n").unwrap();
    let error = bench.refusal(&repo, &with("app", keys));
    assert!(error.contains("sops cannot decrypt it") && !error.contains("hunter2"), "{error}");
}

#[test]
fn what_was_encrypted_is_masked_in_every_kind() {
    let (bench, writer) = (Bench::new(), Writer::new());
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata:\n  url: \"postgres://ada:{{ .Values.password }}@db\"\n  plain: {{ .Values.plain }}\n  size: \"1\"\n";
    let repo = Repo::with(&[
        ("app/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("app/templates/db.yaml", template),
        ("app/secrets.yaml", &writer.values("hunter2-old")),
        ("gitops.yaml", &super::application("  source: {path: app, helm: {valueFiles: [secrets.yaml]}}\n")),
    ]);
    let first = repo.head();
    let changed = template.replace("size: \"1\"", "size: \"2\"");
    repo.commit(
        "change",
        &[("app/secrets.yaml", &writer.values("hunter2-new")), ("app/templates/db.yaml", &changed)],
    );
    let key = writer.identity.to_string();
    let environment = [("KUBECTL_GITOPS_SOPS_AGE_KEY", key.expose_secret())];
    let hidden = |arguments: &str, wanted: i32| {
        let (code, out, err) = bench.gitops(repo.path(), arguments, &environment);
        assert_eq!(code, wanted, "{out}{err}");
        assert!(out.contains("***") && !out.contains("hunter2") && !err.contains("hunter2"), "{out}{err}");
        out
    };
    assert!(hidden("render", 0).contains("plain: visible"));
    let diff = hidden(&format!("diff --base {first}"), 1);
    assert!(diff.contains("+ data.url: ***") && diff.contains("+ data.size: 2"), "{diff}");
    hidden(&format!("diff --base {first} -o json"), 1);
    hidden(&format!("diff --base {first} -o markdown"), 1);
    let (code, _, err) = bench.gitops(repo.path(), "render --to-branch rendered", &environment);
    assert!(code == 4 && err.contains("would be in Git in plain text"), "{err}");
    bench.holds_nothing_of("hunter2");
}
