//! What people ask of a rollout, and what holds it until they do.

use super::Stepping;
use crate::rollout::observe::{Ask, Asked};
use crate::rollout::outlook::in_vain;
use crate::rollout::program::Move;
use crate::rollout::state::{Held, Phase, Record, State};

impl Stepping<'_> {
    pub(super) fn request(&self, next: &mut State, asked: &Asked) {
        next.record = Some(Record {
            id: asked.id.clone(),
            verb: asked.ask.verb().to_owned(),
            by: asked.by.clone(),
            reason: asked.reason.clone(),
            at: self.now,
        });
        let moving = matches!(next.phase, Phase::Progressing | Phase::Paused | Phase::Promoting);
        let why = if asked.reason.is_empty() { String::new() } else { format!(": {}", asked.reason) };
        match asked.ask {
            Ask::Abort if moving || next.phase == Phase::Gated => {
                self.fail(next, &format!("{} aborted it{why}", asked.by));
            }
            Ask::Retry if next.phase == Phase::Aborted => self.begin(next),
            Ask::Promote if moving => {
                self.release(next);
                match self.act(next) {
                    Some(Move::Arrange(_)) | None => self.show(next),
                    Some(_) => self.advance(next),
                }
            }
            Ask::PromoteFull if moving => {
                (next.held, next.full) = (None, true);
                // Every setting all the same: Pods before requests.
                self.enter(next, next.at);
            }
            Ask::Pause if moving => self.hold(next, Held::Asked, &format!("{} paused it{why}", asked.by)),
            Ask::Resume if moving && next.held == Some(Held::Asked) => {
                self.release(next);
                self.show(next);
            }
            ask => next.message = in_vain(ask.verb(), next.phase),
        }
    }

    pub(super) fn hold(&self, next: &mut State, held: Held, why: &str) {
        next.held = Some(held);
        next.phase = Phase::Paused;
        next.message = match held {
            Held::Asked => why.to_owned(),
            Held::Inconclusive => format!("the analysis is inconclusive: {why}; promote or abort it"),
        };
    }

    /// While it was held nothing could make progress.
    fn release(&self, next: &mut State) {
        let Some(held) = next.held.take() else { return };
        next.progressed = self.now;
        // What was not known while somebody decided all the same.
        if held == Held::Inconclusive {
            next.background.clear();
        }
    }
}
