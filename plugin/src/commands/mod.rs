//! One command, one file: its arguments and its function side by side.

pub mod app;
pub mod check;
pub mod cluster;
pub mod complete;
pub mod completion;
pub mod delete;
pub mod diff;
pub mod events;
pub mod health;
pub mod history;
pub mod init;
pub mod list;
pub mod logs;
pub mod man;
pub mod overriding;
pub mod reference;
pub mod render;
pub mod rollback;
pub mod rollout;
pub mod status;
pub mod sync;
pub mod tree;
pub mod version;
pub mod wait;
pub mod why;
