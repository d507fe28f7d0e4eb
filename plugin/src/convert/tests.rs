//! Resources in, Applications and findings out.

mod argocd;
mod flux;

use std::collections::BTreeMap;

use gitops_api::Application;
use gitops_source::yaml;
use serde_json::Value;

use super::home::tidy;
use super::*;

/// The repository one stands in, as the tests' resources name it.
pub const OWN: &str = "https://git.example/team/shop.git";

/// A working tree by its folders.
#[derive(Default)]
pub struct Folders(BTreeMap<&'static str, Folder>, Vec<&'static str>);

impl Folders {
    pub fn with(mut self, path: &'static str, folder: Folder) -> Self {
        self.0.insert(path, folder);
        self
    }

    pub fn holding(self, path: &'static str, holds: Holds) -> Self {
        self.with(path, Folder { holds, is_whole: true, ..Folder::default() })
    }

    pub fn with_file(mut self, path: &'static str) -> Self {
        self.1.push(path);
        self
    }
}

impl Tree for Folders {
    fn look(&self, path: &str, _deep: bool) -> Option<Folder> {
        self.0.get(path).cloned()
    }

    fn has_file(&self, path: &str) -> bool {
        self.1.contains(&tidy(path).as_str())
    }
}

/// What came of some YAML: specs by name, and findings, `!` before those that
/// change what is deployed.
pub struct Said {
    pub specs: BTreeMap<String, Value>,
    pub findings: Vec<String>,
}

pub fn said(text: &str, tree: &Folders) -> Said {
    let documents = yaml::documents("f.yaml", text).unwrap();
    let resources: Vec<Resource> = documents
        .into_iter()
        .map(|document| Resource { file: "f.yaml".into(), value: document.value, lines: document.lines })
        .collect();
    // Another way to write the same repository.
    let home = Home::new(&["git@git.example:team/shop.git".to_owned()], Some("main".into()), tree);
    let Converted { applications, findings, .. } = convert(&resources, &home, None);
    for application in &applications {
        let read: Application = serde_json::from_value(application.clone()).unwrap();
        read.spec.sync_options().unwrap();
    }
    let named = |application: &Value| {
        (application["metadata"]["name"].as_str().unwrap().to_owned(), application["spec"].clone())
    };
    let mark = |finding: &Finding| if finding.weight == Weight::What { "!" } else { "" };
    Said {
        specs: applications.iter().map(named).collect(),
        findings: findings.iter().map(|finding| format!("{}{finding}", mark(finding))).collect(),
    }
}

impl Said {
    /// Each finding is expected by its beginning and a word of it, and no other
    /// is there.
    pub fn finds(&self, expected: &[(&str, &str)]) {
        let mut left = self.findings.clone();
        for (begins, word) in expected {
            let at = left.iter().position(|line| line.starts_with(begins) && line.contains(word));
            let at = at.unwrap_or_else(|| panic!("no {begins} ... {word} in {left:#?}"));
            left.remove(at);
        }
        assert!(left.is_empty(), "not expected: {left:#?}");
    }
}
