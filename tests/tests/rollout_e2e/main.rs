//! Rollouts in front of the real API server, webhook and controller: a push is
//! let out step by step and promoted, a failing one goes back by itself, in the
//! cluster and in Git. Fake nodes run the Pods.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod canary;
mod commands;
mod documented;
mod faults;
mod fields;
mod gate;
mod many;
mod measured;
mod scaled;
mod signed;
mod stage;
mod strategies;
mod traffic;

pub use stage::{LONG, Stage};
