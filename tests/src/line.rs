//! The network on the way to an API server. In: a cluster. Out: a kubeconfig
//! that leads over a line that can be cut, stalled and mended.

use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Background;
use crate::cluster::TestCluster;

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    Cut,
    /// Connections are taken, and nothing ever comes over them.
    Stalled,
}

/// Lives as long as this value.
#[derive(Debug)]
pub struct Line {
    kubeconfig: TempDir,
    state: Arc<watch::Sender<State>>,
    _background: Background,
}

impl Line {
    /// A line that is whole.
    ///
    /// # Panics
    /// When the kubeconfig names no server.
    pub fn to(cluster: &TestCluster) -> Self {
        let background = Background::new(1);
        let text = cluster.kubectl("config view --raw --flatten -o json").ok().stdout;
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        let target = server.trim_start_matches("https://").to_owned();
        let state = Arc::new(watch::Sender::new(State::Whole));
        let listener = background.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        background.spawn(serve(listener, target, state.clone()));
        config["clusters"][0]["cluster"]["server"] = format!("https://{address}").into();
        let kubeconfig = TempDir::with_prefix("gitops-line-").unwrap();
        std::fs::write(kubeconfig.path().join("config"), config.to_string()).unwrap();
        Self { kubeconfig, state, _background: background }
    }

    /// The cluster as it is reached this way.
    pub fn cluster(&self) -> TestCluster {
        TestCluster::at(self.kubeconfig.path().join("config"))
    }

    /// Ends what is open; new connections end at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Ends what is open; new connections are taken, and hang.
    pub fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn serve(listener: TcpListener, target: String, state: Arc<watch::Sender<State>>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { continue };
        let (mut state, target) = (state.subscribe(), target.clone());
        tokio::spawn(async move {
            let begun = *state.borrow_and_update();
            if begun != State::Whole {
                if begun == State::Stalled {
                    let _ = state.changed().await;
                }
                return;
            }
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = state.changed() => {}
            }
        });
    }
}
