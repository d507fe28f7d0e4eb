//! Flags as they are typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

const EXIT_CODES: &str = "Exit codes: 0 yes, 1 the answer is no (a difference, unhealthy), 2 usage, 3 refused by the API server, \
4 Git or render, 5 cluster unreachable, 6 locked or conflict, 7 partly applied, 8 timeout, 130 interrupted.";

/// Brings clusters to what Git says, and tells where they differ.
#[derive(Debug, Parser)]
#[command(name = "kubectl-gitops", bin_name = "kubectl gitops", version, about, after_help = EXIT_CODES, disable_help_subcommand = true, propagate_version = false)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: GlobalFlags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Sync(commands::sync::Arguments),
    Diff(commands::diff::Arguments),
    Status(commands::status::Arguments),
    Why(commands::why::Arguments),
    List(commands::list::Arguments),
    Tree(commands::tree::Arguments),
    Wait(commands::wait::Arguments),
    Logs(commands::logs::Arguments),
    Events(commands::events::Arguments),
    History(commands::history::Arguments),
    Rollback(commands::rollback::Arguments),
    Rollout(commands::rollout::Arguments),
    Delete(commands::delete::Arguments),
    Check(commands::check::Arguments),
    Health(commands::health::Arguments),
    Render(commands::render::Arguments),
    Init(commands::init::Arguments),
    App(commands::app::Arguments),
    Cluster(commands::cluster::Arguments),
    Override(commands::overriding::Arguments),
    Completion(commands::completion::Arguments),
    ManPages(commands::man::Arguments),
    Version(commands::version::Arguments),
    #[command(hide = true)]
    Complete(commands::complete::Arguments),
    /// Prints the reference of all commands.
    #[command(hide = true)]
    MarkdownHelp,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// kubectl's global flags, and ours.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global flags")]
pub struct GlobalFlags {
    /// The kubeconfig file
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub cluster: Option<String>,
    /// The user of the kubeconfig
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub user: Option<String>,
    /// The Application's namespace; for files and flags where objects go that name none
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The API server's URL
    #[arg(short, long, global = true, value_name = "URL", hide_short_help = true)]
    pub server: Option<String>,
    /// A bearer token
    #[arg(long, global = true, value_name = "TOKEN", hide_short_help = true, hide_env_values = true)]
    pub token: Option<String>,
    /// Act as this user
    #[arg(long = "as", global = true, value_name = "USER", hide_short_help = true)]
    pub as_user: Option<String>,
    /// Act as a member of this group; may be repeated
    #[arg(long, global = true, value_name = "GROUP", hide_short_help = true)]
    pub as_group: Vec<String>,
    /// Act with this uid
    #[arg(long, global = true, value_name = "UID", hide_short_help = true)]
    pub as_uid: Option<String>,
    /// A file with the API server's certificate authority
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub certificate_authority: Option<PathBuf>,
    /// A file with a client certificate
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub client_certificate: Option<PathBuf>,
    /// A file with the client certificate's key
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub client_key: Option<PathBuf>,
    /// Do not check the API server's certificate
    #[arg(long, global = true, hide_short_help = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub insecure_skip_tls_verify: bool,
    /// The name to check the API server's certificate against
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// How long one request may take: 0 (no limit), 5, 5s, 2m
    #[arg(long, global = true, value_name = "DURATION", hide_short_help = true)]
    pub request_timeout: Option<String>,
    /// Where repositories, renders and discovery are kept
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub cache_dir: Option<PathBuf>,
    /// Answers are never compressed; accepted because kubectl has it
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub disable_compression: Option<bool>,
    /// When to colour: NO_COLOR and CLICOLOR_FORCE are heeded
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
    /// How much to log, 0 to 9
    #[arg(
        short = 'v',
        long = "v",
        global = true,
        default_value_t = 0,
        value_name = "LEVEL",
        hide_short_help = true
    )]
    pub verbosity: u8,
    #[command(flatten)]
    pub refused: RefusedFlags,
}

/// kubectl's global flags that mean nothing here: refused by name, so that
/// nobody relies on them.
#[derive(Clone, Debug, Default, Args)]
pub struct RefusedFlags {
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub username: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub password: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub as_user_extra: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub profile: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub profile_output: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub vmodule: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub log_flush_frequency: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub kuberc: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub match_server_version: Option<Option<String>>,
    #[arg(long, global = true, hide = true, num_args = 0..=1)]
    pub warnings_as_errors: Option<Option<String>>,
}

impl RefusedFlags {
    /// The first of them that was given.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            (&self.username, "--username"),
            (&self.password, "--password"),
            (&self.as_user_extra, "--as-user-extra"),
            (&self.profile, "--profile"),
            (&self.profile_output, "--profile-output"),
            (&self.vmodule, "--vmodule"),
            (&self.log_flush_frequency, "--log-flush-frequency"),
            (&self.kuberc, "--kuberc"),
            (&self.match_server_version, "--match-server-version"),
            (&self.warnings_as_errors, "--warnings-as-errors"),
        ];
        flags.into_iter().find(|(value, _)| value.is_some()).map(|(_, name)| name)
    }
}

/// Which Applications are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Applications by name: of gitops.yaml if there is one, else of the cluster; none: all of gitops.yaml
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// The file that describes the Applications; else the nearest gitops.yaml upwards
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A repository instead of a file: URL or path
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub repo: Option<String>,
    /// Branch, tag or commit to use instead of the one that is described
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// The folder in the repository
    #[arg(long, value_name = "PATH", requires = "repo")]
    pub path: Option<String>,
}
