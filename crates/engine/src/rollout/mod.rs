//! Rollouts in an Application's desired set. In: what Git declares at the newest
//! commit, and the Rollouts' statuses in the cluster. Out: the set with those
//! worked in ([`gate`]), which sync, diff, controller and webhook all use; and
//! the driver, which looks ([`observe`]), decides by core's machine and writes
//! the next state ([`drive`]).

pub mod gate;
mod running;

pub use gate::{Ground, Rolling, resources};
