//! Sync options, as Argo CD writes them: `Name=value`. In: those of an
//! Application and of an object. Out: what is done differently. One that is
//! unknown is refused by name.

/// Whether an object may be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruning {
    Allowed,
    Never,
    /// Only when a person says so.
    Confirm,
}

/// What becomes of what a pruned object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// How a field that someone else has set is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflicts {
    Take,
    Keep,
    Fail,
}

/// Sync options; what is not set is left to the Application, then to the
/// default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub prune: Option<Pruning>,
    pub prune_last: Option<bool>,
    /// Of the deletion of an Application.
    pub delete: Option<Pruning>,
    pub replace: Option<bool>,
    pub force: Option<bool>,
    pub create_namespace: Option<bool>,
    /// The kind may be unknown until its turn comes.
    pub skip_missing: Option<bool>,
    pub fail_on_shared: Option<bool>,
    pub propagation: Option<Propagation>,
    pub validate: Option<bool>,
    /// Move fields from client-side managers to ours.
    pub migrate: Option<bool>,
    /// None: by who has set a field.
    pub conflicts: Option<Conflicts>,
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("sync option {name} takes true or false, not {value:?}")),
    }
}

fn pruning(name: &str, value: &str) -> Result<Pruning, String> {
    match value {
        "true" => Ok(Pruning::Allowed),
        "false" => Ok(Pruning::Never),
        "confirm" => Ok(Pruning::Confirm),
        _ => Err(format!("sync option {name} takes true, false or confirm, not {value:?}")),
    }
}

fn conflicts(name: &str, value: &str) -> Result<Conflicts, String> {
    match value {
        "take" => Ok(Conflicts::Take),
        "keep" => Ok(Conflicts::Keep),
        "fail" => Ok(Conflicts::Fail),
        _ => Err(format!("sync option {name} takes take, keep or fail, not {value:?}")),
    }
}

impl Options {
    /// Reads `Name=value` words. Some options are an Application's alone.
    ///
    /// # Errors
    /// The word that means nothing, in a sentence.
    pub fn read<'a>(words: impl IntoIterator<Item = &'a str>, of_object: bool) -> Result<Self, String> {
        let mut options = Self::default();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()))
                .ok_or_else(|| format!("{word:?} is no sync option: they are written Name=value"))?;
            options.set(name, value, of_object)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str, of_object: bool) -> Result<(), String> {
        match name {
            "Prune" => self.prune = Some(pruning(name, value)?),
            "Delete" => self.delete = Some(pruning(name, value)?),
            "PruneLast" => self.prune_last = Some(truth(name, value)?),
            "Replace" => self.replace = Some(truth(name, value)?),
            "Force" => self.force = Some(truth(name, value)?),
            "SkipDryRunOnMissingResource" => self.skip_missing = Some(truth(name, value)?),
            "Validate" => self.validate = Some(truth(name, value)?),
            "Conflicts" => self.conflicts = Some(conflicts(name, value)?),
            // Objects are always applied on the server's side, whichever way
            // is asked for: what comes out is the same.
            "ServerSideApply" => drop(truth(name, value)?),
            "CreateNamespace"
            | "ApplyOutOfSyncOnly"
            | "RespectIgnoreDifferences"
            | "FailOnSharedResource"
            | "PrunePropagationPolicy"
            | "ClientSideApplyMigration"
                if of_object =>
            {
                return Err(format!("sync option {name} is an Application's, not an object's"));
            }
            "CreateNamespace" => self.create_namespace = Some(truth(name, value)?),
            "FailOnSharedResource" => self.fail_on_shared = Some(truth(name, value)?),
            "ClientSideApplyMigration" => self.migrate = Some(truth(name, value)?),
            // Only what differs is ever written.
            "ApplyOutOfSyncOnly" => drop(truth(name, value)?),
            "RespectIgnoreDifferences" if truth(name, value)? => {}
            "RespectIgnoreDifferences" => {
                return Err("sync option RespectIgnoreDifferences=false is not supported: ignored fields are always left as they are".into());
            }
            "PrunePropagationPolicy" => {
                self.propagation = Some(match value {
                    "background" => Propagation::Background,
                    "foreground" => Propagation::Foreground,
                    "orphan" => Propagation::Orphan,
                    _ => {
                        return Err(format!(
                            "sync option {name} takes background, foreground or orphan, not {value:?}"
                        ));
                    }
                });
            }
            _ => return Err(format!("sync option {name} is unknown")),
        }
        Ok(())
    }

    /// An object's options over its Application's.
    #[must_use]
    pub fn over(self, application: &Self) -> Self {
        Self {
            prune: self.prune.or(application.prune),
            prune_last: self.prune_last.or(application.prune_last),
            delete: self.delete.or(application.delete),
            replace: self.replace.or(application.replace),
            force: self.force.or(application.force),
            create_namespace: self.create_namespace.or(application.create_namespace),
            skip_missing: self.skip_missing.or(application.skip_missing),
            fail_on_shared: self.fail_on_shared.or(application.fail_on_shared),
            propagation: self.propagation.or(application.propagation),
            validate: self.validate.or(application.validate),
            migrate: self.migrate.or(application.migrate),
            conflicts: self.conflicts.or(application.conflicts),
        }
    }

    /// Whether an object may be made anew where it cannot be changed.
    pub fn may_recreate(&self) -> bool {
        self.replace == Some(true) || self.force == Some(true)
    }
}
