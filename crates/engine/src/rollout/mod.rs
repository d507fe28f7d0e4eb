//! Rollouts in an Application's desired set. In: what Git declares at the newest
//! commit, and the Rollouts' statuses in the cluster. Out: the set with those
//! worked in ([`gate`]), which sync, diff, controller and webhook all use; and
//! the driver ([`drive`]), which looks ([`observe`]), decides by core's machine
//! and writes the next state; after a failure Git gets its commit ([`back`]).

pub mod back;
mod commits;
pub mod drive;
pub mod gate;
pub mod here;
mod names;
pub mod observe;
mod pods;
pub mod push;
mod room;
mod running;
mod shared;
mod status;

pub use drive::{Driver, Moved};
pub use gate::{Ground, Rolling, resources};
pub use here::until;
pub use push::Pushes;
