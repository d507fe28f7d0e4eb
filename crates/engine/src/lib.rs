//! What plugin, webhook and controller share: from an Application to its desired set, from
//! there to what differs in a cluster, and to the writes that mend it.

pub mod admit;
pub mod ahead;
pub mod analysis;
pub mod change;
mod charts;
pub mod contest;
pub mod counts;
pub mod desired;
mod earlier;
pub mod error;
pub mod events;
mod expression;
#[cfg(test)]
mod fixture;
pub mod follow;
pub mod hold;
pub mod image;
pub mod judge;
pub mod kin;
mod known;
pub mod lease;
pub mod leaving;
pub mod lint;
pub mod lists;
pub mod load;
pub mod looks;
pub mod memory;
pub mod namespaces;
pub mod owners;
mod places;
pub mod program;
pub mod restore;
pub mod revisions;
pub mod rollout;
pub mod rules;
pub mod spec;
pub mod survey;
pub mod sync;
pub mod traces;
pub mod trust;
pub mod version_labels;
pub mod versions;
pub mod windows;

pub use ahead::{Ahead, Reads};
pub use desired::{Environment, desired, packed};
pub use error::EngineError;
pub use kin::{Kin, Reach, healths};
pub use lists::Lists;
pub use load::{Loaded, read_file};
pub use looks::Looks;
pub use places::Synced;
pub use rules::Rules;
pub use survey::{Looking, Survey, survey};
pub use sync::{DryRun, Outcome, Progress, Report, RunHooks, Stop, SyncOptions, has_work, sync};
