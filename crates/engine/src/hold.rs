//! Whether a sync still has its Lease. In: what came of renewing it. Out: it is held;
//! it has run out and may be another's, so that nothing is written until that is known;
//! or it is lost.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Held,
    Doubted,
    Lost,
}

/// A Lease as whoever holds it knows it. Clones are of the same one.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<watch::Sender<State>>);

impl Hold {
    /// It was renewed: nobody has had it meanwhile.
    pub(crate) fn keep(&self) {
        self.0.send_replace(State::Held);
    }

    /// It has run out, and whether somebody has taken it cannot be asked.
    pub(crate) fn doubt(&self) {
        self.0.send_replace(State::Doubted);
    }

    /// It is another's, or may be for too long.
    pub(crate) fn lose(&self) {
        self.0.send_replace(State::Lost);
    }

    pub fn is_lost(&self) -> bool {
        *self.0.borrow() == State::Lost
    }

    /// Waits until it is held or lost.
    pub(crate) async fn known(&self) {
        // Who could change it is there as long as this is.
        let _ = self.0.subscribe().wait_for(|state| *state != State::Doubted).await;
    }
}
