//! Many Applications side by side. In: what is to be done for each. Out: what
//! came of it, in the order of the Applications, each as soon as those before
//! it are there.

use futures::{Stream, StreamExt};

use crate::error::Failure;

/// So many are under way at once: enough that a repository's host and the API
/// server are not waited for one by one, few enough to be held in memory.
const AT_ONCE: usize = 8;

/// Does `work` for each of `items`, and goes on with it while one is looked at.
pub fn beside<T, U, F>(
    items: Vec<T>,
    work: impl FnMut(T) -> F,
) -> impl Stream<Item = Result<U, Failure>> + Unpin
where
    U: Send + 'static,
    F: Future<Output = Result<U, Failure>> + Send + 'static,
{
    let tasks = futures::stream::iter(items).map(work).map(tokio::spawn).buffered(AT_ONCE);
    Box::pin(tasks.map(|task| task.unwrap_or_else(|error| Err(Failure::other(error.to_string())))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::TryStreamExt;

    use super::*;

    static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test]
    async fn answers_come_in_order_and_few_are_under_way() {
        let work = |number: u64| async move {
            MOST.fetch_max(UNDER_WAY.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(40 - number)).await;
            UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
            Ok(number)
        };
        let all: Vec<u64> = beside((0..40).collect(), work).try_collect().await.unwrap();
        assert_eq!(all, (0..40).collect::<Vec<u64>>());
        assert_eq!(MOST.load(Ordering::SeqCst), AT_ONCE);
        let failing =
            |number: u64| async move { if number == 1 { Err(Failure::other("no")) } else { Ok(number) } };
        let failed = beside(vec![0, 1, 2], failing).try_collect::<Vec<u64>>().await;
        assert_eq!(failed.unwrap_err().message, "no");
    }
}
