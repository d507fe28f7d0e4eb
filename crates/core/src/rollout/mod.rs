//! How one workload changes its version. In: what a Rollout in Git says
//! ([`spec`]), where it stands ([`state`]), what was observed ([`observe`]) and
//! the time. Out: the next state ([`machine`]); and from Git and the state the
//! objects that may be ([`desired`]), which is the gate: sync, diff and webhook
//! all use it, so that no version gets out around it.
//!
//! The state is written before the objects that follow from it, and every
//! decision depends on nothing but the arguments: after a crash between any two
//! writes the next decision goes on from what is stored.

pub mod analysis;
#[cfg(test)]
mod arbitrary;
pub mod bounds;
pub mod desired;
pub mod job;
pub mod lint;
pub mod machine;
#[cfg(test)]
mod machine_tests;
pub mod observe;
pub mod outlook;
pub mod program;
#[cfg(test)]
mod properties;
mod references;
pub mod room;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
pub(crate) mod simulation;
pub mod spec;
pub mod state;
pub mod statistics;
mod traffic;

pub use crate::rollout_hash::rollout_hash as hash;
