//! An Application's spec as flags. In: what was typed. Out: a spec, changed in
//! what was typed and nothing else.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gitops_api::application::{
    ApplicationSpec, EnforcementMode, Helm, Kustomize, NameRef, Source, SourceType, SyncMode,
};
use gitops_source::RepoUrl;
use gitops_source::location::UrlError;
use serde_json::Value;

use crate::error::Failure;

/// What an Application is made of.
#[derive(Debug, Default, Args)]
pub struct SpecFlags {
    /// URL of the repository, or of a chart repository or registry
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Branch, tag or commit
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// The folder in the repository
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// What the folder holds
    #[arg(long = "type", value_enum, ignore_case = true, value_name = "TYPE")]
    kind: Option<Type>,
    /// A Secret in the Application's namespace that opens the repository
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// A chart of the chart repository or registry, instead of a folder
    #[arg(long, value_name = "NAME")]
    chart: Option<String>,
    /// The chart's version, or a range such as ^1.2
    #[arg(long, value_name = "VERSION")]
    chart_version: Option<String>,
    /// A values file of the repository, from the chart's folder; may be repeated
    #[arg(long, value_name = "PATH")]
    values_file: Vec<String>,
    /// A file of this computer with values of the chart
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// One value of the chart, as name=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// An image of the kustomization, as name=new:tag; may be repeated
    #[arg(long, value_name = "NAME=IMAGE")]
    image: Vec<String>,
    /// The Project that admits it
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The cluster it goes to
    #[arg(long, value_name = "NAME")]
    to_cluster: Option<String>,
    /// The namespace of objects that name none
    #[arg(long, value_name = "NAME")]
    to_namespace: Option<String>,
    /// Make that namespace where it is not there
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    create_namespace: Option<bool>,
    /// Whether the controller syncs it by itself
    // As the Application says it, too.
    #[arg(long, value_enum, ignore_case = true, value_name = "MODE")]
    sync: Option<Sync>,
    /// Delete what an earlier commit declared and the newest does not
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    prune: Option<bool>,
    /// Undo drift that arose while nothing was enforced
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    self_heal: Option<bool>,
    /// A sync option, such as ServerSideApply=true; may be repeated
    #[arg(long, value_name = "OPTION")]
    option: Vec<String>,
    /// What becomes of writes that Git does not say
    // As the Application says it, too.
    #[arg(long, value_enum, ignore_case = true, value_name = "MODE")]
    enforcement: Option<Mode>,
    /// An Application that has to be healthy first; may be repeated
    #[arg(long, value_name = "NAME")]
    depends_on: Vec<String>,
    /// Apply as this service account of the Application's namespace
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Auto,
    Plain,
    Kustomize,
    Helm,
    Jsonnet,
    Oci,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sync {
    Manual,
    Automatic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Enforce,
    Warn,
    Audit,
    Off,
}

impl SpecFlags {
    /// Puts what was typed into a spec. Lists that were typed replace those
    /// that are there.
    pub fn apply(&self, spec: &mut ApplicationSpec) -> Result<(), Failure> {
        if self.is_about_source() {
            if !spec.sources.is_empty() {
                return Err(Failure::usage("it has several sources, which flags cannot tell apart")
                    .hint("edit them: kubectl edit application NAME"));
            }
            self.source(spec.source.get_or_insert_default())?;
        }
        replace(&mut spec.project, self.project.as_ref());
        replace(&mut spec.destination.cluster, self.to_cluster.as_ref());
        replace(&mut spec.destination.namespace, self.to_namespace.as_ref());
        replace(&mut spec.destination.create_namespace, self.create_namespace.as_ref());
        replace(&mut spec.sync.prune, self.prune.as_ref());
        replace(&mut spec.sync.self_heal, self.self_heal.as_ref());
        replace(&mut spec.service_account_name, self.service_account.as_ref());
        if let Some(mode) = self.sync {
            spec.sync.mode = match mode {
                Sync::Manual => SyncMode::Manual,
                Sync::Automatic => SyncMode::Automatic,
            };
        }
        if let Some(mode) = self.enforcement {
            spec.enforcement.mode = match mode {
                Mode::Enforce => EnforcementMode::Enforce,
                Mode::Warn => EnforcementMode::Warn,
                Mode::Audit => EnforcementMode::Audit,
                Mode::Off => EnforcementMode::Off,
            };
        }
        fill(&mut spec.sync.options, &self.option);
        let names: Vec<NameRef> = self.depends_on.iter().map(|name| NameRef { name: name.clone() }).collect();
        fill(&mut spec.depends_on, &names);
        Ok(())
    }

    fn is_about_source(&self) -> bool {
        let one = [&self.repo, &self.revision, &self.path, &self.secret, &self.chart, &self.chart_version];
        one.iter().any(|flag| flag.is_some())
            || self.kind.is_some()
            || self.values.is_some()
            || [&self.values_file, &self.set, &self.image].iter().any(|list| !list.is_empty())
    }

    fn source(&self, source: &mut Source) -> Result<(), Failure> {
        if let Some(repo) = &self.repo {
            let read: Result<RepoUrl, UrlError> = repo.parse();
            read.map_err(|error| {
                Failure::usage(error.to_string()).hint("write a URL, such as https://git.example/shop.git")
            })?;
            source.repo = Some(repo.clone());
        }
        replace(&mut source.revision, self.revision.as_ref());
        replace(&mut source.path, self.path.as_ref());
        if let Some(kind) = self.kind {
            source.kind = match kind {
                Type::Auto => SourceType::Auto,
                Type::Plain => SourceType::Plain,
                Type::Kustomize => SourceType::Kustomize,
                Type::Helm => SourceType::Helm,
                Type::Jsonnet => SourceType::Jsonnet,
                Type::Oci => SourceType::Oci,
            };
        }
        if let Some(name) = &self.secret {
            source.secret_ref = Some(NameRef { name: name.clone() });
        }
        if !self.image.is_empty() {
            source.kustomize.get_or_insert_with(Kustomize::default).images.clone_from(&self.image);
        }
        self.helm(source)
    }

    fn helm(&self, source: &mut Source) -> Result<(), Failure> {
        let typed = self.chart.is_some() || self.chart_version.is_some() || self.values.is_some();
        if !typed && self.values_file.is_empty() && self.set.is_empty() {
            return Ok(());
        }
        let fresh = || Helm { values: Value::Object(serde_json::Map::new()), ..Helm::default() };
        let helm = source.helm.get_or_insert_with(fresh);
        replace(&mut helm.chart, self.chart.as_ref());
        replace(&mut helm.version, self.chart_version.as_ref());
        fill(&mut helm.value_files, &self.values_file);
        if let Some(file) = &self.values {
            helm.values = read_values(file)?;
        }
        for pair in &self.set {
            let (name, value) =
                pair.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                    Failure::usage(format!("--set {pair} is no name=value")).hint("write --set image.tag=1.2")
                })?;
            helm.set.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }
}

fn read_values(file: &std::path::Path) -> Result<Value, Failure> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{shown}: {error}")).hint("name a YAML file of values"))?;
    let mut documents = gitops_source::yaml::documents(&shown, &text)?.into_iter();
    match (documents.next().map(|document| document.value), documents.next()) {
        (Some(values), None) if values.is_object() => Ok(values),
        _ => Err(Failure::usage(format!("{shown} holds no values")).hint("write one YAML mapping")),
    }
}

fn replace<T: Clone>(field: &mut T, typed: Option<&T>) {
    if let Some(typed) = typed {
        field.clone_from(typed);
    }
}

fn fill<T: Clone>(field: &mut Vec<T>, typed: &[T]) {
    if !typed.is_empty() {
        *field = typed.to_vec();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        flags: SpecFlags,
    }

    fn typed(arguments: &str) -> SpecFlags {
        Typed::parse_from(std::iter::once("app").chain(arguments.split_whitespace())).flags
    }

    #[test]
    fn only_what_is_typed_changes() {
        let mut spec = ApplicationSpec::default();
        typed("--repo https://git.example/shop.git --path web --sync automatic --prune --set a=1")
            .apply(&mut spec)
            .unwrap();
        let before = spec.clone();
        typed("--revision v2 --self-heal=false --set b=2").apply(&mut spec).unwrap();
        let source = spec.source.clone().unwrap();
        assert_eq!((source.revision.as_str(), source.path.as_str()), ("v2", "web"));
        let set: Vec<String> =
            source.helm.unwrap().set.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(set, ["a=1", "b=2"]);
        assert!(!spec.sync.self_heal && spec.sync.prune && spec.sync.mode == SyncMode::Automatic);
        assert_eq!((spec.project, spec.destination), (before.project, before.destination));
    }

    #[test]
    fn several_sources_are_not_guessed_at() {
        let mut spec = ApplicationSpec { sources: vec![Source::default()], ..ApplicationSpec::default() };
        assert!(typed("--project shop").apply(&mut spec).is_ok());
        assert_eq!(typed("--revision v2").apply(&mut spec).unwrap_err().code, 2);
    }

    #[test]
    fn a_repository_is_a_url_or_a_path() {
        let error = typed("--repo nonsense").apply(&mut ApplicationSpec::default()).unwrap_err();
        assert!(error.code == 2 && error.message.contains("neither a URL nor a path"), "{}", error.message);
    }

    #[test]
    fn a_value_needs_a_name() {
        let error = typed("--set =1").apply(&mut ApplicationSpec::default()).unwrap_err();
        assert!(error.message.contains("name=value"), "{}", error.message);
    }
}
