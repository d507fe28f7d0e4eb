//! `kubectl gitops sync`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use gitops_core::object::ObjectKey;
use gitops_core::plan::{Action, Doubt, Select};
use gitops_engine::lease::{self, Claim, Lease};
use gitops_engine::sync::Conflicts;
use gitops_engine::{
    DryRun, Loaded, Report as SyncReport, RunHooks, Stop, Survey, SyncOptions, has_work, owners, sync,
};
use gitops_source::Commit;

use crate::applications::{Destination, in_file, select};
use crate::cli::Selection;
use crate::dependencies::Dependencies;
use crate::error::{Failure, code};
use crate::output::{self, Format, Report};
use crate::printer::Printer;
use crate::settings::{Settings, duration, who};
use crate::synctext::{self, Lines};

/// Brings the cluster to what Git says
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
        Format::Name => names(&reports, printer),
        format => output::print(&reports, format, printer)?,
    }
    Ok(code)
}

/// The objects that were not as Git says.
pub(super) fn names(reports: &[Report], printer: &Printer) {
    let objects = reports.iter().flat_map(|report| &report.objects);
    for object in objects.filter(|object| object.action != Action::Unchanged) {
        printer.line(&format!("{}/{}", object.object.kind.to_lowercase(), object.object.name));
    }
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
    let known = in_file(&arguments.selection, settings, &destination.cluster)?;
    let stop = Stop { interrupted: interruption(), ..Stop::default() };
    let (mut reports, mut worst) = (Vec::new(), code::YES);
    let mut dependencies = Dependencies::new(&chosen, &known)?;
    for loaded in dependencies.ordered() {
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
        let case = Case {
            destination: &destination,
            loaded: &loaded,
            known: &known,
            arguments: &arguments,
            printer,
            stop: &stop,
        };
        let (report, code, is_done) = case.run(&options).await?;
        worst = worst.max(code);
        reports.push(report);
        if code == code::YES {
            dependencies.succeeded(&loaded);
        }
        if !is_done {
            break;
        }
    }
    Ok((reports, worst))
}

/// Set by Ctrl-C; the second one ends the program.
fn interruption() -> Arc<AtomicBool> {
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

/// One Application's sync.
struct Case<'a> {
    destination: &'a Destination,
    loaded: &'a Loaded,
    /// The Applications of the same file.
    known: &'a [Loaded],
    arguments: &'a Arguments,
    printer: &'a Printer,
    stop: &'a Stop,
}

impl Case<'_> {
    /// The report, its exit code, and whether to go on.
    async fn run(&self, options: &SyncOptions) -> Result<(Report, u8, bool), Failure> {
        let (start, cluster, loaded) = (Instant::now(), &self.destination.cluster, self.loaded);
        let writes = options.dry_run == DryRun::None;
        let version = if writes { lease::version(cluster, &loaded.application).await } else { None };
        let (mut commit, mut survey) = self.survey().await?;
        if writes {
            namespace(self.destination, loaded, &survey).await?;
        }
        let environment = &self.destination.environment;
        let mut lease = None;
        if writes && has_work(cluster, loaded, environment, &survey, options) {
            lease = self.claim().await?;
            // Someone has synced since the survey: what it says is over.
            if lease.as_ref().is_some_and(|lease| lease.before != version) {
                (commit, survey) = self.survey().await?;
            }
        }
        let done = self.carry_out(&survey, &commit, options, start).await;
        if let Some(lease) = lease {
            lease.release().await;
        }
        let done = done?;
        let is_done = !done.interrupted && !done.lost;
        Ok((synctext::report(loaded, &survey, &done), synctext::exit_code(&done), is_done))
    }

    async fn survey(&self) -> Result<(Commit, Survey), Failure> {
        let revision = self.arguments.selection.revision.as_deref();
        let (commit, mut survey) = self.destination.survey(self.loaded, revision, self.printer).await?;
        let (cluster, environment) = (&self.destination.cluster, &self.destination.environment);
        let others: Vec<Loaded> =
            self.known.iter().filter(|known| known.application != self.loaded.application).cloned().collect();
        owners::settle(cluster, self.loaded, environment, &mut survey, &others).await?;
        Ok((commit, survey))
    }

    async fn carry_out(
        &self,
        survey: &Survey,
        commit: &Commit,
        options: &SyncOptions,
        start: Instant,
    ) -> Result<SyncReport, Failure> {
        self.confirm(survey, options)?;
        let talk = matches!(self.arguments.output, Format::Text | Format::Wide);
        let progress = Lines::new(self.printer, survey, options.dry_run, talk);
        let (cluster, environment) = (&self.destination.cluster, &self.destination.environment);
        let done = sync(cluster, self.loaded, environment, survey, options, &progress, self.stop).await;
        progress.finish();
        let done = done?;
        if talk {
            synctext::summary(self.loaded, commit, &done, options.dry_run, start.elapsed(), self.printer);
        }
        Ok(done)
    }

    /// Claims the Application, so that no two syncs mix.
    async fn claim(&self) -> Result<Option<Lease>, Failure> {
        let (cluster, application) = (&self.destination.cluster, &self.loaded.application);
        match lease::claim(cluster, application, &holder(), &self.stop.lost).await {
            Claim::Held(lease) => Ok(Some(*lease)),
            Claim::Taken { holder } => Err(Failure {
                message: format!(
                    "Application {application} is being synced by {holder}; nothing was applied"
                ),
                hint: Some("wait until it is done, and try again".into()),
                code: code::CONFLICT,
            }),
            Claim::Unusable(error) => {
                self.printer.warning(&format!(
                    "without a Lease, two syncs of {application} at once are not kept apart: {error}"
                ));
                Ok(None)
            }
        }
    }

    /// Asks a person before much is deleted; where there is none to ask,
    /// nothing is done at all.
    fn confirm(&self, survey: &Survey, options: &SyncOptions) -> Result<(), Failure> {
        let mut plan = survey.plan.clone();
        plan.steps.retain(|step| {
            let object = survey.live.get(&step.key);
            step.action != Action::Prune
                || !survey.held.contains_key(&step.key)
                    && options.select.takes(&step.key, &step.gvk, step.action, object)
        });
        let budget = self.loaded.spec.prune_budget();
        let doubt = budget.doubt(&plan, self.arguments.allow_empty).filter(|_| options.prune);
        let Some(doubt) = doubt else { return Ok(()) };
        let is_empty = matches!(doubt, Doubt::Empty { .. });
        if options.dry_run != DryRun::None {
            self.printer.warning(&doubt.to_string());
            return Ok(());
        }
        if !is_empty
            && (self.arguments.confirm_prune || self.printer.confirms(&format!("{doubt}. Prune them?")))
        {
            return Ok(());
        }
        let hint = if is_empty {
            "if that is meant, use --allow-empty"
        } else {
            "look at them with --dry-run; if that is meant, use --confirm-prune"
        };
        Err(Failure {
            message: format!("{doubt}; nothing was applied"),
            hint: Some(hint.into()),
            code: code::CONFLICT,
        })
    }
}

/// Who syncs, for whoever meets the Lease.
fn holder() -> String {
    format!("{}, process {}, since {}", who(), std::process::id(), jiff::Timestamp::now())
}

/// Makes the destination's namespace where the Application asks for it, and
/// says so where nobody will.
async fn namespace(destination: &Destination, loaded: &Loaded, survey: &Survey) -> Result<(), Failure> {
    use gitops_cluster::ApplyOptions;
    let mut wanted: Vec<&str> = survey
        .desired
        .objects
        .keys()
        .map(|key| key.namespace.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let Some(kind) = destination.discovery.preferred("", "Namespace") else { return Ok(()) };
    for name in wanted {
        let key = ObjectKey {
            group: String::new(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: name.to_owned(),
        };
        if survey.desired.objects.contains_key(&key) || destination.cluster.get(kind, &key).await?.is_some() {
            continue;
        }
        if !(loaded.creates_namespace() && name == loaded.namespace) {
            return Err(Failure { message: format!("{key} is not there; nothing was applied"), hint: None, code: code::REFUSED }
                .hint(format!("kubectl create namespace {name}, or declare it in Git, or set spec.destination.createNamespace")));
        }
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        destination.cluster.apply(kind, &key, &object, &ApplyOptions::default()).await?;
    }
    Ok(())
}
