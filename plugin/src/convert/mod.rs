//! Argo CD's and Flux's resources as our Applications. In: resources with their
//! lines, and the repository that one stands in. Out: Applications for its
//! gitops.yaml, and everything that they cannot say. Pure.

mod argocd;
mod cel;
mod delivery;
mod field;
mod flux;
mod home;
mod ignoring;
mod order;
mod overlay;
mod place;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
mod values;

use std::cell::RefCell;
use std::collections::BTreeMap;

use gitops_core::names::API_VERSION;
use serde_json::{Map as Object, Value, json};

use order::{After, Group, Order};

pub use field::{Finding, Findings, Resource, Weight};
pub use home::{Folder, Holds, Home, Seen, Tree, below};

/// Longest name of an Application.
const LONGEST: usize = 52;

/// What came of resources.
#[derive(Debug, Default)]
pub struct Converted {
    pub applications: Vec<Value>,
    pub findings: Vec<Finding>,
    /// Resources that say what is deployed.
    pub read: usize,
}

const UNMADE: &str = "it does not say enough for an Application, and is left out; a patch is read with what it is \
     put on: kustomize build FOLDER | kubectl gitops init --from -";

/// Group, kind, namespace and name.
type Key = (String, String, String, String);

/// An Application that is being made.
#[derive(Debug)]
struct Draft<'r> {
    of: &'r Resource,
    labels: Option<Value>,
    spec: Object<String, Value>,
    /// Those that have to be healthy first.
    after: After<'r>,
    /// Whether a chart may be among its sources, whose release has the
    /// resource's name.
    may_release: bool,
}

/// What became of a resource.
#[derive(Debug)]
enum Made<'r> {
    Application(Box<Draft<'r>>),
    /// Nothing is lost by leaving it out; that is told.
    Left,
}

/// The group of Argo CD's kinds.
pub const ARGOCD: &str = "argoproj.io";
/// What the groups of Flux's kinds end in.
pub const FLUX: &str = ".toolkit.fluxcd.io";

/// Whether a kind says what is deployed, and so is nothing to deploy here.
pub fn is_delivery(group: &str, kind: &str) -> bool {
    group.ends_with(FLUX)
        || group == ARGOCD && matches!(kind, "Application" | "ApplicationSet" | "AppProject")
        || group == "fluxcd.controlplane.io"
}

/// Makes Applications of resources. `namespace`: where objects go that name
/// none, and whose resource names none.
pub fn convert(resources: &[Resource], home: &Home<'_>, namespace: Option<&str>) -> Converted {
    let findings = Findings::default();
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    let mut read = 0;
    let groups = RefCell::default();
    let surroundings = Surroundings { all: resources, home, namespace, findings: &findings, groups: &groups };
    for resource in resources.iter().filter(|one| is_delivery(one.group(), one.kind())) {
        // What is only named by others is read with them.
        read += usize::from(!resource.group().starts_with("source."));
        if !is_name(resource.name()) {
            let words = "it has no name that an Application can have: left out; read what its template or kustomization makes";
            resource.tell(&findings, Weight::What, words);
            continue;
        }
        if let Some(before) = drafts.iter().find(|draft| key(draft.of) == key(resource)) {
            let words = format!(
                "it is at {} already: left out; read one environment at a time, or what it renders: \
                 kustomize build FOLDER | kubectl gitops init --from -",
                before.of.place()
            );
            resource.tell(&findings, Weight::What, words);
            continue;
        }
        let before = findings.borrow().len();
        let made = match resource.group() {
            ARGOCD => argocd::application(resource, &surroundings),
            _ => flux::application(resource, &surroundings),
        };
        match made {
            Some(Made::Application(draft)) => drafts.push(*draft),
            Some(Made::Left) => {}
            None if findings.borrow()[before..].iter().any(|finding| finding.weight == Weight::What) => {}
            None => resource.tell(&findings, Weight::What, UNMADE),
        }
    }
    let applications = named(drafts, &groups.take(), &findings);
    let mut all: Vec<Finding> = Vec::new();
    // What one passes on to many is told once.
    for finding in findings.take() {
        if !all.contains(&finding) {
            all.push(finding);
        }
    }
    Converted { applications, findings: all, read }
}

/// What a resource is read among.
struct Surroundings<'r, 'h> {
    all: &'r [Resource],
    home: &'r Home<'h>,
    namespace: Option<&'r str>,
    findings: &'r Findings,
    groups: &'h RefCell<Vec<Group<'r>>>,
}

/// Whether Kubernetes takes it as a name.
fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.starts_with(plain) && name.chars().all(|letter| plain(letter) || matches!(letter, '-' | '.'))
}

fn key(resource: &Resource) -> Key {
    let [group, kind, namespace, name] =
        [resource.group(), resource.kind(), resource.namespace(), resource.name()].map(str::to_owned);
    (group, kind, namespace, name)
}

/// Gives every draft a name of its own, and makes it an Application.
fn named(drafts: Vec<Draft<'_>>, groups: &[Group<'_>], findings: &Findings) -> Vec<Value> {
    let mut names: BTreeMap<Key, String> = BTreeMap::new();
    for draft in &drafts {
        let own = draft.of.name();
        let is_free = |name: &str| is_name(name) && !names.values().any(|taken| taken == name);
        let beside = format!("{}-{own}", draft.of.namespace());
        let numbered = (2..).map(|number| {
            let tail = format!("-{number}");
            format!("{}{tail}", fitting(own, LONGEST - tail.len()))
        });
        let mut wanted = [fitting(own, LONGEST), fitting(&beside, LONGEST)].into_iter().chain(numbered);
        let name = wanted.find(|name| is_free(name)).unwrap_or_default();
        if name != own {
            let words = format!(
                "the Application is called {name}: each has a name of its own, of at most {LONGEST} characters"
            );
            draft.of.tell(findings, Weight::How, words);
        }
        names.insert(key(draft.of), name);
    }
    let mut applications = Vec::new();
    for draft in drafts {
        let of = draft.of;
        let application = finished(draft, &Order { groups, names: &names });
        // What is written is what can be read.
        match serde_json::from_value::<gitops_api::Application>(application.clone()) {
            Ok(_) => applications.push(application),
            Err(error) => of.tell(
                findings,
                Weight::What,
                format!("it is left out, as its Application cannot be read: {error}"),
            ),
        }
    }
    applications
}

fn fitting(name: &str, length: usize) -> String {
    name.chars().take(length).collect::<String>().trim_matches(['-', '.']).to_owned()
}

fn finished(mut draft: Draft<'_>, order: &Order<'_, '_>) -> Value {
    let name = &order.names[&key(draft.of)];
    if draft.may_release && name != draft.of.name() {
        released_as(&mut draft.spec, draft.of.name());
    }
    let after: Vec<Value> =
        order.before(&key(draft.of), &draft.after).into_iter().map(|name| json!({"name": name})).collect();
    put(&mut draft.spec, "dependsOn", some(after));
    let mut metadata = json!({"name": name});
    if let Some(labels) = draft.labels {
        metadata["labels"] = labels;
    }
    json!({"apiVersion": API_VERSION, "kind": "Application", "metadata": metadata, "spec": draft.spec})
}

/// Keeps a release's name where the Application has got another.
fn released_as(spec: &mut Object<String, Value>, name: &str) {
    let sources = match spec.get_mut("sources") {
        Some(Value::Array(sources)) => sources.iter_mut().collect(),
        _ => spec.get_mut("source").into_iter().collect::<Vec<_>>(),
    };
    for source in sources.into_iter().filter_map(Value::as_object_mut) {
        let other = source.contains_key("kustomize") || source.contains_key("ref");
        if !other {
            let helm = source.entry("helm").or_insert_with(|| json!({}));
            if helm.get("releaseName").is_none() {
                helm["releaseName"] = name.into();
            }
        }
    }
}

/// Adds a field where there is something to say.
fn put(to: &mut Object<String, Value>, name: &str, value: impl Into<Option<Value>>) {
    if let Some(value) = value.into() {
        to.insert(name.to_owned(), value);
    }
}

/// A list where there is something in it.
fn some<T: Into<Value>>(items: Vec<T>) -> Option<Value> {
    (!items.is_empty()).then(|| items.into_iter().map(Into::into).collect::<Vec<Value>>().into())
}
