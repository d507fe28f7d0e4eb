//! What carries an Application's mark. In: kinds, a label, and the namespaces where
//! it may be looked where it may not be everywhere. Out: what a sync has written on
//! each object, from LISTs of metadata alone; and what may not be listed.

use std::collections::BTreeSet;

use futures::StreamExt;
use gitops_core::object::ObjectKey;
use http::{Method, header};

use crate::discovery::{Kind, escaped};
use crate::error::{ClusterError, ErrorKind};
use crate::lists::PARALLEL;
use crate::live::{Live, Marks};
use crate::transport::{Call, Cluster};

const ACCEPT: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Objects of one kind.
pub type Marked<'k> = (&'k Kind, Vec<(ObjectKey, Marks)>);

impl Cluster {
    /// The objects of these kinds that have a label of this value, everywhere, or in
    /// these `namespaces` where that is not allowed; and why other kinds could not be
    /// listed at all.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn list_marked<'k>(
        &self,
        kinds: impl IntoIterator<Item = &'k Kind>,
        selector: (&str, &str),
        namespaces: &BTreeSet<String>,
    ) -> Result<(Vec<Marked<'k>>, Vec<ClusterError>), ClusterError> {
        let looks = kinds.into_iter().filter(|kind| kind.verbs.iter().any(|verb| verb == "list"));
        let looks = looks.map(|kind| async move { (kind, self.marked(kind, selector, namespaces).await) });
        let looks: Vec<_> = looks.collect();
        let mut answers = futures::stream::iter(looks).buffer_unordered(PARALLEL);
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        while let Some((kind, answer)) = answers.next().await {
            match answer {
                Ok((objects, refused)) => {
                    found.push((kind, objects));
                    left_out.extend(refused);
                }
                Err(error) if may_be_left_out(&error) => left_out.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok((found, left_out))
    }

    async fn marked(
        &self,
        kind: &Kind,
        selector: (&str, &str),
        namespaces: &BTreeSet<String>,
    ) -> Result<(Vec<(ObjectKey, Marks)>, Option<ClusterError>), ClusterError> {
        match self.marked_at(kind, "", selector).await {
            Err(ClusterError::Forbidden { .. }) if kind.namespaced && !namespaces.is_empty() => {}
            other => return other.map(|found| (found, None)),
        }
        let (mut found, mut refused) = (Vec::new(), None);
        for namespace in namespaces {
            match self.marked_at(kind, namespace, selector).await {
                Ok(objects) => found.extend(objects),
                Err(error) if error.kind() == ErrorKind::Forbidden => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok((found, refused))
    }

    async fn marked_at(
        &self,
        kind: &Kind,
        namespace: &str,
        selector: (&str, &str),
    ) -> Result<Vec<(ObjectKey, Marks)>, ClusterError> {
        let (label, value) = selector;
        let query = format!("labelSelector={label}%3D{}&resourceVersion=0", escaped(value));
        let what = format!("listing {}", kind.plural);
        let headers = [(header::ACCEPT, ACCEPT.to_owned())];
        let path = format!("{}?{query}", kind.path(namespace, ""));
        let call = Call { method: Method::GET, path, headers: &headers, body: Vec::new(), what: &what };
        let answer = self.ask(call).await?;
        let live = Live::of_list(answer.body, kind.gvk.clone(), false)
            .map_err(|error| ClusterError::Other { what: what.clone(), message: error.to_string() })?;
        Ok(live.marks().map(|(key, marks)| (key.clone(), marks.clone())).collect())
    }
}

/// Kinds that may not be listed, or that a server behind the API server gives badly.
fn may_be_left_out(error: &ClusterError) -> bool {
    !matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Unauthorized | ErrorKind::Timeout)
}
