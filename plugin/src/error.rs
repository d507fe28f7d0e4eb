//! Errors at the edge: one clear line, a hint how to get on, an exit code.

use gitops_cluster::{ClusterError, ErrorKind as ClusterKind};
use gitops_core::desired::DesiredError;
use gitops_engine::EngineError;
use gitops_source::{ErrorKind as SourceKind, SourceError};

/// Exit codes, fixed.
pub mod code {
    pub const YES: u8 = 0;
    pub const NO: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const REFUSED: u8 = 3;
    pub const GIT: u8 = 4;
    pub const UNREACHABLE: u8 = 5;
    pub const CONFLICT: u8 = 6;
    pub const PARTLY: u8 = 7;
    pub const TIMEOUT: u8 = 8;
    pub const INTERRUPTED: u8 = 130;
}

/// What ends a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub hint: Option<String>,
    pub code: u8,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code }
    }

    /// Something was typed that means nothing.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(code::USAGE, message)
    }

    /// Something is there that stands in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(code::CONFLICT, message)
    }

    /// What fits nowhere else.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(code::NO, message)
    }

    /// Git or a render.
    pub fn git(message: impl Into<String>) -> Self {
        Self::new(code::GIT, message)
    }

    /// The way out.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        if let Some(hint) = in_the_way(&error) {
            return Self::conflict(error.to_string()).hint(hint);
        }
        let hint = match (&error, error.kind()) {
            (SourceError::NoSuchRevision { near, .. }, _) if !near.is_empty() => {
                format!("there are: {}", near.join(", "))
            }
            (_, SourceKind::NoSuchRevision) => {
                "push the commit, or name a branch, tag or commit that is there".into()
            }
            (_, SourceKind::NoSuchPath) => {
                "the path counts from the repository's root, and has to be committed".into()
            }
            (_, SourceKind::NotARepository) => "check the URL: git ls-remote URL".into(),
            (_, SourceKind::Credentials) => {
                "set KUBECTL_GITOPS_GIT_TOKEN, or a git credential helper, or add your key to the ssh agent"
                    .into()
            }
            (_, SourceKind::Network) if error.to_string().to_lowercase().contains("certificate") => {
                "an authority of your own is named by git config http.URL.sslCAInfo, or as caBundle in the Secret of source.secretRef".into()
            }
            (_, SourceKind::Network) => "check the URL and the network; a Git repository by: git ls-remote URL".into(),
            (_, SourceKind::Timeout) => "try again, or look at what takes so long".into(),
            (_, SourceKind::BadYaml) => "mend the file, commit, and try again".into(),
            (SourceError::Render { tool, path, .. }, _) => {
                format!("try it by itself: {}", by_itself(tool, path))
            }
            (SourceError::ToolMissing { tool: "git", .. }, _) => "install git".into(),
            (_, SourceKind::Protected) => {
                "push to a branch of its own, and open a pull request: --branch NAME".into()
            }
            (_, SourceKind::NotABranch) => "name the branch with --revision, or change spec.source.revision in Git".into(),
            (_, SourceKind::Nameless) => {
                "git config --global user.name NAME; git config --global user.email EMAIL".into()
            }
            (SourceError::ToolMissing { tool, .. }, _) => {
                format!("install {tool}, or set KUBECTL_GITOPS_{} to its path", tool.to_uppercase())
            }
            (SourceError::ToolTooOld { tool, .. }, _) => format!("install a newer {tool}"),
            (_, SourceKind::Sops) => {
                "set KUBECTL_GITOPS_SOPS_AGE_KEY or SOPS_AGE_KEY_FILE, or put the key as age into the Secret of source.secretRef; for keys of other sorts install the sops program".into()
            }
            (_, SourceKind::Registry) => "check repo, chart and version of the source".into(),
            (_, SourceKind::Unsigned) => {
                "sign the commit with a key that the Project names: git commit --amend -S, then push".into()
            }
            (SourceError::Authority { .. }, _) => {
                "name a file of certificates in PEM; where it is named: git config --show-origin --get-regexp sslcainfo".into()
            }
            (_, SourceKind::Unsupported) => "change it in Git, and commit".into(),
            _ => "check that the disk has room and the cache folder is yours (--cache-dir)".into(),
        };
        Self::git(error.to_string()).hint(hint)
    }
}

/// The way out where somebody else's work, or one's own, stands in the way.
fn in_the_way(error: &SourceError) -> Option<&'static str> {
    match error.kind() {
        SourceKind::Moved => Some("look at what is there now (git pull, in a checkout), and try again"),
        SourceKind::Unfinished => {
            Some("push what is committed, commit or stash what is changed, then try again")
        }
        _ => None,
    }
}

fn by_itself(tool: &str, path: &str) -> String {
    match tool {
        "helm" => format!("helm template {path}"),
        "jsonnet" => format!("jsonnet {path}"),
        _ => format!("kustomize build {path}"),
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        let message = error.to_string();
        match error {
            ClusterError::Fields { .. } => {
                return Self::new(code::CONFLICT, message)
                    .hint("leave these fields out of Git, or decide with --conflicts=take or keep");
            }
            ClusterError::Immutable { .. } => {
                return Self::new(code::REFUSED, message).hint(
                    "change it back in Git, or let it be made anew: --replace, or sync option Replace=true or Force=true",
                );
            }
            _ => {}
        }
        match error.kind() {
            ClusterKind::Configuration => Self::new(code::UNREACHABLE, message)
                .hint("see `kubectl config get-contexts`; choose one with --context"),
            ClusterKind::Unreachable => {
                Self::new(code::UNREACHABLE, message).hint("check it with: kubectl cluster-info")
            }
            ClusterKind::Unauthorized => {
                Self::new(code::UNREACHABLE, message).hint("log in again; check it with: kubectl auth whoami")
            }
            ClusterKind::Forbidden => {
                Self::new(code::REFUSED, message).hint("see what you may do: kubectl auth can-i --list")
            }
            ClusterKind::Denied => Self::new(code::REFUSED, message),
            ClusterKind::Conflict => {
                Self::new(code::CONFLICT, message).hint("someone changed it meanwhile: try again")
            }
            ClusterKind::Timeout => {
                Self::new(code::TIMEOUT, message).hint("allow more with --request-timeout")
            }
            ClusterKind::Busy => Self::new(code::UNREACHABLE, message).hint("try again in a moment"),
            ClusterKind::Webhook => Self::new(code::UNREACHABLE, message)
                .hint("`kubectl gitops check` tells how ours is; try again when it answers"),
            ClusterKind::NotFound => Self::new(code::REFUSED, message).hint("check its name and namespace"),
            ClusterKind::Invalid | ClusterKind::Other => Self::new(code::REFUSED, message),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Source(error) => error.into(),
            EngineError::Cluster(error) => error.into(),
            EngineError::Desired(errors) => desired(&errors),
            EngineError::Application { .. } => Self::usage(error.to_string())
                .hint("mend the file; `kubectl gitops init --dry-run` prints one that is right"),
            EngineError::Refused(_) => {
                Self::new(code::REFUSED, error.to_string()).hint("ask whoever keeps the Project")
            }
            EngineError::Untrusted { .. } => Self::new(code::REFUSED, error.to_string()).hint(
                "merge the commit into a branch that the Project takes, or ask whoever keeps the Project",
            ),
            EngineError::UntrustedChart { .. } => Self::new(code::REFUSED, error.to_string()).hint(
                "have its repository added to the Project's repositories, or keep the chart in this repository",
            ),
            EngineError::Secret { .. } => {
                Self::git(error.to_string()).hint("create the Secret in the Application's namespace")
            }
            EngineError::Rewound { .. } => Self::git(error.to_string()).hint("git revert, then push"),
            EngineError::Shared { .. } => {
                Self::new(code::CONFLICT, error.to_string()).hint("declare it in one of the two only")
            }
            EngineError::NoNamespace { ref name } => {
                let hint = format!(
                    "kubectl create namespace {name}, or declare it in Git, or set spec.destination.createNamespace"
                );
                Self::new(code::REFUSED, error.to_string()).hint(hint)
            }
            EngineError::Rollout { .. } => Self::git(error.to_string())
                .hint("nothing of it was let out; see where it stands: kubectl gitops rollout get"),
            EngineError::NotOnBranch { .. } => Self::git(error.to_string())
                .hint("a Rollout's status names it: was the branch written anew? push a commit that reverts"),
            EngineError::Internal(_) => Self::other(error.to_string()),
        }
    }
}

fn desired(errors: &[DesiredError]) -> Failure {
    let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n       ");
    let hint = match errors.first() {
        Some(DesiredError::UnknownKind { .. }) => {
            "install its CustomResourceDefinition, or commit it beside; kubectl api-resources lists what there is"
        }
        Some(DesiredError::NoNamespace { .. }) => {
            "give metadata.namespace, spec.destination.namespace, or --namespace"
        }
        Some(DesiredError::Duplicate { .. }) => "keep one of the two, and commit",
        _ => "mend it in Git, and commit",
    };
    Failure::git(message).hint(hint)
}
