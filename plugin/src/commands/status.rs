//! `kubectl gitops status`

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use gitops_api::application::ApplicationStatus;
use gitops_core::health::{Health, HealthReport};
use gitops_core::object::ObjectKey;
use gitops_core::plan::Action;
use gitops_engine::desired::whole_trees;
use gitops_engine::load::Place;
use gitops_engine::{Loaded, Survey};
use gitops_source::Commit;

use super::diff;
use crate::applications::{Destination, of_cluster, select, tell_mistakes};
use crate::beside::beside;
use crate::cli::Selection;
use crate::error::{Failure, code};
use crate::layout;
use crate::output::{self, Format, ObjectReport, Report};
use crate::printer::{Ink, Printer};
use crate::rollouts::{self, Seen};
use crate::said;
use crate::settings::Settings;

/// Up to so many objects are all shown.
const FEW: usize = 15;
/// Between two pictures with --watch.
const REDRAWN: Duration = Duration::from_secs(2);

/// Tells whether what is in Git is running, and if not, why
///
/// Exit code 0: in sync and healthy; 1: not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops status\n  kubectl gitops status web -o wide\n  kubectl gitops status web -w\n  kubectl gitops status --all-namespaces -o json"
)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// All Applications of the cluster
    #[arg(short = 'A', long, conflicts_with_all = ["names", "file", "repo"])]
    all_namespaces: bool,
    /// Draw it again and again until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let destination = Destination::reach(settings).await?;
    loop {
        let (reports, lines) = look(&arguments, &destination, settings, printer).await?;
        match arguments.output {
            Format::Text | Format::Wide | Format::Name if arguments.watch => printer.page(&lines),
            Format::Text | Format::Wide | Format::Name => lines.iter().for_each(|line| printer.line(line)),
            format => output::print(&reports, format, printer)?,
        }
        if !arguments.watch {
            let fine = reports.iter().all(|report| worst(report) == Health::Healthy && is_synced(report));
            return Ok(if fine { code::YES } else { code::NO });
        }
        tokio::select! {
            () = tokio::time::sleep(REDRAWN) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code::INTERRUPTED),
        }
        destination.look_again();
    }
}

/// One look at all that is meant: reports, and lines for people.
async fn look(
    arguments: &Arguments,
    destination: &Destination,
    settings: &Settings,
    printer: &Printer,
) -> Result<(Vec<Report>, Vec<String>), Failure> {
    let applications = if arguments.all_namespaces {
        all(destination, settings).await?
    } else {
        select(&arguments.selection, settings, Some(&destination.cluster)).await?
    };
    let (mut reports, mut lines) = (Vec::new(), Vec::new());
    let (revision, watch) = (arguments.selection.revision.clone(), arguments.watch);
    let mut states = beside(applications, |loaded| {
        let (destination, revision) = (destination.clone(), revision.clone());
        async move { State::of(&destination, loaded, revision.as_deref(), !watch).await }
    });
    while let Some(State { loaded, commit, survey, healths, said, notes }) = states.try_next().await? {
        tell_mistakes(&survey, printer);
        notes.iter().for_each(|note| printer.talk(&format!("{}: {note}", loaded.application.name)));
        let (loaded, report) = (&loaded, explained(report(&loaded, &survey, &healths), &said));
        if arguments.output == Format::Name {
            lines.push(format!("application/{}", loaded.application.name));
        } else {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            let now = jiff::Timestamp::now().as_second();
            let wide = arguments.output == Format::Wide;
            lines.extend(text(loaded, &commit, &report, now, wide, printer));
        }
        reports.push(report);
    }
    Ok((reports, lines))
}

/// What is known of one Application.
struct State {
    loaded: Loaded,
    commit: Commit,
    survey: Survey,
    healths: BTreeMap<ObjectKey, HealthReport>,
    said: ApplicationStatus,
    /// Sources that are rendered anew on every commit.
    notes: Vec<String>,
}

impl State {
    async fn of(
        destination: &Destination,
        loaded: Loaded,
        revision: Option<&str>,
        with_notes: bool,
    ) -> Result<Self, Failure> {
        let said = said::status(&destination.cluster, &loaded).await;
        let destination = &*destination.of(&loaded).await?;
        let (commit, survey) = destination.survey_silently(&loaded, revision).await?;
        let healths = destination.healths(&loaded, &survey).await?;
        let notes = match with_notes {
            true => whole_trees(&loaded, &destination.environment, &commit.id).await?,
            false => Vec::new(),
        };
        Ok(Self { loaded, commit, survey, healths, said, notes })
    }
}

/// All Applications of the cluster.
pub(super) async fn all(destination: &Destination, settings: &Settings) -> Result<Vec<Loaded>, Failure> {
    let all = of_cluster(&destination.cluster, None, settings).await?;
    all.into_iter().map(|(_, loaded)| loaded).collect()
}

/// Every object with its state.
pub(super) fn report(
    loaded: &Loaded,
    survey: &Survey,
    healths: &BTreeMap<ObjectKey, HealthReport>,
) -> Report {
    let mut report = Report::new("Status", loaded.application.to_string(), survey.desired.revision.clone());
    for step in &survey.plan.steps {
        report.counts.add(step.action);
        let state = healths.get(&step.key).cloned().unwrap_or_else(HealthReport::missing);
        report.objects.push(ObjectReport { health: Some(state), ..diff::object(&survey.desired, step) });
    }
    report.rollouts = rollouts::under_way(&survey.rollouts).iter().map(Seen::note).collect();
    report
}

/// Adds why it is so, as controller and webhook say it.
pub(super) fn explained(report: Report, said: &ApplicationStatus) -> Report {
    let controller = said::by_controller(said, !is_synced(&report));
    Report { controller, webhook: said::by_webhook(said), ..report }
}

pub(super) fn is_synced(report: &Report) -> bool {
    report.objects.iter().all(|object| object.action == Action::Unchanged)
}

/// The whole is as its worst object.
pub(super) fn worst(report: &Report) -> Health {
    report
        .objects
        .iter()
        .filter(|object| object.action != Action::Prune)
        .filter_map(|object| object.health.as_ref())
        .map(|report| report.health)
        .max_by_key(|health| health.rank())
        .unwrap_or(Health::Healthy)
}

/// A step's state of sync in a word.
pub(super) fn sync_word(action: Action) -> &'static str {
    match action {
        Action::Unchanged => "Synced",
        Action::Create => "Missing",
        Action::Update => "OutOfSync",
        Action::Prune => "Extra",
    }
}

fn is_healthy(object: &ObjectReport) -> bool {
    object.action == Action::Prune || object.health.as_ref().is_some_and(|h| h.health == Health::Healthy)
}

/// The answer first: is what is in Git running, and if not, why.
fn answer(report: &Report) -> String {
    let count = |test: &dyn Fn(&ObjectReport) -> bool| report.objects.iter().filter(|o| test(o)).count();
    let parts: Vec<String> = [
        (count(&|o| o.action == Action::Create), "missing"),
        (count(&|o| o.action == Action::Update), "not as Git says"),
        (count(&|o| o.action == Action::Prune), "no longer in Git"),
        (count(&|o| o.action != Action::Create && !is_healthy(o)), "not healthy"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let total = layout::counted(report.objects.len(), "object");
    if parts.is_empty() {
        format!("yes, {total} as Git says, healthy")
    } else {
        format!("no, of {total}: {}", parts.join(", "))
    }
}

fn text(
    loaded: &Loaded,
    commit: &Commit,
    report: &Report,
    now: i64,
    wide: bool,
    printer: &Printer,
) -> Vec<String> {
    let (sync, health) = (is_synced(report), worst(report));
    let fine = sync && health == Health::Healthy;
    let ink = |good: bool| if good { Ink::Git } else { Ink::Live };
    let mut lines = vec![printer.ink(Ink::Bold, &format!("Application {}", loaded.application))];
    let mut fact =
        |name: &str, text: &str, ink: Option<Ink>| lines.extend(layout::fact(name, text, ink, printer));
    fact("running", &answer(report), Some(ink(fine)));
    for Place { source, repo, .. } in &loaded.sources {
        let what = match source.helm.as_ref().filter(|helm| !helm.chart.is_empty()) {
            Some(helm) => format!("chart {} {}", helm.chart, helm.version),
            None => format!("{} {}", source.revision, source.path),
        };
        fact("source", &format!("{repo} {what}"), None);
    }
    let by = format!("({}, {})", commit.author, layout::age(commit.time, now));
    fact("revision", &format!("{} {} {by}", &commit.id[..12], commit.subject), None);
    let word = if sync { "Synced" } else { "OutOfSync" };
    match &report.controller {
        Some(why) => fact("sync", &format!("{word}: {why}"), Some(ink(false))),
        None => fact("sync", word, Some(ink(sync))),
    }
    fact("health", health.name(), Some(layout::health_ink(health)));
    if let Some(why) = &report.webhook {
        fact("enforced", &format!("not as it should be: {why}"), Some(ink(false)));
    }

    for note in &report.rollouts {
        fact("rollout", &format!("{} {}", note.name, note.message), None);
        if let Some(command) = &note.command {
            fact("command", command, None);
        }
    }

    // On one screen: what is in order is only counted where there is much of it.
    let troubled = |object: &&ObjectReport| object.action != Action::Unchanged || !is_healthy(object);
    let all = wide || report.objects.len() <= FEW;
    let shown: Vec<&ObjectReport> = report.objects.iter().filter(|o| all || troubled(o)).collect();
    if !shown.is_empty() {
        lines.push(String::new());
        let rows: Vec<Vec<String>> = shown.iter().map(|object| row(object, wide)).collect();
        lines.extend(layout::columns(&["OBJECT", "SYNC", "HEALTH", "WHY"], &rows, printer));
    }
    let left_out = report.objects.len() - shown.len();
    if left_out > 0 {
        lines.push(printer.ink(Ink::Dim, &format!("{left_out} more are in sync and healthy (-o wide)")));
    }
    lines
}

fn row(object: &ObjectReport, wide: bool) -> Vec<String> {
    let state = object.health.clone().unwrap_or_else(HealthReport::missing);
    let fields: Vec<String> =
        object.differences.iter().map(|located| located.difference.path.to_string()).collect();
    let mut why = match object.action {
        Action::Prune => "Git no longer declares it".to_owned(),
        _ if state.health == Health::Healthy && !wide => String::new(),
        _ => state.message.clone(),
    };
    if let Some((first, more)) = fields.split_first() {
        let more = match (more.len(), wide) {
            (0, _) => String::new(),
            (_, true) => format!(", {}", more.join(", ")),
            (count, false) => format!(" and {count} more"),
        };
        let comma = if why.is_empty() { "" } else { "; " };
        why.push_str(&format!("{comma}differs in {first}{more}"));
    }
    let health = if object.action == Action::Prune { "" } else { state.health.name() };
    vec![layout::object(&object.object), sync_word(object.action).to_owned(), health.to_owned(), why]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_core::compare::{Difference, Op};
    use gitops_core::object::Gvk;
    use serde_json::json;

    use super::*;
    use crate::cli::ColorChoice;
    use crate::output::{Located, ObjectId, RolloutNote};

    fn object(kind: &str, name: &str, action: Action, health: HealthReport) -> ObjectReport {
        let key = ObjectKey {
            group: String::new(),
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        let difference = Difference {
            path: "spec.replicas".parse().unwrap(),
            op: Op::Change,
            git: Some(json!(2)),
            tried: Some(json!(5)),
        };
        let differences = vec![Located { difference, file: "web.yaml".into(), line: Some(7) }];
        ObjectReport {
            object: ObjectId::new(&Gvk::new("v1", kind), &key),
            action,
            differences: if action == Action::Update { differences } else { Vec::new() },
            outcome: None,
            error: None,
            health: Some(health),
            hook: None,
            note: String::new(),
        }
    }

    fn shown(objects: Vec<ObjectReport>, width: usize) -> String {
        let mut report = Report::new("Status", "shop/web".into(), "0123456789abcdef".into());
        report.objects = objects;
        told(&report, width)
    }

    fn told(report: &Report, width: usize) -> String {
        let loaded = gitops_engine::load::from_flags(
            "web",
            "shop",
            "https://git.example/shop.git".parse().unwrap(),
            "main",
            "app",
            gitops_source::Credentials::default(),
        );
        let commit = Commit {
            id: "0123456789abcdef".into(),
            subject: "Two replicas".into(),
            author: "Ada".into(),
            time: 0,
        };
        text(&loaded, &commit, report, 300, false, &Printer::new(ColorChoice::Never).wide(width)).join("\n")
    }

    fn healthy() -> HealthReport {
        HealthReport::new(Health::Healthy, "", "it is there")
    }

    #[test]
    fn one_screen_answers() {
        let pull = HealthReport::new(
            Health::Degraded,
            "ErrImagePull",
            "0 of 2 replicas are available: Pod web-1: container web cannot get its image web:1: not found",
        );
        let objects = || {
            vec![
                object("ConfigMap", "web", Action::Unchanged, healthy()),
                object("Deployment", "web", Action::Update, pull.clone()),
                object("Service", "web", Action::Create, HealthReport::missing()),
                object("Secret", "old", Action::Prune, healthy()),
            ]
        };
        insta::assert_snapshot!(shown(objects(), 100), @"
        Application shop/web
          running:  no, of 4 objects: 1 missing, 1 not as Git says, 1 no longer in Git, 1 not healthy
          source:   https://git.example/shop.git main app
          revision: 0123456789ab Two replicas (Ada, 5 minutes ago)
          sync:     OutOfSync
          health:   Degraded

        OBJECT               SYNC       HEALTH    WHY
        ConfigMap shop/web   Synced     Healthy
        Deployment shop/web  OutOfSync  Degraded  0 of 2 replicas are available: Pod web-1: container web
                                                  cannot get its image web:1: not found; differs in
                                                  spec.replicas
        Service shop/web     Missing    Missing   it is not in the cluster
        Secret shop/old      Extra                Git no longer declares it
        ");
        insta::assert_snapshot!(shown(objects(), 60), @"
        Application shop/web
          running:  no, of 4 objects: 1 missing, 1 not as Git says,
                    1 no longer in Git, 1 not healthy
          source:   https://git.example/shop.git main app
          revision: 0123456789ab Two replicas (Ada, 5 minutes ago)
          sync:     OutOfSync
          health:   Degraded

        OBJECT               SYNC       HEALTH
        ConfigMap shop/web   Synced     Healthy
        Deployment shop/web  OutOfSync  Degraded
            0 of 2 replicas are available: Pod web-1: container web
            cannot get its image web:1: not found; differs in
            spec.replicas
        Service shop/web     Missing    Missing
            it is not in the cluster
        Secret shop/old      Extra
            Git no longer declares it
        ");
    }

    #[test]
    fn a_rollout_says_what_gets_it_on() {
        let mut report = Report::new("Status", "shop/web".into(), "0123456789abcdef".into());
        report.rollouts = vec![RolloutNote {
            name: "web".into(),
            phase: "Paused".into(),
            step: "2 of 5".into(),
            message: "Paused, step 2 of 5: it waits until someone promotes it".into(),
            command: Some("kubectl gitops rollout promote web -n shop".into()),
        }];
        insta::assert_snapshot!(told(&report, 100), @"
        Application shop/web
          running:  yes, 0 objects as Git says, healthy
          source:   https://git.example/shop.git main app
          revision: 0123456789ab Two replicas (Ada, 5 minutes ago)
          sync:     Synced
          health:   Healthy
          rollout:  web Paused, step 2 of 5: it waits until someone promotes it
          command:  kubectl gitops rollout promote web -n shop
        ");
    }

    #[test]
    fn much_that_is_in_order_is_counted() {
        let mut objects: Vec<ObjectReport> =
            (0..20).map(|n| object("ConfigMap", &format!("c{n}"), Action::Unchanged, healthy())).collect();
        insta::assert_snapshot!(shown(objects.clone(), 100), @"
        Application shop/web
          running:  yes, 20 objects as Git says, healthy
          source:   https://git.example/shop.git main app
          revision: 0123456789ab Two replicas (Ada, 5 minutes ago)
          sync:     Synced
          health:   Healthy
        20 more are in sync and healthy (-o wide)
        ");
        objects.push(object("Deployment", "web", Action::Create, HealthReport::missing()));
        assert!(shown(objects, 100).ends_with("20 more are in sync and healthy (-o wide)"));
    }
}
