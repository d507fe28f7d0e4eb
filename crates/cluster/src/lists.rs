//! Lists of objects: what is there, kind by kind, in the form that is asked for.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use gitops_core::object::{Gvk, ObjectKey};
use http::{HeaderMap, Method, header};

use crate::discovery::{Discovery, Kind};
use crate::error::{ClusterError, ErrorKind};
use crate::live::{Live, Marks};
use crate::sealed;
use crate::transport::{Call, Cluster};

/// Up to this many namespaces are listed one by one, more by one LIST of all.
pub const NAMESPACES: usize = 4;
/// Requests under way at once.
pub(crate) const PARALLEL: usize = 32;
/// Up to this many objects of a kind are asked for one by one.
const FEW: usize = 64;
/// What the API server's watch cache holds, which may be a moment behind.
const CACHED: &str = "?resourceVersion=0";

const JSON: &str = "application/json";

/// When listed objects are parsed.
#[derive(Clone, Copy, Debug)]
enum Reading {
    All,
    /// Those that are asked for.
    Asked,
}

/// What is asked for of a kind's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Plain,
    /// With the record of their field managers, which may be as large as they are.
    Recorded,
    /// So that it can be told whether they are what they were, for a fraction of the
    /// API server's work. Nothing is read of one before [`Cluster::unseal`].
    Sealed,
}

impl Cluster {
    /// All objects of these kinds in these namespaces, one LIST a kind, side by
    /// side, from the API server's watch cache. Kinds that are not served are
    /// left out.
    ///
    /// # Errors
    /// When a kind may not be listed or the API server cannot be asked.
    pub async fn list(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
    ) -> Result<Live, ClusterError> {
        self.list_at(discovery, wanted, CACHED, |_| Form::Plain, Reading::All).await
    }

    /// The same as of now: with everything that was written before.
    ///
    /// # Errors
    /// As of [`Self::list`].
    pub async fn list_now(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
    ) -> Result<Live, ClusterError> {
        self.list_at(discovery, wanted, "", |_| Form::Plain, Reading::All).await
    }

    /// As [`Self::list`], but objects are parsed only when they are asked for: whether
    /// they can be is told by [`Live::judged`]. Each kind comes in the form that is
    /// asked for.
    ///
    /// # Errors
    /// As [`Cluster::list`].
    pub async fn list_unread(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
        form: impl Fn(&Gvk) -> Form,
    ) -> Result<Live, ClusterError> {
        self.list_at(discovery, wanted, CACHED, form, Reading::Asked).await
    }

    /// Adds what is not there yet to a list of objects that are parsed when they are asked
    /// for. Kinds that may not be listed are left out and told.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn list_more(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
        form: impl Fn(&Gvk) -> Form,
        live: &mut Live,
    ) -> Result<Vec<(Gvk, ClusterError)>, ClusterError> {
        let (more, errors) = self.list_leaving_out(discovery, wanted, form, Reading::Asked).await;
        live.fill(more);
        let (left_out, failed): (Vec<_>, Vec<_>) =
            errors.into_iter().partition(|(_, error)| error.kind() == ErrorKind::Forbidden);
        failed.into_iter().next().map_or(Ok(left_out), |(_, error)| Err(error))
    }

    async fn list_at(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
        query: &str,
        form: impl Fn(&Gvk) -> Form,
        reading: Reading,
    ) -> Result<Live, ClusterError> {
        let paths = list_paths(discovery, wanted);
        let mut live = Live::default();
        // Made before they are awaited: a closure in between would not be `Send`.
        let marked = paths.into_iter().map(|(path, kind)| (format!("{path}{query}"), kind, form(&kind.gvk)));
        let calls: Vec<_> =
            marked.map(|(path, kind, form)| self.list_one(path, kind, form, reading)).collect();
        let mut answers = futures::stream::iter(calls).buffer_unordered(PARALLEL);
        while let Some(objects) = answers.next().await {
            live.extend(objects?);
        }
        Ok(live)
    }

    /// The same as [`Self::list`], but what may not be listed is left out and told.
    pub async fn list_allowed(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
    ) -> (Live, Vec<ClusterError>) {
        let (live, left_out) = self.list_leaving_out(discovery, wanted, |_| Form::Plain, Reading::All).await;
        (live, left_out.into_iter().map(|(_, error)| error).collect())
    }

    async fn list_leaving_out(
        &self,
        discovery: &Discovery,
        wanted: &BTreeMap<Gvk, BTreeSet<String>>,
        form: impl Fn(&Gvk) -> Form,
        reading: Reading,
    ) -> (Live, Vec<(Gvk, ClusterError)>) {
        let paths = list_paths(discovery, wanted);
        let (mut live, mut errors) = (Live::default(), Vec::new());
        let marked = paths.into_iter().map(|(path, kind)| (format!("{path}{CACHED}"), kind, form(&kind.gvk)));
        let asked = marked.map(|(path, kind, form)| async move {
            let objects = self.list_one(path, kind, form, reading).await;
            objects.map_err(|error| (kind.gvk.clone(), error))
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = futures::stream::iter(asked).buffer_unordered(PARALLEL);
        while let Some(objects) = answers.next().await {
            match objects {
                Ok(objects) => live.extend(objects),
                Err(error) => errors.push(error),
            }
        }
        (live, errors)
    }

    async fn list_one(
        &self,
        path: String,
        kind: &Kind,
        form: Form,
        reading: Reading,
    ) -> Result<Live, ClusterError> {
        let what = format!("listing {}", kind.plural);
        let ask = async |accept: &str| {
            let mut headers = vec![(header::ACCEPT, accept.to_owned())];
            if self.is_near() {
                headers.push((header::ACCEPT_ENCODING, "identity".to_owned()));
            }
            let (path, headers) = (path.clone(), &headers[..]);
            self.ask(Call { method: Method::GET, path, headers, body: Vec::new(), what: &what }).await
        };
        let accept = if form == Form::Sealed { sealed::ACCEPT } else { JSON };
        let mut answer = ask(accept).await?;
        if is_sealed(&answer.headers) {
            let gvk = kind.gvk.clone();
            let opened = tokio::task::spawn_blocking(move || Live::of_sealed(answer.body, gvk)).await;
            if let Ok(Some(live)) = opened {
                return Ok(live);
            }
            answer = ask(JSON).await?;
        }
        let gvk = kind.gvk.clone();
        let parse = move || {
            let live = Live::of_list(answer.body, gvk, form == Form::Recorded)?;
            match reading {
                Reading::Asked => Ok(live),
                Reading::All => live.read_all(),
            }
        };
        let parsed = tokio::task::spawn_blocking(parse).await;
        let broken = |message: String| ClusterError::Other { what: what.clone(), message };
        parsed
            .map_err(|error| broken(error.to_string()))?
            .map_err(|error: serde_json::Error| broken(error.to_string()))
    }

    /// Makes sealed objects readable, as they are by now: few are asked for one by one.
    /// Out: those that are not what they were.
    ///
    /// # Errors
    /// As of [`Self::list`].
    pub async fn unseal(
        &self,
        discovery: &Discovery,
        live: &mut Live,
        is_read: impl Fn(&ObjectKey, &Marks) -> bool,
    ) -> Result<Vec<ObjectKey>, ClusterError> {
        let mut many = BTreeMap::<Gvk, Vec<ObjectKey>>::new();
        let (mut few, mut changed) = (Vec::new(), Vec::new());
        for (gvk, keys) in live.sealed(is_read) {
            match discovery.kind(&gvk).filter(|_| keys.len() <= FEW) {
                Some(kind) => few.extend(keys.into_iter().map(|key| (kind, key))),
                None => drop(many.insert(gvk, keys)),
            }
        }
        let read = few.into_iter().map(|(kind, key)| async move {
            let read = self.get(kind, &key).await;
            (kind, key, read)
        });
        let mut read = futures::stream::iter(read.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        while let Some((kind, key, read)) = read.next().await {
            match read {
                Ok(read) => {
                    if !live.unseal(&key, read) {
                        changed.push(key);
                    }
                }
                // Who may list need not be one who may get.
                Err(error) if error.kind() == ErrorKind::Forbidden => {
                    many.entry(kind.gvk.clone()).or_default().push(key);
                }
                Err(error) => return Err(error),
            }
        }
        let namespaces = |keys: &[ObjectKey]| keys.iter().map(|key| key.namespace.clone()).collect();
        let wanted = many.iter().map(|(gvk, keys)| (gvk.clone(), namespaces(keys))).collect();
        let mut listed = self.list_unread(discovery, &wanted, |_| Form::Plain).await?;
        for key in many.into_values().flatten() {
            if !live.unseal_from(&key, &mut listed) {
                changed.push(key);
            }
        }
        Ok(changed)
    }
}

fn is_sealed(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
    media.is_some_and(|media| media.starts_with(sealed::MEDIA_TYPE))
}

/// Where these kinds are listed; those that are not served are left out.
fn list_paths<'a>(
    discovery: &'a Discovery,
    wanted: &BTreeMap<Gvk, BTreeSet<String>>,
) -> Vec<(String, &'a Kind)> {
    let mut paths: Vec<(String, &Kind)> = Vec::new();
    for (gvk, namespaces) in wanted {
        let Some(kind) = discovery.kind(gvk).filter(|kind| kind.verbs.iter().any(|verb| verb == "list"))
        else {
            continue;
        };
        if kind.namespaced && namespaces.len() <= NAMESPACES {
            paths.extend(namespaces.iter().map(|namespace| (kind.path(namespace, ""), kind)));
        } else {
            paths.push((kind.path("", ""), kind));
        }
    }
    paths
}
