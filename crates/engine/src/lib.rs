//! What plugin and webhook share: from an Application to its desired set, from
//! there to what differs in a cluster, and to the writes that mend it.

pub mod desired;
pub mod error;
pub mod kin;
pub mod load;
pub mod memory;
pub mod rules;
pub mod survey;
pub mod sync;

pub use desired::{Environment, desired, packed};
pub use error::EngineError;
pub use kin::{Kin, Reach, judge};
pub use load::{Loaded, read_file};
pub use rules::Rules;
pub use survey::{Survey, survey};
pub use sync::{DryRun, Outcome, Progress, Report, SyncOptions, sync};
