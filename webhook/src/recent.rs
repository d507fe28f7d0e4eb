//! Owners seen a moment ago. In: objects as they were read. Out: the same,
//! while they are new. A Deployment of a hundred Pods asks about one ReplicaSet
//! a hundred times, many of them at once: one asks, the others wait for its
//! answer. Nothing is refused by what stands here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitops_core::object::ObjectKey;
use serde_json::Value;

/// How long an owner counts as seen just now.
const AGE: Duration = Duration::from_secs(1);
/// Owners kept at once.
const MOST: usize = 256;

/// Owners by key and uid.
#[derive(Debug, Default)]
pub struct Recent {
    seen: Mutex<HashMap<(ObjectKey, String), (Instant, Value)>>,
    turns: Mutex<HashMap<(ObjectKey, String), Turn>>,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

impl Recent {
    /// An owner, if it was seen just now.
    fn get(&self, key: &ObjectKey, uid: &str) -> Option<Value> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, live) = seen.get(&(key.clone(), uid.to_owned()))?;
        (at.elapsed() < AGE).then(|| live.clone())
    }

    /// An owner that was seen just now, after waiting for whoever is asking
    /// about it; or the turn to ask: while it lives, nobody else does.
    pub async fn get_or_turn(
        &self,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<Value, tokio::sync::OwnedMutexGuard<()>> {
        if let Some(live) = self.get(key, uid) {
            return Ok(live);
        }
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= MOST {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            turns.entry((key.clone(), uid.to_owned())).or_default().clone()
        };
        let turn = turn.lock_owned().await;
        self.get(key, uid).ok_or(turn)
    }

    /// Keeps an owner as it was read.
    pub fn put(&self, key: &ObjectKey, uid: &str, live: &Value) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, (at, _)| at.elapsed() < AGE);
        }
        if seen.len() < MOST {
            seen.insert((key.clone(), uid.to_owned()), (Instant::now(), live.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            group: "apps".into(),
            kind: "ReplicaSet".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn only_the_same_object_is_found_and_only_so_many_are_kept() {
        let recent = Recent::default();
        recent.put(&key("a"), "1", &json!({"a": 1}));
        assert_eq!(recent.get(&key("a"), "1"), Some(json!({"a": 1})));
        assert_eq!(recent.get(&key("a"), "2"), None);
        assert_eq!(recent.get(&key("b"), "1"), None);
        for index in 0..2 * MOST {
            recent.put(&key(&index.to_string()), "1", &Value::Null);
        }
        assert!(recent.get(&key("a"), "1").is_some());
        assert!(recent.get(&key(&(2 * MOST - 1).to_string()), "1").is_none());
    }
}
