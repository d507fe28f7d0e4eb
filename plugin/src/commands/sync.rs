//! `kubectl gitops sync`

mod ahead;
mod asked;
mod case;
mod rollouts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use gitops_core::desired::AppRef;
use gitops_core::plan::{Action, Conflicts, Select};
use gitops_engine::lease;
use gitops_engine::{DryRun, Loaded, RunHooks, Stop, SyncOptions};

use crate::applications::{Destination, in_file, select};
use crate::beside::beside;
use crate::cli::Selection;
use crate::dependencies::Dependencies;
use crate::error::{Failure, code};
use crate::output::{self, Format, Report};
use crate::printer::Printer;
use crate::settings::{Settings, duration};
use ahead::Writes;
use case::{Case, Done};

/// Brings the cluster to what Git says
///
/// Where a controller runs and keeps the Application, it is asked, and followed
/// to the end; else, and with --local, it is done from here. To ask takes the
/// verb `sync` on the Application.
///
/// Objects are applied on the server's side, in the order of their phases,
/// waves and kinds; only those that differ are written. Argo CD's and Helm's
/// annotations for hooks, waves and sync options are heeded. Running it again
/// after an interruption goes on where it stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops sync\n  kubectl gitops sync web --wait\n  kubectl gitops sync --prune --dry-run=server\n  kubectl gitops sync web --kind Deployment -l tier=front\n  kubectl gitops sync --repo https://git.example/shop.git --path apps/web -n shop"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Apply from here, also where a controller runs
    #[arg(long)]
    local: bool,
    /// Why the controller is asked; it is recorded with the request
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Write nothing: plan only (client), or let the API server judge every write (server)
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "client", value_name = "WHO")]
    dry_run: Option<DryRunBy>,
    /// Delete what an earlier commit declared and this one does not
    #[arg(long)]
    prune: bool,
    /// Prune more than the Application's budget, and what is to be confirmed (Prune=confirm)
    #[arg(long)]
    confirm_prune: bool,
    /// Prune everything when Git declares nothing any more
    #[arg(long)]
    allow_empty: bool,
    /// Wait until everything is healthy
    #[arg(long)]
    wait: bool,
    /// How long each wave, each hook, and --wait may take
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// Only objects of this kind, such as Deployment or Deployment.apps; may be repeated
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only objects of this name, or namespace/name; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    labels: Option<String>,
    /// Only objects that differ: what is unchanged is not waited for
    #[arg(long)]
    out_of_sync: bool,
    /// When hooks are run: auto means when something changes or they have not ended well for this commit
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    hooks: HooksWhen,
    /// What becomes of fields that others have set; else taken from tools such as kubectl and Helm, and failed for controllers
    #[arg(long, value_enum, value_name = "HOW")]
    conflicts: Option<ConflictsHow>,
    /// Delete and make anew what cannot be changed
    #[arg(long)]
    replace: bool,
    /// With --replace: PersistentVolumeClaims too, with their data
    #[arg(long, requires = "replace")]
    force: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Who checks a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRunBy {
    Client,
    Server,
    None,
}

/// When hooks are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum HooksWhen {
    #[default]
    Auto,
    Always,
    Never,
}

/// How conflicts are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ConflictsHow {
    Take,
    Keep,
    Fail,
}

impl Arguments {
    fn dry_run(&self) -> bool {
        matches!(self.dry_run, Some(DryRunBy::Client | DryRunBy::Server))
    }

    /// A flag by which a sync is none that the controller does.
    fn not_for_the_controller(&self) -> Option<&'static str> {
        let flags = [
            (self.selection.repo.is_some(), "--repo"),
            (self.selection.revision.is_some(), "--revision"),
            (!self.kind.is_empty(), "--kind"),
            (!self.name.is_empty(), "--name"),
            (self.labels.is_some(), "--selector"),
            (self.out_of_sync, "--out-of-sync"),
            (self.hooks != HooksWhen::Auto, "--hooks"),
            (self.conflicts.is_some(), "--conflicts"),
            (self.replace, "--replace"),
        ];
        flags.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }

    /// A sync of everything, as a rollback ends with.
    pub(super) fn whole(
        selection: Selection,
        prune: bool,
        wait: bool,
        timeout: String,
        output: Format,
    ) -> Self {
        Self {
            selection,
            local: false,
            reason: String::new(),
            dry_run: None,
            prune,
            confirm_prune: false,
            allow_empty: false,
            wait,
            timeout,
            kind: Vec::new(),
            name: Vec::new(),
            labels: None,
            out_of_sync: false,
            hooks: HooksWhen::default(),
            conflicts: None,
            replace: false,
            force: false,
            output,
        }
    }

    /// The same, done from here whoever else may do it.
    pub(super) fn locally(self) -> Self {
        Self { local: true, ..self }
    }

    fn options(&self) -> Result<SyncOptions, Failure> {
        let labels = self.labels.as_deref().map(str::parse).transpose();
        let labels = labels.map_err(|error: gitops_core::plan::select::SelectorError| {
            Failure::usage(error.to_string()).hint("write app=web,tier!=back or 'app in (a,b)'")
        })?;
        Ok(SyncOptions {
            dry_run: match self.dry_run {
                Some(DryRunBy::Client) => DryRun::Client,
                Some(DryRunBy::Server) => DryRun::Server,
                Some(DryRunBy::None) | None => DryRun::None,
            },
            prune: self.prune,
            wait: self.wait,
            timeout: duration(&self.timeout)?.unwrap_or(Duration::MAX),
            select: Select {
                kinds: self.kind.clone(),
                names: self.name.clone(),
                labels: labels.unwrap_or_default(),
                out_of_sync: self.out_of_sync,
            },
            hooks: match self.hooks {
                HooksWhen::Auto => RunHooks::Auto,
                HooksWhen::Always => RunHooks::Always,
                HooksWhen::Never => RunHooks::Never,
            },
            conflicts: self.conflicts.map(|how| match how {
                ConflictsHow::Take => Conflicts::Take,
                ConflictsHow::Keep => Conflicts::Keep,
                ConflictsHow::Fail => Conflicts::Fail,
            }),
            replace: self.replace,
            force: self.force,
            ..SyncOptions::default()
        })
    }
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let output = arguments.output;
    let (reports, code) = carry_out(arguments, settings, printer).await?;
    match output {
        Format::Text | Format::Wide => {}
        Format::Name => {
            let objects = reports.iter().flat_map(|report| &report.objects);
            output::names(objects.filter(|object| object.action != Action::Unchanged), printer);
        }
        format => output::print(&reports, format, printer)?,
    }
    Ok(code)
}

/// A report for each Application, and the exit code. People are told on the
/// way.
pub(super) async fn carry_out(
    arguments: Arguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<(Vec<Report>, u8), Failure> {
    let options = arguments.options()?;
    let destination = Destination::reach(settings).await?;
    let chosen = select(&arguments.selection, settings, Some(&destination.cluster)).await?;
    let known = Arc::new(in_file(&arguments.selection, settings, Some(&destination.cluster))?);
    let asked::Asked { mut reports, code: mut worst, left: chosen, why: mut said } =
        asked::run(&arguments, &destination, chosen, printer).await?;
    if worst == code::INTERRUPTED {
        return Ok((reports, worst));
    }
    let stop = Stop { interrupted: interruption(), ..Stop::default() };
    let mut dependencies = Dependencies::new(&chosen, &known)?;
    let versions = versions(&destination, &chosen, options.dry_run).await?;
    // After the versions, so that what others sync from here on is noticed.
    destination.look_again();
    let writes = Arc::new(Writes::default());
    let revision = arguments.selection.revision.as_deref();
    let mut turns = ahead::turns(&destination, dependencies.ordered(), &known, revision, &writes);
    while let Some((loaded, look)) = turns.try_next().await? {
        if options.dry_run == DryRun::None
            && let Some(reason) =
                dependencies.missing(&loaded, &destination, settings, &options, printer).await?
        {
            printer.warning(&format!("Application {} is not synced: {reason}", loaded.application));
            worst = worst.max(code::NO);
            continue;
        }
        let options = SyncOptions {
            prune: options.prune || loaded.spec.sync.prune,
            wait: options.wait || dependencies.is_awaited(&loaded),
            ..options.clone()
        };
        let (there, look) = (destination.of(&loaded).await?, look?);
        if let Some(why) = said.take() {
            printer.talk(&why);
        }
        let case = Case {
            destination: &there,
            loaded: &loaded,
            known: &known,
            arguments: &arguments,
            printer,
            stop: &stop,
            writes: &writes,
            version: versions.get(&loaded.application).cloned().flatten(),
        };
        let Done { report, code, goes_on } = case.run(look, &options).await?;
        worst = worst.max(code);
        reports.push(report);
        if code == code::YES {
            dependencies.succeeded(&loaded);
        }
        if !goes_on {
            break;
        }
    }
    Ok((reports, worst))
}

/// The versions of the Leases, by which syncs of others are noticed.
async fn versions(
    destination: &Destination,
    chosen: &[Loaded],
    dry_run: DryRun,
) -> Result<BTreeMap<AppRef, Option<String>>, Failure> {
    let claimed = chosen.iter().filter(|_| dry_run == DryRun::None);
    let versions = beside(claimed.cloned().collect(), |loaded: Loaded| {
        let destination = destination.clone();
        async move {
            let version = lease::version(&destination.of(&loaded).await?.cluster, &loaded.application).await;
            Ok((loaded.application, version))
        }
    });
    versions.try_collect().await
}

/// Set by Ctrl-C; the second one ends the program.
pub(super) fn interruption() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if set.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(code::INTERRUPTED));
            }
        }
    });
    flag
}
