//! `kubectl gitops render --to-branch`: rendered manifests as a commit. In:
//! objects by Application. Out: a branch that holds nothing but them, written
//! by the git program without touching the user's files or index.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use gitops_core::desired::DesiredObject;
use gitops_source::git;

use crate::error::{Failure, code};
use crate::output;
use crate::printer::Printer;
use crate::settings::Settings;

/// What goes to a branch.
pub(super) struct Rendered {
    pub application: String,
    pub revision: String,
    pub objects: Vec<DesiredObject>,
}

pub(super) fn run(
    branch: &str,
    push: bool,
    rendered: &[Rendered],
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    refuse_secrets(rendered)?;
    let (root, _) = git::enclosing(&settings.folder).ok_or_else(|| {
        Failure::usage("this folder is in no Git repository").hint("run it where the branch is to be")
    })?;
    let index = tempfile::tempdir().map_err(|error| Failure::git(error.to_string()))?;
    let git = Git { root: &root, index: &index.path().join("index") };
    git.run(&["check-ref-format", "--branch", branch], "")?;
    let reference = format!("refs/heads/{branch}");
    if git.run(&["branch", "--show-current"], "")? == branch {
        return Err(Failure::git(format!("{branch} is checked out here: its files would be replaced"))
            .hint("name another branch"));
    }
    let tree = tree(&git, rendered)?;
    let before = git.run(&["rev-parse", "--verify", "--quiet", &format!("{reference}^{{commit}}")], "").ok();
    let same = before.as_ref().is_some_and(|before| {
        git.run(&["rev-parse", &format!("{before}^{{tree}}")], "").is_ok_and(|old| old == tree)
    });
    if same {
        printer.talk(&format!("{branch} holds exactly this already; nothing is committed"));
    } else {
        let commit = commit(&git, &tree, before.as_deref(), rendered)?;
        // Only from what was seen: a branch that moved meanwhile is not overwritten.
        let expected = before.clone().unwrap_or_else(|| "0".repeat(40));
        git.run(&["update-ref", &reference, &commit, &expected], "")?;
        let stat = match &before {
            Some(before) => git.run(&["diff", "--stat", before, &commit], "")?,
            None => git.run(&["show", "--stat", "--format=", &commit], "")?,
        };
        stat.lines().for_each(|line| printer.line(line));
        printer.talk(&format!("committed {} to {branch}", &commit[..12]));
    }
    if push {
        git.run(&["push", "origin", &format!("{reference}:{reference}")], "")?;
        printer.talk(&format!("pushed {branch} to origin"));
    } else if !same {
        printer.talk(&format!("push it: git push origin {branch}"));
    }
    Ok(code::YES)
}

/// What is decrypted or made on the way is not for Git in plain text.
fn refuse_secrets(rendered: &[Rendered]) -> Result<(), Failure> {
    let mut objects = rendered.iter().flat_map(|one| &one.objects);
    let secret = objects.find(|object| {
        !object.origin.confidential.is_empty() || object.gvk.is_secret() && object.value.get("data").is_some()
    });
    match secret {
        Some(object) => Err(Failure::git(format!(
            "{} ({}) would be in Git in plain text",
            object.key, object.origin
        ))
        .hint(
            "take Secrets, and what SOPS has encrypted, out of this Application: give them one of their own",
        )),
        None => Ok(()),
    }
}

/// One file an object, below a folder for each Application.
fn tree(git: &Git<'_>, rendered: &[Rendered]) -> Result<String, Failure> {
    let mut entries = String::new();
    for one in rendered {
        for object in &one.objects {
            let key = &object.key;
            let parts = [key.kind.as_str(), &key.group, &key.namespace, &key.name];
            let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            // Names of RBAC objects hold colons and more.
            let name = name.join("_").replace(['/', ':', '\\'], "-").to_lowercase();
            let blob = git.run(&["hash-object", "-w", "--stdin"], &output::yaml(&*object.value)?)?;
            entries += &format!("100644 {blob}\t{}/{name}.yaml\n", one.application);
        }
    }
    git.run(&["update-index", "--add", "--index-info"], &entries)?;
    git.run(&["write-tree"], "")
}

fn commit(git: &Git<'_>, tree: &str, parent: Option<&str>, rendered: &[Rendered]) -> Result<String, Failure> {
    let names: Vec<&str> = rendered.iter().map(|one| one.application.as_str()).collect();
    let from: Vec<String> =
        rendered.iter().map(|one| format!("{} at {}", one.application, one.revision)).collect();
    let message = format!("Render {}\n\n{}\n", names.join(", "), from.join("\n"));
    let mut arguments = vec!["commit-tree", tree];
    arguments.extend(parent.into_iter().flat_map(|parent| ["-p", parent]));
    git.run(&arguments, &message)
}

/// The git program, with an index of its own.
struct Git<'a> {
    root: &'a Path,
    index: &'a Path,
}

impl Git<'_> {
    /// Runs it, and returns what it prints.
    fn run(&self, arguments: &[&str], input: &str) -> Result<String, Failure> {
        let failed = |reason: String| {
            Failure::git(format!("git {}: {reason}", arguments.first().unwrap_or(&"")))
                .hint("try it by itself")
        };
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(self.root)
            .env("GIT_INDEX_FILE", self.index)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing may have ended already.
            let _ = stdin.write_all(input.as_bytes());
        }
        let done = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        if !done.status.success() {
            return Err(failed(String::from_utf8_lossy(&done.stderr).trim().replace('\n', " ")));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}
