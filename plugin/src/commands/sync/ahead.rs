//! Applications looked at before their turn comes. In: Applications in the
//! order in which they are synced. Out: for each, what it declares, and what
//! the cluster holds of it by then: a look that something was written after is
//! taken again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::Stream;
use gitops_core::desired::DesiredSet;
use gitops_engine::{Ahead, Loaded, Reads, Survey, desired, owners};
use gitops_source::Commit;

use crate::applications::{Destination, meant};
use crate::beside::beside;
use crate::error::Failure;

/// What has been written while Applications are looked at.
#[derive(Debug, Default)]
pub struct Writes {
    /// Syncs that may have written something.
    count: AtomicUsize,
    /// Whether the last one was one of them.
    lately: AtomicBool,
}

impl Writes {
    /// Notes the end of a sync.
    pub fn note(&self, written: bool) {
        self.count.fetch_add(usize::from(written), Ordering::SeqCst);
        self.lately.store(written, Ordering::SeqCst);
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// What was seen of an Application.
#[derive(Debug)]
pub struct Look {
    commit: Commit,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    /// What it declares: where one sync after the other writes, the cluster is
    /// not worth a look ahead.
    Declared(DesiredSet),
    /// The rest too, after so many writes.
    Survey(Box<Survey>, usize),
}

/// An Application whose turn it is, and what was seen of it.
pub type Turn = (Loaded, Result<Look, Failure>);

/// Looks at Applications; `known` are those of the same file.
pub fn turns(
    destination: &Destination,
    ordered: Vec<Loaded>,
    known: &Arc<Vec<Loaded>>,
    revision: Option<&str>,
    writes: &Arc<Writes>,
) -> impl Stream<Item = Result<Turn, Failure>> + Unpin + use<> {
    let (destination, known, writes) = (destination.clone(), known.clone(), writes.clone());
    let revision = revision.map(str::to_owned);
    beside(ordered, move |loaded| {
        let (destination, known, writes) = (destination.clone(), known.clone(), writes.clone());
        let revision = revision.clone();
        async move {
            let look = look(&destination, &loaded, &known, revision.as_deref(), &writes).await;
            Ok((loaded, look))
        }
    })
}

async fn look(
    destination: &Destination,
    loaded: &Loaded,
    known: &[Loaded],
    revision: Option<&str>,
    writes: &Writes,
) -> Result<Look, Failure> {
    let destination = &*destination.of(loaded).await?;
    let commit = meant(loaded, &destination.environment, revision).await?;
    let (lately, count) = (writes.lately.load(Ordering::SeqCst), writes.count());
    let ahead = if lately { None } else { destination.look_ahead(loaded, Reads::Changed) };
    let set = desired(loaded, &destination.environment, &commit.id, &destination.discovery).await?;
    if lately {
        return Ok(Look { commit, seen: Seen::Declared(set) });
    }
    let survey = settled(destination, loaded, known, set, ahead).await?;
    Ok(Look { commit, seen: Seen::Survey(Box::new(survey), count) })
}

/// What the cluster holds of what is declared, and whose it is. What is as Git says
/// is not read.
pub async fn settled(
    destination: &Destination,
    loaded: &Loaded,
    known: &[Loaded],
    set: DesiredSet,
    ahead: Option<Ahead>,
) -> Result<Survey, Failure> {
    let mut survey = destination.survey_of(loaded, set, ahead, Reads::Changed).await?;
    owners::settle(&destination.cluster, loaded, &destination.environment, &mut survey, known).await?;
    Ok(survey)
}

impl Look {
    /// What there is now.
    pub async fn survey(
        self,
        destination: &Destination,
        loaded: &Loaded,
        known: &[Loaded],
        writes: &Writes,
    ) -> Result<(Commit, Survey), Failure> {
        let set = match self.seen {
            Seen::Survey(survey, count) if count == writes.count() => return Ok((self.commit, *survey)),
            Seen::Survey(survey, _) => survey.desired,
            Seen::Declared(set) => set,
        };
        Ok((self.commit, settled(destination, loaded, known, set, None).await?))
    }
}
