//! One fetch for many who ask at the same time: a thousand Applications of one
//! repository need not ask its host a thousand times.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use crate::location::Credentials;

/// The last fetch of a repository that this process has seen succeed.
struct Fetch {
    begun: Instant,
    /// Whoever has others is not told what these have shown.
    credentials: Credentials,
}

static LAST: LazyLock<Mutex<HashMap<PathBuf, Fetch>>> = LazyLock::new(Mutex::default);

/// Notes a fetch into the repository at `place` that has succeeded.
pub(super) fn note(place: &Path, begun: Instant, credentials: &Credentials) {
    let fetch = Fetch { begun, credentials: credentials.clone() };
    LAST.lock().unwrap_or_else(PoisonError::into_inner).insert(place.to_owned(), fetch);
}

/// Whether a fetch with the same credentials has begun since `asked`, and
/// succeeded.
pub(super) fn since(place: &Path, asked: Instant, credentials: &Credentials) -> bool {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.get(place).is_some_and(|fetch| fetch.begun >= asked && fetch.credentials == *credentials)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::location::{Login, Secret};

    #[test]
    fn only_what_began_later_with_the_same_credentials_is_shared() {
        let (place, begun) = (Path::new("/shared/test"), Instant::now());
        let basic =
            |password: &str| Login::Basic { username: "ada".into(), password: Secret::new(password) }.into();
        assert!(!since(place, begun, &basic("one")));
        note(place, begun, &basic("one"));
        assert!(since(place, begun, &basic("one")));
        assert!(!since(place, begun + Duration::from_millis(1), &basic("one")), "asked after it began");
        assert!(!since(place, begun, &basic("two")) && !since(place, begun, &Credentials::default()));
        assert!(!since(Path::new("/shared/other"), begun, &basic("one")));
    }
}
