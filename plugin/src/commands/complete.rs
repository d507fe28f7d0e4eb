//! What kubectl asks for when somebody presses the tabulator key. In: the words
//! so far. Out: candidates by kubectl's rules (cobra's): one a line, with what
//! it is behind a tab, and at the end whether files are meant, too.

use std::time::Duration;

use clap::{Arg, Args, Command, CommandFactory, FromArgMatches};
use gitops_engine::load;

use crate::cli::{Cli, GlobalFlags};
use crate::error::{Failure, code};
use crate::listing;
use crate::printer::Printer;
use crate::settings::Settings;

/// Nobody waits longer for a word.
const PATIENCE: Duration = Duration::from_secs(2);
/// cobra's ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp.
const FILES: &str = ":0";
const NO_FILES: &str = ":4";

/// Prints what may come next
#[derive(Debug, Args)]
pub struct Arguments {
    /// The words after `kubectl gitops`, the last one unfinished
    #[arg(last = true)]
    words: Vec<String>,
}

pub async fn run(arguments: Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let mut command = Cli::command();
    command.build();
    let expected = Expected::after(&command, &arguments.words);
    let last = arguments.words.last().map_or("", String::as_str);
    let candidates = match &expected {
        Expected::Application => applications(&arguments.words, settings).await,
        Expected::Rollout => of_cluster("rollouts", &arguments.words).await,
        Expected::Words(words) => words.clone(),
        Expected::File | Expected::Anything => Vec::new(),
    };
    candidates.iter().filter(|candidate| candidate.starts_with(last)).for_each(|line| printer.line(line));
    printer.line(if matches!(expected, Expected::File) { FILES } else { NO_FILES });
    Ok(code::YES)
}

/// What the last word may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Words(Vec<String>),
    /// The name of one.
    Application,
    Rollout,
    File,
    Anything,
}

impl Expected {
    fn after(root: &Command, words: &[String]) -> Self {
        let (last, before) =
            words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        let (mut command, mut open): (&Command, Option<&Arg>) = (root, None);
        for word in before {
            if open.take().is_some() {
                continue;
            }
            if word.starts_with('-') {
                open = flag(command, word).filter(|flag| !word.contains('=') && takes_next_word(flag));
            } else if let Some(sub) = command.find_subcommand(word) {
                command = sub;
            }
        }
        if let Some(flag) = open {
            return Self::value_of(flag, "");
        }
        match last.split_once('=') {
            Some((name, _)) if last.starts_with("--") => {
                flag(command, name).map_or(Self::Anything, |flag| Self::value_of(flag, &format!("{name}=")))
            }
            _ if last.starts_with('-') => Self::Words(flags(command)),
            _ => Self::word_of(command),
        }
    }

    /// Where no flag is meant.
    fn word_of(command: &Command) -> Self {
        let subcommands: Vec<String> = command
            .get_subcommands()
            .filter(|sub| !sub.is_hide_set())
            .map(|sub| described(sub.get_name(), sub.get_about()))
            .collect();
        match command.get_positionals().next() {
            _ if !subcommands.is_empty() => Self::Words(subcommands),
            Some(positional) if positional.get_id() == "names" => Self::Application,
            Some(positional) if positional.get_id() == "rollout" => Self::Rollout,
            Some(positional) => Self::value_of(positional, ""),
            None => Self::Words(Vec::new()),
        }
    }

    fn value_of(argument: &Arg, before: &str) -> Self {
        let values = argument.get_possible_values();
        if !values.is_empty() {
            let shown = values.iter().filter(|value| !value.is_hide_set());
            let shown =
                shown.map(|value| format!("{before}{}", described(value.get_name(), value.get_help())));
            return Self::Words(shown.collect());
        }
        let named = argument.get_value_names().and_then(<[_]>::first).map(|name| name.as_str());
        if matches!(named, Some("FILE" | "DIR" | "PATH")) { Self::File } else { Self::Anything }
    }
}

/// The flag that a word is.
fn flag<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let name = word.split('=').next().unwrap_or(word);
    command.get_arguments().find(|flag| match name.strip_prefix("--") {
        Some(long) => flag.get_long() == Some(long),
        None => name.chars().nth(1).is_some_and(|short| flag.get_short() == Some(short) && name.len() == 2),
    })
}

fn takes_next_word(flag: &Arg) -> bool {
    flag.get_action().takes_values() && !flag.is_require_equals_set()
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    shown.filter_map(|flag| Some(described(&format!("--{}", flag.get_long()?), flag.get_help()))).collect()
}

fn described(name: &str, about: Option<&clap::builder::StyledStr>) -> String {
    let about = about.map(ToString::to_string).unwrap_or_default();
    match about.lines().next() {
        Some(line) if !line.is_empty() => format!("{name}\t{line}"),
        _ => name.to_owned(),
    }
}

/// Those of the nearest gitops.yaml, else those of the cluster. What goes wrong
/// is nobody's business while a word is typed.
async fn applications(words: &[String], settings: &Settings) -> Vec<String> {
    if let Some(file) = load::find_file(&settings.folder) {
        let all = load::read_file(&file, "", &settings.credentials).unwrap_or_default();
        return all.into_iter().map(|loaded| loaded.application.name).collect();
    }
    of_cluster("applications", words).await
}

/// Names of objects of ours, by the flags that were typed.
async fn of_cluster(plural: &str, words: &[String]) -> Vec<String> {
    let typed = std::iter::once("kubectl-gitops").chain(words.iter().map(String::as_str));
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(typed);
    let flags = matches.ok().and_then(|matches| GlobalFlags::from_arg_matches(&matches).ok());
    let Some(Ok(settings)) = flags.map(|flags| Settings::resolve(&flags)) else { return Vec::new() };
    let names = async {
        let cluster = settings.cluster().await.ok()?;
        let namespace = settings.namespace.as_deref().unwrap_or(cluster.default_namespace());
        let all = listing::list(&cluster, plural, Some(namespace)).await.ok()?;
        Some(all.iter().map(|one| listing::reference(one).name).collect())
    };
    tokio::time::timeout(PATIENCE, names).await.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str) -> Expected {
        let mut command = Cli::command();
        command.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match Expected::after(&command, &words) {
            Expected::Words(words) => {
                let last = line.rsplit(' ').next().unwrap_or_default();
                let names = words.iter().map(|word| word.split('\t').next().unwrap_or_default().to_owned());
                Expected::Words(names.filter(|name| name.starts_with(last)).collect())
            }
            other => other,
        }
    }

    #[test]
    fn what_comes_next_is_known_from_what_came_before() {
        let words = |all: &[&str]| Expected::Words(all.iter().map(|word| (*word).to_owned()).collect());
        for (line, expected) in [
            ("s", words(&["sync", "status"])),
            ("-n shop di", words(&["diff"])),
            ("--namespace=shop override ", words(&["create", "list", "end"])),
            ("sync ", Expected::Application),
            ("sync web ", Expected::Application),
            ("sync --dry", words(&["--dry-run"])),
            ("sync -n ", Expected::Anything),
            ("sync -f ", Expected::File),
            ("status -o j", words(&["json", "jsonl"])),
            ("status --output=y", words(&["--output=yaml"])),
            ("sync --wait ", Expected::Application),
            ("completion f", words(&["fish"])),
            ("rollout re", words(&["retry", "resume", "restart"])),
            ("rollout promote ", Expected::Rollout),
            ("rollout promote -n shop w", Expected::Rollout),
            ("rollout lint ", Expected::File),
            ("man", words(&["man-pages"])),
            ("version ", words(&[])),
        ] {
            assert_eq!(after(line), expected, "{line:?}");
        }
    }
}
