//! What plugin and webhook share: from an Application to its desired set, from
//! there to what differs in a cluster, and to the writes that mend it.

pub mod change;
pub mod desired;
pub mod error;
pub mod load;
pub mod memory;
pub mod revisions;
pub mod survey;
pub mod sync;

pub use desired::{Environment, desired, packed};
pub use error::EngineError;
pub use load::{Loaded, read_file};
pub use survey::{Survey, survey};
pub use sync::{DryRun, Outcome, Progress, Report, SyncOptions, sync};
