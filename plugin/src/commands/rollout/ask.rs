//! `kubectl gitops rollout promote`, `abort`, `retry`, `pause` and `resume`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use gitops_api::{Request, Verb};
use gitops_cluster::Cluster;
use gitops_core::desired::AppRef;
use gitops_core::rollout::outlook;
use gitops_core::rollout::state::Phase;
use gitops_engine::lease;

use super::{get, status};
use crate::asking;
use crate::cli::Selection;
use crate::commands::sync;
use crate::error::{Failure, code};
use crate::output::Format;
use crate::printer::Printer;
use crate::reaching::{Reached, reach};
use crate::rollouts::{self, Seen};
use crate::settings::{Settings, duration, who};

/// Lets a new version go on past the pause or analysis it is at
///
/// With --full nothing is waited for any more but its Pods. It takes the verb
/// `promote` on the Rollout; who and why are recorded.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout promote web -n shop\n  kubectl gitops rollout promote web --full --reason \"tried by hand\""
)]
pub struct PromoteArguments {
    #[command(flatten)]
    which: Which,
    /// Past all pauses and analyses
    #[arg(long)]
    full: bool,
}

/// Takes a new version back: the old one serves alone again
///
/// Git is changed as the Rollout's onFailure says; the version is not tried
/// again until Git says another one, or it is retried. It takes the verb
/// `abort` on the Rollout; who and why are recorded.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout abort web -n shop --reason INC-12\n  kubectl gitops rollout abort web --wait"
)]
pub struct AbortArguments {
    #[command(flatten)]
    which: Which,
}

/// Tries an aborted version once more, from its first step
///
/// It takes the verb `retry` on the Rollout; who and why are recorded.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops rollout retry web -n shop")]
pub struct RetryArguments {
    #[command(flatten)]
    which: Which,
}

/// Holds a new version where it is
///
/// Its total deadline goes on. It takes the verb `abort` on the Rollout: who
/// may take a version back may also hold it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops rollout pause web -n shop --reason INC-12")]
pub struct PauseArguments {
    #[command(flatten)]
    which: Which,
}

/// Lets a paused version go on from where it is
///
/// It takes the verb `abort` on the Rollout, as `pause` does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops rollout resume web -n shop")]
pub struct ResumeArguments {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The Rollout
    #[arg(value_name = "NAME")]
    rollout: String,
    /// Why; it is recorded with the request
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Wait until the version is promoted or aborted
    #[arg(short, long)]
    wait: bool,
    /// Do it from here, where no controller runs, and go on until the version is promoted, aborted or waits for someone
    #[arg(long)]
    local: bool,
    /// With --local: the file that describes its Application; else the nearest gitops.yaml upwards, else the cluster
    #[arg(short, long, value_name = "FILE", requires = "local")]
    file: Option<PathBuf>,
    /// How long the answer, --wait and --local may take
    #[arg(long, default_value = "5m", value_name = "DURATION")]
    timeout: String,
    /// How to print; for programs, where it stands in the end
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn promote(
    arguments: &PromoteArguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    run(Verb::Promote, arguments.full, &arguments.which, settings, printer).await
}

pub async fn abort(
    arguments: &AbortArguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    run(Verb::Abort, false, &arguments.which, settings, printer).await
}

pub async fn retry(
    arguments: &RetryArguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    run(Verb::Retry, false, &arguments.which, settings, printer).await
}

pub async fn pause(
    arguments: &PauseArguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    run(Verb::Pause, false, &arguments.which, settings, printer).await
}

pub async fn resume(
    arguments: &ResumeArguments,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    run(Verb::Resume, false, &arguments.which, settings, printer).await
}

async fn run(
    verb: Verb,
    full: bool,
    which: &Which,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    let reached = reach(settings, &which.rollout).await?;
    let code = carry_out(verb, full, which, &reached, settings, printer).await?;
    if !which.output.is_text() {
        let (cluster, reference) = (&reached.cluster, reached.seen.reference());
        let (seen, discovery) =
            tokio::try_join!(rollouts::find(cluster, &reference.namespace, &reference.name), async {
                Ok(cluster.discovery().await?)
            })?;
        get::print(&get::look(cluster, &discovery, &seen).await?, which.output, printer)?;
    }
    Ok(code)
}

async fn carry_out(
    verb: Verb,
    full: bool,
    which: &Which,
    reached: &Reached,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    let (limit, begun) = (duration(&which.timeout)?.unwrap_or(Duration::MAX), Instant::now());
    let Reached { home, cluster, seen } = reached;
    let word = word(verb);
    if !outlook::requests(&seen.state).contains(&word) {
        return Err(nothing(seen, word));
    }
    let arguments =
        if full { BTreeMap::from([("full".to_owned(), "true".to_owned())]) } else { BTreeMap::new() };
    let request = asking::request(verb, arguments, &which.reason);
    if which.local {
        return from_here(reached, &request, which, settings, printer).await;
    }
    if !asking::controller_runs(home).await? {
        return Err(Failure::conflict("no controller runs, so nobody would carry it out").hint(
            "do it from here: --local; or look why it does not run: kubectl get pods -n gitops-system",
        ));
    }
    asking::ask(cluster, &rollouts::kind(), &seen.rollout.metadata, &request).await?;
    let judged = rollouts::is_judged(cluster, seen).await;
    let follow = Follow { cluster, seen, request, limit, begun, judged };
    let carried = tokio::select! {
        carried = follow.end() => carried?,
        _ = tokio::signal::ctrl_c() => {
            printer.talk("the request stays: withdraw it by another one");
            return Ok(code::INTERRUPTED);
        }
    };
    tell(&carried, word, which.output, printer)?;
    if which.wait {
        let left = limit.saturating_sub(begun.elapsed());
        let meant = status::Meant::Version(carried.state.new.as_ref().map(|new| new.hash.clone()));
        let ended =
            status::until_ended(cluster, &carried.reference(), (meant, left), which.output, printer).await?;
        // What was to be aborted and is has gone well.
        return Ok(if verb == Verb::Abort && ended == code::NO { code::YES } else { ended });
    }
    Ok(code::YES)
}

/// What has become of a request that was carried out.
fn tell(carried: &Seen, word: &str, format: Format, printer: &Printer) -> Result<(), Failure> {
    let reference = carried.reference();
    if outlook::is_in_vain(&carried.state) {
        return Err(Failure::other(format!("Rollout {reference}: {}", carried.state.message))
            .hint(format!("see where it stands: kubectl gitops rollout get {}", reference.name)));
    }
    let told = format!("Rollout {reference}: {word}, now {}", carried.words());
    if format.is_text() {
        printer.line(&told)
    } else {
        printer.talk(&told)
    }
    Ok(())
}

/// Asks, and drives the Rollout from here, by a sync of its Application under
/// the same Lease that a controller takes.
async fn from_here(
    Reached { home, cluster, seen }: &Reached,
    request: &Request,
    which: &Which,
    settings: &Settings,
    printer: &Printer,
) -> Result<u8, Failure> {
    let reference = seen.reference();
    if asking::controller_runs(home).await? {
        return Err(Failure::conflict("a controller runs, and carries it out").hint("leave out --local"));
    }
    let application = seen.application().ok_or_else(|| Failure {
        message: format!("Rollout {reference} is of no Application"),
        hint: Some("sync the one that declares it first: kubectl gitops sync".into()),
        code: code::REFUSED,
    })?;
    let metadata = &seen.rollout.metadata;
    asking::ask_as(cluster, &rollouts::kind(), metadata, request, Some(&who())).await?;
    let limit = duration(&which.timeout)?.unwrap_or(Duration::MAX);
    let other = Other { cluster, seen, application: &application, request, limit };
    if let Some(carried) = other.end(printer).await? {
        tell(&carried, word(request.verb), which.output, printer)?;
        return Ok(code::YES);
    }
    let names = vec![application.name];
    let selection = Selection { names, file: which.file.clone(), ..Selection::default() };
    let (format, settings) = (which.output, &settings.in_namespace(&application.namespace));
    let whole = sync::Arguments::whole(selection, false, true, which.timeout.clone(), format).locally();
    let synced = match format.is_text() {
        true => sync::run(whole, settings, printer).await,
        false => sync::carry_out(whole, settings, printer).await.map(|(_, code)| code),
    };
    let code = synced.map_err(|failure| Failure {
        message: format!(
            "{}; unless it was carried out, the request stays for whoever drives next",
            failure.message
        ),
        ..failure
    })?;
    let carried = rollouts::find(cluster, &reference.namespace, &reference.name).await?;
    if carried.state.record.as_ref().is_none_or(|record| record.id != request.id) {
        return Err(Failure {
            message: format!("Rollout {reference}: it was not carried out"),
            hint: Some("see where it stands: kubectl gitops rollout get; then ask again".into()),
            code: code.max(code::NO),
        });
    }
    tell(&carried, word(request.verb), format, printer)?;
    let aborted = request.verb == Verb::Abort && carried.state.phase == Phase::Aborted;
    Ok(if aborted { code::YES } else { code })
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Promote => "promote",
        Verb::Abort => "abort",
        Verb::Retry => "retry",
        Verb::Pause => "pause",
        _ => "resume",
    }
}

/// There is nothing to ask for; what there is instead is the hint.
fn nothing(seen: &Seen, word: &str) -> Failure {
    let phase = if seen.is_driven { format!("{:?}", seen.state.phase) } else { "Unknown".into() };
    let message = format!("Rollout {}: there is nothing to {word} in phase {phase}", seen.reference());
    let name = seen.reference().name;
    let hint = match outlook::requests(&seen.state).as_slice() {
        [] => format!("see where it stands: kubectl gitops rollout get {name}"),
        other => format!("what would change something: {}", other.join(", ")),
    };
    Failure::other(message).hint(hint)
}

/// A request where somebody else may be driving from elsewhere, who then carries it out.
struct Other<'a> {
    cluster: &'a Cluster,
    seen: &'a Seen,
    application: &'a AppRef,
    request: &'a Request,
    limit: Duration,
}

impl Other<'_> {
    /// Waits until it was carried out; none: nobody drives, or no longer.
    async fn end(&self, printer: &Printer) -> Result<Option<Seen>, Failure> {
        let (reference, begun) = (self.seen.reference(), Instant::now());
        let mut told = false;
        loop {
            // In this order: whoever lets it go has done by then what was asked for.
            let holder = lease::held(self.cluster, self.application, "").await.unwrap_or_default();
            let live = rollouts::find(self.cluster, &reference.namespace, &reference.name).await?;
            if live.state.record.as_ref().is_some_and(|record| record.id == self.request.id) {
                return Ok(Some(live));
            }
            let Some(holder) = holder else { return Ok(None) };
            if !told {
                printer.talk(&format!(
                    "Application {} is being synced by {holder}, who is asked",
                    self.application
                ));
                told = true;
            }
            if begun.elapsed() >= self.limit {
                return Err(Failure {
                    message: format!("Rollout {reference}: {holder} has not done it in time"),
                    hint: Some("the request stays for whoever drives next".into()),
                    code: code::TIMEOUT,
                });
            }
            tokio::time::sleep(asking::INTERVAL).await;
        }
    }
}

/// A request on its way to the controller.
struct Follow<'a> {
    cluster: &'a Cluster,
    seen: &'a Seen,
    request: Request,
    limit: Duration,
    begun: Instant,
    judged: bool,
}

impl Follow<'_> {
    /// Waits until it was carried out. One that came in before the API server
    /// called the webhook bears no name: it is made again, under another id.
    async fn end(mut self) -> Result<Seen, Failure> {
        let reference = self.seen.reference();
        loop {
            let live = rollouts::find(self.cluster, &reference.namespace, &reference.name).await?;
            if live.state.record.as_ref().is_some_and(|record| record.id == self.request.id) {
                return Ok(live);
            }
            let carried =
                Request::of(&live.rollout).ok().flatten().filter(|(now, _)| now.id == self.request.id);
            let Some((_, by)) = carried else {
                return Err(Failure::conflict(format!(
                    "somebody else has asked for something of {reference}"
                ))
                .hint("see what became of it: kubectl gitops rollout get; then ask again"));
            };
            if by.is_empty() && self.judged && self.begun.elapsed() < asking::STAMPED {
                tokio::time::sleep(asking::INTERVAL).await;
                self.request.id = asking::request(self.request.verb, BTreeMap::new(), "").id;
                asking::ask(self.cluster, &rollouts::kind(), &live.rollout.metadata, &self.request).await?;
                continue;
            }
            if self.begun.elapsed() >= self.limit {
                return Err(Failure {
                    message: format!("Rollout {reference}: the controller has not done it in time"),
                    hint: Some(
                        "look at it: kubectl logs -n gitops-system deployment/gitops-controller".into(),
                    ),
                    code: code::TIMEOUT,
                });
            }
            tokio::time::sleep(asking::INTERVAL).await;
        }
    }
}
