//! Who looks at Applications. In: the queue. Out: looks, as many at once as it has
//! room for. They share a few threads of their own: a thread for each would cost a
//! fifth more processor time, for being woken, and memory; what takes long within a
//! look, a render and Git, has threads elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gitops_core::desired::AppRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use crate::controller::Controller;
use crate::reconcile;

/// Threads: one that compares something large holds up its own looks alone.
const THREADS: usize = 4;

/// Before an Application is looked at again whose look broke off.
const BROKEN: Duration = Duration::from_secs(60);

/// A thread that looks.
struct Looker {
    names: UnboundedSender<AppRef>,
    /// Looks under way.
    busy: Arc<AtomicUsize>,
}

/// Looks at whatever is due, until the program drains.
pub async fn run(controller: Arc<Controller>) {
    let lookers: Vec<Looker> = (0..THREADS).map(|_| Looker::start(&controller)).collect();
    loop {
        let name = controller.queue.next().await;
        let free = lookers.iter().min_by_key(|looker| looker.busy.load(Ordering::Relaxed));
        match free.filter(|_| !controller.is_draining()) {
            Some(looker) => looker.take(name),
            None => return controller.queue.done(&name),
        }
    }
}

impl Looker {
    fn start(controller: &Arc<Controller>) -> Self {
        let (names, mut due) = unbounded_channel();
        let looker = Self { names, busy: Arc::default() };
        let (controller, busy, handle) = (controller.clone(), looker.busy.clone(), Handle::current());
        std::thread::spawn(move || {
            handle.block_on(LocalSet::new().run_until(async move {
                while let Some(name) = due.recv().await {
                    let (controller, busy) = (controller.clone(), busy.clone());
                    spawn_local(async move {
                        look(controller, name).await;
                        busy.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            }));
        });
        looker
    }

    fn take(&self, name: AppRef) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let _ = self.names.send(name);
    }
}

async fn look(controller: Arc<Controller>, name: AppRef) {
    let (looking, named) = (controller.clone(), name.clone());
    // A task of its own: should it ever panic, the others go on.
    let looked = spawn_local(async move { reconcile::look(&looking, &named).await }).await;
    controller.queue.done(&name);
    match looked {
        Ok(Some(again)) => controller.queue.push(&name, again),
        Ok(None) => {}
        Err(error) => {
            tracing::error!(application = %name, %error, "the look broke off");
            controller.queue.push(&name, BROKEN);
        }
    }
}
