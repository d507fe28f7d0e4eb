//! The pure heart of kubectl-gitops: values in, decisions out.
//!
//! Nothing here reads a clock, a disk or a network; time, randomness and I/O
//! are arguments. The same [`compare`] serves diff, sync, controller and
//! webhook, so that what `diff` shows is exactly what the webhook refuses.

pub mod children;
pub mod compare;
pub mod contention;
pub mod copy;
pub mod delegation;
pub mod desired;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod fuzz;
pub mod health;
pub mod image;
pub mod index;
pub mod managers;
pub mod names;
pub mod object;
pub mod path;
pub mod plan;
pub mod rollout;
pub mod rollout_hash;
pub mod schema;
pub mod verdict;
