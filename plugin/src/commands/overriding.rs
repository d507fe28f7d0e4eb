//! `kubectl gitops override`

use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use gitops_api::Override;
use gitops_cluster::{ApplyOptions, ErrorKind, Kind};
use gitops_core::compare::unix_seconds;
use gitops_core::names::{ANNOTATION_REQUESTED_BY, API_VERSION, FIELD_MANAGER, GROUP};
use gitops_core::object::ObjectKey;
use gitops_core::verdict::LONGEST;
use gitops_engine::load;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::{Failure, code};
use crate::output::{self, Format};
use crate::printer::Printer;
use crate::settings::{Settings, duration};

/// Break-glass: lets some writes past Git for a while, and ends it
///
/// It takes the verb `override` on overrides.kubectl-gitops.dev. Every write
/// that it lets pass is recorded in the audit log, in Events and in metrics.
/// What it leaves behind is drift.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    List(List),
    End(End),
}

/// Opens one, at once
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops override create --reason INC-12 --for 30m -n shop\n  kubectl gitops override create inc-12 --reason INC-12 -n shop --kind Deployment --name web --for-user bob"
)]
struct Create {
    /// Its name; else one is made up
    #[arg(value_name = "NAME")]
    called: Option<String>,
    /// Why; it is recorded with every write
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long, at most 4h
    #[arg(long = "for", default_value = "30m", value_name = "DURATION")]
    time: String,
    /// Only in this namespace; may be repeated. None: everywhere
    #[arg(short = 'n', long = "namespace", id = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    /// Only this kind, such as Deployment or Deployment.apps; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Only objects of this name; may be repeated
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// For this user instead of yourself; may be repeated
    #[arg(long = "for-user", value_name = "USER")]
    users: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Shows all, and until when each is open
///
/// Exit code 0: none is open; 1: one is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops override list\n  kubectl gitops override list -o json")]
struct List {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Ends one now
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kubectl gitops override end inc-12")]
struct End {
    #[arg(value_name = "NAME")]
    called: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    match arguments.action {
        Action::Create(arguments) => create(arguments, settings, printer).await,
        Action::List(arguments) => list(&arguments, settings, printer).await,
        Action::End(arguments) => end(&arguments, settings, printer).await,
    }
}

fn kind() -> Kind {
    load::own("Override", "overrides", false)
}

fn key(name: &str) -> ObjectKey {
    ObjectKey { group: GROUP.into(), kind: "Override".into(), namespace: String::new(), name: name.into() }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn read(value: Value) -> Result<Override, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::other(format!("an Override cannot be read: {error}"))
            .hint("use the kubectl-gitops of the version that is installed: kubectl gitops version")
    })
}

async fn create(arguments: Create, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let longest = Duration::from_secs(LONGEST.unsigned_abs());
    let lasts = duration(&arguments.time)?.filter(|lasts| *lasts <= longest).ok_or_else(|| {
        Failure::usage(format!("--for {} is not between 1s and 4h", arguments.time))
            .hint("write 30m; when it ends and you still need it, open another")
    })?;
    if arguments.reason.trim().is_empty() {
        return Err(Failure::usage("--reason is empty").hint("say why, such as the incident's number"));
    }
    let now = Timestamp::now();
    let expires = now.checked_add(lasts).map_err(|error| Failure::usage(error.to_string()))?;
    let name = arguments.called.unwrap_or_else(|| format!("override-{:x}", now.as_millisecond()));
    let cluster = settings.cluster().await?;
    if cluster.get(&kind(), &key(&name)).await?.is_some() {
        return Err(Failure::conflict(format!("Override {name} is there already"))
            .hint("leave the name out, or give another one; an Override cannot be changed"));
    }
    let object = json!({
        "apiVersion": API_VERSION, "kind": "Override", "metadata": {"name": name},
        "spec": {"namespaces": arguments.namespaces, "kinds": arguments.kinds, "names": arguments.names,
            "users": arguments.users, "reason": arguments.reason, "expiresAt": time(expires)},
    });
    let options = ApplyOptions { field_manager: FIELD_MANAGER, ..ApplyOptions::default() };
    let object = cluster.apply(&kind(), &key(&name), &object, &options).await?.object;
    let made = read(object.clone())?;
    let open = format!(
        "Override {name} is open until {} for {}: {}",
        made.spec.expires_at,
        users(&made),
        scope(&made)
    );
    tell(&name, &open, object, arguments.output, printer)?;
    printer.talk(&format!("what it leaves behind is drift; end it with: kubectl gitops override end {name}"));
    Ok(code::YES)
}

/// What became of an Override, in words or as it is now.
fn tell(name: &str, words: &str, object: Value, format: Format, printer: &Printer) -> Result<(), Failure> {
    match format {
        Format::Text | Format::Wide => printer.line(words),
        Format::Name => printer.line(&format!("override/{name}")),
        format => output::print(&[object], format, printer)?,
    }
    Ok(())
}

fn users(made: &Override) -> String {
    let maker = made.metadata.annotations.as_ref().and_then(|all| all.get(ANNOTATION_REQUESTED_BY));
    match (made.spec.users.as_slice(), maker) {
        ([], Some(maker)) => maker.clone(),
        ([], None) => "nobody".into(),
        (users, _) => users.join(", "),
    }
}

fn scope(made: &Override) -> String {
    let all = |list: &[String], what: &str| {
        if list.is_empty() { format!("all {what}s") } else { format!("{what} {}", list.join(", ")) }
    };
    let spec = &made.spec;
    [all(&spec.namespaces, "namespace"), all(&spec.kinds, "kind"), all(&spec.names, "name")].join("; ")
}

async fn list(arguments: &List, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let cluster = settings.cluster().await?;
    let answer = cluster.get_json(&format!("/apis/{API_VERSION}/overrides")).await;
    let mut answer = answer.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::from(error)
            .hint("the cluster knows no Overrides: install the chart; until then nothing is refused"),
        _ => error.into(),
    })?;
    let items: Vec<Value> = answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let found = items.iter().cloned().map(read).collect::<Result<Vec<Override>, _>>()?;
    let now = Timestamp::now().as_second();
    let is_open = |one: &Override| unix_seconds(&one.spec.expires_at).is_some_and(|at| at > now);
    let name = |one: &Override| one.metadata.name.clone().unwrap_or_default();
    match arguments.output {
        Format::Name => found.iter().for_each(|one| printer.line(&format!("override/{}", name(one)))),
        Format::Text | Format::Wide if found.is_empty() => printer.talk("no Override"),
        Format::Text | Format::Wide => {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(["NAME", "STATE", "UNTIL", "USERS", "SCOPE", "REASON"]);
            for one in &found {
                let state = if is_open(one) { "Open" } else { "Ended" };
                table.add_row([
                    name(one),
                    state.into(),
                    one.spec.expires_at.clone(),
                    users(one),
                    scope(one),
                    one.spec.reason.clone(),
                ]);
            }
            table.to_string().lines().for_each(|line| printer.line(line.trim_end()));
        }
        Format::Jsonl => output::print(&items, Format::Jsonl, printer)?,
        format => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            output::print(&[list], format, printer)?;
        }
    }
    Ok(if found.iter().any(is_open) { code::NO } else { code::YES })
}

async fn end(arguments: &End, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let name = &arguments.called;
    let cluster = settings.cluster().await?;
    let live = cluster.get(&kind(), &key(name)).await?.ok_or_else(|| {
        Failure::usage(format!("there is no Override {name}"))
            .hint("see which there are: kubectl gitops override list")
    })?;
    let open = read(live.clone())?;
    let now = Timestamp::now();
    if unix_seconds(&open.spec.expires_at).is_some_and(|at| at <= now.as_second()) {
        let ended = format!("Override {name} ended at {}", open.spec.expires_at);
        tell(name, &ended, live, arguments.output, printer)?;
        return Ok(code::YES);
    }
    let patch = json!([{"op": "replace", "path": "/spec/expiresAt", "value": time(now)}]);
    let options = ApplyOptions { field_manager: FIELD_MANAGER, ..ApplyOptions::default() };
    let ended = cluster.patch(&kind(), &key(name), &patch, &options).await?;
    let words = format!("Override {name} has ended; what it left behind: kubectl gitops diff");
    tell(name, &words, ended, arguments.output, printer)?;
    Ok(code::YES)
}
