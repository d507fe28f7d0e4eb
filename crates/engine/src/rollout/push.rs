//! Which commits after failures were pushed. In: Rollouts that ask for one. Out:
//! each tried again after a while, until it is there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gitops_core::object::ObjectKey;
use gitops_core::rollout::machine::Wish;

use super::back::{self, Failure};
use super::drive::Moved;
use super::gate::Ground;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(20);

/// What became of the commits, by Rollout. What is not remembered is tried anew:
/// where Git went back already there is nothing to push.
#[derive(Clone, Debug, Default)]
pub struct Pushes(HashMap<ObjectKey, Pushed>);

#[derive(Clone, Debug)]
struct Pushed {
    /// The hash of the version that failed.
    hash: String,
    result: Result<String, String>,
    /// None: it was not tried.
    at: Option<Instant>,
}

impl Pushes {
    /// The commit or branch of a Rollout, or why there is none yet.
    pub fn of(&self, rollout: &ObjectKey) -> Option<Result<String, String>> {
        self.0.get(rollout).map(|pushed| pushed.result.clone())
    }

    /// It has nothing to ask for any more.
    pub fn forget(&mut self, rollout: &ObjectKey) {
        self.0.remove(rollout);
    }

    /// Says why what a Rollout asks for is not tried now; whether that is news.
    pub fn wait(&mut self, one: &Moved, why: &str) -> bool {
        let Some(Wish::Revert(bad) | Wish::Branch(bad) | Wish::Clear(bad)) = one.wishes.first() else {
            return false;
        };
        let result = Err(why.to_owned());
        let known = self.0.get(&one.key).filter(|pushed| pushed.hash == bad.hash);
        if known.is_some_and(|known| known.result.is_ok() || known.result == result) {
            return false;
        }
        self.0.insert(one.key.clone(), Pushed { hash: bad.hash.clone(), result, at: None });
        true
    }

    /// Pushes what a Rollout asks for, unless that was tried a moment ago; what
    /// became of it, if something did.
    pub async fn push(
        &mut self,
        ground: &Ground<'_>,
        one: &Moved,
        tip: &str,
    ) -> Option<Result<String, String>> {
        let wish = one.wishes.first()?;
        let (Wish::Revert(bad) | Wish::Branch(bad) | Wish::Clear(bad)) = wish;
        let tried = self.0.get(&one.key).filter(|pushed| pushed.hash == bad.hash);
        if tried
            .is_some_and(|pushed| pushed.result.is_ok() || pushed.at.is_some_and(|at| at.elapsed() < PAUSE))
        {
            return None;
        }
        let failure = Failure { rollout: &one.key, state: &one.state, wish, tip };
        let result = back::push(ground, &failure).await.map_err(|error| error.to_string());
        let pushed = Pushed { hash: bad.hash.clone(), result: result.clone(), at: Some(Instant::now()) };
        self.0.insert(one.key.clone(), pushed);
        Some(result)
    }
}
