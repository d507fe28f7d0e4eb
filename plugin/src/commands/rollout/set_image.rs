//! `kubectl gitops rollout set-image`

use std::collections::BTreeMap;

use clap::Args;
use gitops_core::image::{Container, Image};
use gitops_core::names::OUTPUT_API_VERSION;
use gitops_engine::image::{Changed, ImageError, change, chosen, differs};
use gitops_engine::{desired, restore};
use gitops_source::NewCommit;
use gitops_source::git::Draft;
use gitops_source::image::PlaceError;
use serde::Serialize;

use super::declared::{Declared, Which};
use crate::drafting::Drafting;
use crate::error::Failure;
use crate::error::code;
use crate::output::{self, Format, Report};
use crate::place::Place;
use crate::printer::Printer;
use crate::settings::{Settings, who};

/// Gives containers other images, by a commit
///
/// The image is changed where it is written: in the manifest, in the
/// kustomization's `images`, or in a chart's values, with everything else in
/// the file left as it is. What that changes is rendered and shown first. The
/// new version gets in as the Rollout says, by the controller or the next sync.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl gitops rollout set-image web app=registry.example/web:1.2\n  kubectl gitops rollout set-image web app=web:1.2 proxy=proxy:3 --dry-run\n  kubectl gitops rollout set-image web app=web:1.2 --branch web-1.2 --yes -m \"Web 1.2\""
)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Containers, each with its image
    #[arg(value_name = "CONTAINER=IMAGE", required = true)]
    images: Vec<String>,
    /// Push to a new branch of this name instead
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The commit's message; else what changes
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What is set, as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    api_version: &'static str,
    kind: &'static str,
    application: String,
    rollout: String,
    branch: String,
    /// Where the images are written, as `file: field`.
    places: Vec<String>,
    /// The new commit; absent in a dry run, and where nothing changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    changes: Report,
}

pub async fn run(arguments: &Arguments, settings: &Settings, printer: &Printer) -> Result<u8, Failure> {
    let images = parsed(&arguments.images)?;
    let place = if arguments.which.is_local(settings) {
        Place::reach_if_there(settings, printer, "changes are shown by Kubernetes' own kinds").await?
    } else {
        Place::reach(settings).await?
    };
    let declared = arguments.which.find(settings, &place).await?;
    let (loaded, selection) = (&declared.loaded, &declared.selection);
    let drafting = Drafting { place: &place, loaded, selection, settings, printer };
    let case = Case { drafting, declared: &declared, arguments };
    let (draft, mut told) = case.draft(&images).await?;
    if arguments.output.is_text() {
        case.show(&draft, &told).await?;
    }
    if !draft.is_empty() && !arguments.dry_run {
        if arguments.branch.is_none() {
            case.drafting.counts(&draft, &declared.revision).await?;
        }
        told.revision = Some(case.drafting.publish(draft, arguments.branch.as_deref(), arguments.yes).await?);
        if arguments.branch.is_none() {
            let name = &loaded.application.name;
            printer.talk(&format!("it gets in by the controller, or by: kubectl gitops sync {name}"));
        }
    }
    match arguments.output {
        Format::Text | Format::Wide => {}
        Format::Name => output::names(&told.changes.objects, printer),
        format => output::print(&[told], format, printer)?,
    }
    Ok(code::YES)
}

/// Container and image of each word.
fn parsed(words: &[String]) -> Result<BTreeMap<String, Image>, Failure> {
    let mut images = BTreeMap::new();
    for word in words {
        let bad = |what: String| {
            Failure::usage(what).hint("write CONTAINER=IMAGE, such as app=registry.example/web:1.2")
        };
        let (container, image) = word
            .split_once('=')
            .filter(|(container, _)| !container.is_empty())
            .ok_or_else(|| bad(format!("{word:?} names no container and image")))?;
        let image = Image::parse(image).map_err(|error| bad(error.to_string()))?;
        if images.insert(container.to_owned(), image).is_some() {
            return Err(bad(format!("container {container} is named twice")));
        }
    }
    Ok(images)
}

struct Case<'a> {
    drafting: Drafting<'a>,
    declared: &'a Declared,
    arguments: &'a Arguments,
}

impl Case<'_> {
    /// The commit, made but not published, and what it changes.
    async fn draft(&self, images: &BTreeMap<String, Image>) -> Result<(Draft, Set), Failure> {
        let Drafting { loaded, place, .. } = self.drafting;
        let (environment, now) = (place.environment(), &self.declared.revision);
        let home = self.drafting.home("change the image where the chart or artifact is made")?;
        let target = self.declared.target()?;
        let wanted = chosen(target, images).map_err(failed)?;
        let Changed { changes, places } =
            change(loaded, environment, now, target, wanted.clone()).await.map_err(failed)?;
        let writer = self.drafting.writer(home);
        let branch = writer.branch(&home.source.revision)?;
        let new = NewCommit { changes, message: self.message(&wanted), author: None };
        let draft = writer.draft(&branch, restore::commit_of(loaded, now), new)?;
        if !draft.is_empty() {
            let drafted = restore::placed(loaded, &draft.repo());
            let revision = restore::with_commit(loaded, now, &draft.commit);
            let after = desired(&drafted, environment, &revision, place).await?;
            if let Some((container, found)) = differs(&after, &target.key, &wanted) {
                return Err(still(container, &found, &places));
            }
        }
        let told = Set {
            api_version: OUTPUT_API_VERSION,
            kind: "SetImage",
            application: loaded.application.to_string(),
            rollout: self.declared.name.clone(),
            branch: self.arguments.branch.clone().unwrap_or(branch),
            places,
            revision: None,
            changes: self.drafting.changes(now, &draft).await?,
        };
        Ok((draft, told))
    }

    async fn show(&self, draft: &Draft, told: &Set) -> Result<(), Failure> {
        let printer = self.drafting.printer;
        if draft.is_empty() {
            printer.talk(&format!("{} has these images already; nothing is committed", draft.branch));
            return Ok(());
        }
        told.places.iter().for_each(|place| printer.line(&format!("changes {place}")));
        self.drafting.show(draft, &told.changes).await
    }

    fn message(&self, wanted: &[(Container, Image)]) -> String {
        let lines: Vec<String> = wanted
            .iter()
            .map(|(container, image)| format!("{}: {} to {image}", container.name, container.image))
            .collect();
        let subject = match (&self.arguments.message, wanted) {
            (Some(message), _) => message.clone(),
            (None, [(_, image)]) => format!("{}: {image}", self.declared.name),
            (None, _) => format!("{}: other images", self.declared.name),
        };
        format!(
            "{subject}\n\nOf Rollout {} in Application {}:\n{}\n\nRequested-by: {}\n",
            self.declared.name,
            self.declared.loaded.application,
            lines.join("\n"),
            who()
        )
    }
}

fn failed(error: ImageError) -> Failure {
    match error {
        ImageError::NoContainer { ref known, .. } => {
            let hint = format!("it has: {}", known.join(", "));
            Failure::usage(error.to_string()).hint(hint)
        }
        ImageError::Place(PlaceError::Elsewhere { ref hint, .. }) => {
            let hint = hint.clone();
            Failure::git(error.to_string()).hint(hint)
        }
        ImageError::Place(PlaceError::Source(error)) => error.into(),
        ImageError::Place(_) => Failure::git(error.to_string()).hint("change it there by hand, and commit"),
        ImageError::Engine(error) => error.into(),
    }
}

/// The render does not say what was written: something else decides.
fn still(container: &str, found: &str, places: &[String]) -> Failure {
    Failure::git(format!(
        "container {container} would have the image {found} all the same: {} does not decide it",
        places.join(", ")
    ))
    .hint("find what does by rendering it: kubectl gitops render; change it there, and commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_get_images() {
        let words = |all: &[&str]| parsed(&all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["app=web:1", "side=x@sha256:ab"]).map(|images| images.len()), Ok(2));
        for (bad, told) in [
            (["web:1"].as_slice(), "names no container"),
            (&["=web:1"], "names no container"),
            (&["app="], "is no image"),
            (&["app=web 1"], "is no image"),
            (&["app=a:1", "app=a:2"], "named twice"),
        ] {
            let failure = words(bad).err().map(|failure| failure.message).unwrap_or_default();
            assert!(failure.contains(told), "{failure}");
        }
    }
}
