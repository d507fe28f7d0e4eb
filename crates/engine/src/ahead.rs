//! A look at a cluster that begins while Git is still rendered. In: where an
//! Application has had objects so far. Out: their lists, for the survey that
//! follows: the API server works meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gitops_cluster::{Cluster, ClusterError, Discovery, Form, Live, NAMESPACES};
use gitops_core::object::Gvk;
use gitops_core::schema::Schemas;
use gitops_core::verdict::Policy;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::desired::Environment;
use crate::lease::{Noted, noted};
use crate::lists::Lists;
use crate::load::Loaded;
use crate::memory::{Memory, Places};
use crate::survey::policy;

/// What was listed longer ago is listed anew.
const FRESH: Duration = Duration::from_secs(5);

/// Kinds, and the namespaces to look for them in.
pub(crate) type Wanted = BTreeMap<Gvk, BTreeSet<String>>;

/// Which live objects can be read after a survey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    #[default]
    All,
    /// None that are known to be as Git says, unless they are to be written all the
    /// same: those need not even be sent in a form that can be read.
    Changed,
}

impl Reads {
    /// What is asked for of a kind. A Secret is always read: nothing is kept of it by
    /// which it could be known.
    pub(crate) fn form(self, policy: &Policy, gvk: &Gvk) -> Form {
        match self {
            _ if by_manager(policy, gvk) => Form::Recorded,
            Self::Changed if !gvk.is_secret() => Form::Sealed,
            Self::All | Self::Changed => Form::Plain,
        }
    }
}

/// Lists on their way, and what else a survey asks for.
#[derive(Debug)]
pub struct Ahead {
    since: Instant,
    wanted: Wanted,
    /// And the kinds that may not be listed.
    lists: JoinHandle<Result<(Live, Vec<Gvk>), ClusterError>>,
    schemas: Option<JoinHandle<Result<Schemas, ClusterError>>>,
    noted: Option<oneshot::Receiver<Result<Noted, ClusterError>>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.lists.abort();
        self.schemas.iter().for_each(JoinHandle::abort);
    }
}

impl Ahead {
    /// Begins to list what is remembered of an Application; none where nothing is.
    pub fn begin(
        cluster: &Cluster,
        discovery: &Discovery,
        loaded: &Loaded,
        environment: &Environment,
        reads: Reads,
    ) -> Option<Self> {
        let memory = Memory::at(cluster, environment, &loaded.application);
        let wanted = remembered(&memory.read(), discovery);
        let policy = policy(loaded).ok().filter(|_| !wanted.is_empty())?;
        let (tell, told) = oneshot::channel();
        let application = loaded.application.clone();
        let (there, all) = (cluster.clone(), wanted.keys().cloned().collect());
        let schemas = tokio::spawn(async move { there.schemas(&all).await });
        let (cluster, discovery, kinds) = (cluster.clone(), discovery.clone(), wanted.clone());
        let lists = async move {
            let mut live = Live::default();
            // First, while there is a connection that nobody uses.
            tell.send(noted(&cluster, &application).await).ok();
            let form = |gvk: &Gvk| reads.form(&policy, gvk);
            let left_out = cluster.list_more(&discovery, &kinds, form, &mut live).await?;
            Ok((live, left_out.into_iter().map(|(gvk, _)| gvk).collect()))
        };
        let lists = tokio::spawn(lists);
        Some(Self { since: Instant::now(), wanted, lists, schemas: Some(schemas), noted: Some(told) })
    }

    /// The schemas, where they are of these kinds.
    pub(crate) async fn schemas(&mut self, kinds: &BTreeSet<Gvk>) -> Option<Schemas> {
        let is_meant = self.is_fresh() && self.wanted.keys().eq(kinds);
        self.schemas.take_if(|_| is_meant)?.await.ok()?.ok()
    }

    /// What is noted with the Lease.
    pub(crate) async fn noted(&mut self) -> Option<Noted> {
        let is_fresh = self.is_fresh();
        self.noted.take_if(|_| is_fresh)?.await.ok()?.ok()
    }

    fn is_fresh(&self) -> bool {
        self.since.elapsed() <= FRESH
    }

    /// Its lists, unless they are old by now, and of what: not all that is remembered is
    /// declared, so what may not be listed is left out.
    async fn take(mut self) -> Option<(Wanted, Live)> {
        if !self.is_fresh() {
            return None;
        }
        let Ok(Ok((live, left_out))) = (&mut self.lists).await else { return None };
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.retain(|gvk, _| !left_out.contains(gvk));
        Some((wanted, live))
    }
}

/// Where what is remembered was.
fn remembered(places: &Places, discovery: &Discovery) -> Wanted {
    let of = |gvk: &Gvk| Some((gvk.clone(), places.namespaces_of(discovery.kind(gvk)?.namespaced)));
    places.kinds.iter().filter_map(of).collect()
}

/// Whether who holds a kind's fields decides whether they differ.
fn by_manager(policy: &Policy, gvk: &Gvk) -> bool {
    policy.grants.iter().any(|grant| grant.free.manager.is_some() && grant.is_of(&gvk.group, &gvk.kind))
}

/// What is there of what is wanted; only what is not on its way is asked for. And
/// where has been looked: with no name among the namespaces, everywhere.
pub(crate) async fn list(
    (cluster, discovery): (&Cluster, &Discovery),
    mut wanted: Wanted,
    form: impl Fn(&Gvk) -> Form,
    ahead: Option<Ahead>,
    shared: Option<&Lists>,
) -> Result<(Live, Wanted), ClusterError> {
    let taken = match ahead {
        Some(ahead) => ahead.take().await,
        None => None,
    };
    let (mut listed, mut live) = taken.unwrap_or_default();
    wanted.retain(|gvk, namespaces| {
        // Of a kind in two versions, nobody knows which one came.
        let is_one = listed.keys().filter(|one| one.group == gvk.group && one.kind == gvk.kind).count() == 1;
        let Some(listed) = listed.get(gvk).filter(|_| is_one) else { return true };
        namespaces.retain(|namespace| !listed.contains(namespace));
        !namespaces.is_empty()
    });
    mark_whole(&mut listed);
    let is_shared = |gvk: &Gvk| shared.is_some() && form(gvk) == Form::Plain;
    let (common, own): (Wanted, Wanted) = wanted.clone().into_iter().partition(|(gvk, _)| is_shared(gvk));
    if !own.is_empty() {
        live.extend(cluster.list_unread(discovery, &own, &form).await?);
    }
    if let Some(shared) = shared.filter(|_| !common.is_empty()) {
        live.extend(shared.list(cluster, discovery, &common).await?);
    }
    mark_whole(&mut wanted);
    for (gvk, namespaces) in wanted {
        listed.entry(gvk).or_default().extend(namespaces);
    }
    Ok((live, listed))
}

/// More namespaces than a few are listed at once, with all others.
fn mark_whole(listed: &mut Wanted) {
    for namespaces in listed.values_mut().filter(|namespaces| namespaces.len() > NAMESPACES) {
        namespaces.insert(String::new());
    }
}
