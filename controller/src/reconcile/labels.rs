//! Labels of Pods that run already. In: a survey. Out: Pods that tell their
//! version, as those do that were made under the webhook. Looked at again when
//! the versions are others, and now and then.

use std::time::{Duration, Instant};

use gitops_engine::Survey;
use gitops_engine::version_labels::{is_early, label_pods};

use super::{Look, RESYNC};
use crate::carry_out::Case;
use crate::clusters::Surroundings;
use crate::sight::Sight;

/// After labels that could not be written: the webhook may be a moment behind.
const AGAIN: Duration = Duration::from_secs(5);

impl Look<'_> {
    /// Gives Pods the labels that they lack. What goes wrong is tried again, and
    /// keeps nothing else from its course.
    pub(super) async fn label(&mut self, sight: &Sight<'_>, known: &Surroundings, survey: &Survey) {
        let versions = versions(survey);
        let before = self.memory.labelled.as_ref();
        let seen = before.is_some_and(|(told, at)| *told == versions && at.elapsed() < RESYNC);
        if seen || is_early(survey) || self.suspension().is_some() {
            return;
        }
        let (controller, application, loaded) = (self.controller, self.application, sight.loaded);
        let labelled = match (Case { controller, application, loaded, known }).writer() {
            Ok(writer) => {
                label_pods(&writer, survey, &loaded.application).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match labelled {
            Ok(count) => {
                if count > 0 {
                    tracing::info!(application = %self.name, count, "Pods were given the labels of their version");
                }
                self.memory.labelled = Some((versions, Instant::now()));
            }
            Err(error) => {
                tracing::warn!(application = %self.name, error, "Pods were not given the labels of their version");
                self.again = self.again.min(AGAIN);
            }
        }
    }
}

/// What the labels depend on.
fn versions(survey: &Survey) -> String {
    let rollouts = survey.rollouts.iter().map(|rolling| {
        let state = &rolling.state;
        format!(" {} {} {:?} {:?}", rolling.key.name, state.is_under_way(), state.stable_pods, state.new_pods)
    });
    format!("{}{}", survey.desired.revision, rollouts.collect::<String>())
}
