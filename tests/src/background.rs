//! Servers of a test, on threads of their own. Out: a runtime whose work ends with
//! it, and is not waited for.

use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

/// It is there until it is dropped.
#[derive(Debug)]
pub struct Background(Option<Runtime>);

impl Background {
    /// With so many threads.
    ///
    /// # Panics
    /// When there are no threads.
    pub fn new(threads: usize) -> Self {
        Self(Some(Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()))
    }
}

impl Deref for Background {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
