//! How an Application is synced, as core reads it.

use gitops_core::plan::{Budget, Options};

use crate::application::ApplicationSpec;

impl ApplicationSpec {
    /// Its sync options.
    ///
    /// # Errors
    /// The option that is unknown, in a sentence.
    pub fn sync_options(&self) -> Result<Options, String> {
        let words = self.sync.options.iter().map(String::as_str);
        Options::read(words, false).map_err(|reason| format!("spec.sync.options: {reason}"))
    }

    /// How much one sync may delete before a person has to say so.
    pub fn prune_budget(&self) -> Budget {
        let whole = |number: i32| usize::try_from(number).unwrap_or(0);
        Budget { count: whole(self.sync.prune_budget.count), percent: whole(self.sync.prune_budget.percent) }
    }
}
