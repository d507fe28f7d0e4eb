//! One command, one file: its arguments and its function side by side.

pub mod completion;
pub mod diff;
pub mod init;
pub mod overriding;
pub mod reference;
pub mod render;
pub mod status;
pub mod sync;
pub mod version;
pub mod why;
