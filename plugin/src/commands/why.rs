//! `kubectl gitops why`

mod documents;
mod live;
mod offline;
mod report;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gitops_core::verdict::{self, Operation};

use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::Settings;
use report::Explained;

/// Tells why a write is refused, or why an object is not as Git says
///
/// FILE (or - for stdin): would applying it be accepted? The API server is
/// asked for a dry run, where one can be reached; nothing is written.
/// KIND/NAME: is the live object as Git says, and if not, which fields differ,
/// and who wrote them? With --want, --old and --new no cluster and no Git is
/// asked: that tests policies. Objects are taken there as the API server has
/// them, with its defaults; --old is left out for a CREATE, --new for a DELETE.
/// Values of Secrets are never shown.
/// Exit code 0: allowed; 1: denied; a warning is 0.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops why web.yaml\n  kubectl gitops why deployment/web -n shop\n  kustomize build . | kubectl gitops why - -o json\n  kubectl gitops why --want git.yaml --old live.yaml --new tried.yaml\n  kubectl gitops why --want git.yaml --old pod.yaml --operation connect --subresource exec --interactive deny"
)]
pub struct Arguments {
    /// A file of objects, - for stdin, or an object such as deployment/web
    #[arg(value_name = "FILE|KIND/NAME", required_unless_present = "want", conflicts_with = "want")]
    target: Option<String>,
    /// An Application by name, as `diff` takes it; may be repeated
    #[arg(long = "application", value_name = "NAME", conflicts_with = "want")]
    names: Vec<String>,
    /// The file that describes the Applications; else the nearest gitops.yaml upwards
    #[arg(short, long, value_name = "FILE", conflicts_with = "want")]
    file: Option<PathBuf>,
    /// A repository instead of a file: URL or path
    #[arg(long, value_name = "URL", conflicts_with_all = ["file", "want"])]
    repo: Option<String>,
    /// Branch, tag or commit to use instead of the one that is described; with --want, the commit it stands for
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The folder in the repository
    #[arg(long, value_name = "PATH", requires = "repo")]
    path: Option<String>,
    #[command(flatten)]
    offline: OfflineFlags,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A write on files, and the policy to judge it by.
#[derive(Debug, Args)]
#[command(next_help_heading = "Without a cluster")]
struct OfflineFlags {
    /// What Git says: a file of objects
    #[arg(long, value_name = "FILE")]
    want: Option<PathBuf>,
    /// The objects as they are
    #[arg(long, value_name = "FILE", requires = "want")]
    old: Option<PathBuf>,
    /// The objects as they would be
    #[arg(long, value_name = "FILE", requires = "want")]
    new: Option<PathBuf>,
    /// What the write does, where that does not follow from --old and --new
    #[arg(long, value_enum, ignore_case = true, value_name = "OPERATION", requires = "want")]
    operation: Option<OperationFlag>,
    /// What of the object is written: scale, status, exec, ...
    #[arg(long, value_name = "NAME", default_value = "", requires = "want")]
    subresource: String,
    /// OpenAPI v3 documents, as `kubectl get --raw /openapi/v3/apis/apps/v1` gives them; else Kubernetes' own kinds
    #[arg(long, value_name = "DIR", requires = "want")]
    openapi: Option<PathBuf>,
    /// An Application, a Project or both, for their policy
    #[arg(long, value_name = "FILE", requires = "want")]
    policy: Option<PathBuf>,
    /// Instead of the policy's enforcement.mode
    #[arg(long, value_enum, ignore_case = true, value_name = "MODE", requires = "want")]
    mode: Option<ModeFlag>,
    /// Instead of the policy's enforcement.untracked
    #[arg(long, value_enum, ignore_case = true, value_name = "MODE", requires = "want")]
    untracked: Option<UntrackedFlag>,
    /// Instead of the policy's enforcement.customKinds
    #[arg(long, value_enum, ignore_case = true, value_name = "MODE", requires = "want")]
    custom_kinds: Option<CustomKindsFlag>,
    /// Instead of the policy's enforcement.interactive
    #[arg(long, value_enum, ignore_case = true, value_name = "MODE", requires = "want")]
    interactive: Option<InteractiveFlag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OperationFlag {
    Create,
    Update,
    Delete,
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeFlag {
    Enforce,
    Warn,
    Audit,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UntrackedFlag {
    Allow,
    Warn,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CustomKindsFlag {
    Declared,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InteractiveFlag {
    Allow,
    Warn,
    Deny,
}

impl From<OperationFlag> for Operation {
    fn from(flag: OperationFlag) -> Self {
        match flag {
            OperationFlag::Create => Self::Create,
            OperationFlag::Update => Self::Update,
            OperationFlag::Delete => Self::Delete,
            OperationFlag::Connect => Self::Connect,
        }
    }
}

impl OfflineFlags {
    /// What the flags say of a policy.
    fn adjust(&self, policy: &mut verdict::Policy) {
        if let Some(mode) = self.mode {
            policy.mode = match mode {
                ModeFlag::Enforce => verdict::Mode::Enforce,
                ModeFlag::Warn => verdict::Mode::Warn,
                ModeFlag::Audit => verdict::Mode::Audit,
                ModeFlag::Off => verdict::Mode::Off,
            };
        }
        if let Some(untracked) = self.untracked {
            policy.untracked = match untracked {
                UntrackedFlag::Allow => verdict::Untracked::Allow,
                UntrackedFlag::Warn => verdict::Untracked::Warn,
                UntrackedFlag::Deny => verdict::Untracked::Deny,
            };
        }
        if let Some(interactive) = self.interactive {
            policy.interactive = match interactive {
                InteractiveFlag::Allow => verdict::Interactive::Allow,
                InteractiveFlag::Warn => verdict::Interactive::Warn,
                InteractiveFlag::Deny => verdict::Interactive::Deny,
            };
        }
        if let Some(custom_kinds) = self.custom_kinds {
            policy.close_custom_kinds = custom_kinds == CustomKindsFlag::Closed;
        }
    }
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let explained = match &arguments.target {
        None => offline::explain(&arguments.offline, arguments.revision.as_deref(), settings)?,
        Some(target) => {
            let selection = Selection {
                names: arguments.names.clone(),
                file: arguments.file.clone(),
                repo: arguments.repo.clone(),
                revision: arguments.revision.clone(),
                path: arguments.path.clone(),
            };
            let on_disk = target == "-" || settings.folder.join(target).is_file();
            match target.split_once('/').filter(|(_, name)| !on_disk && !name.contains('/')) {
                Some((kind, name)) => vec![live::object(kind, name, &selection, settings, printer).await?],
                None => live::file(target, &selection, settings, printer).await?,
            }
        }
    };
    show(&explained, arguments.output, printer)?;
    let denied = explained.iter().any(|explained| explained.verdict == verdict::Decision::Deny);
    Ok(if denied { code::NO } else { code::YES })
}

fn show(explained: &[Explained], format: Format, printer: &Printer) -> Result<(), Failure> {
    match format {
        Format::Text | Format::Wide => {
            let limit = if format == Format::Wide { usize::MAX } else { report::SHOWN };
            for (index, explained) in explained.iter().enumerate() {
                if index > 0 {
                    printer.line("");
                }
                report::text(explained, limit, printer).iter().for_each(|line| printer.line(line));
            }
            Ok(())
        }
        Format::Name => {
            for explained in explained.iter().filter(|e| e.verdict == verdict::Decision::Deny) {
                let object = &explained.object;
                printer.line(&object.short());
            }
            Ok(())
        }
        format => output::print(explained, format, printer),
    }
}
