//! The network on the way to an API server. In: a cluster. Out: a kubeconfig
//! that leads over a line that can be cut and mended.

use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cluster::TestCluster;

/// Lives as long as this value.
#[derive(Debug)]
pub struct Line {
    kubeconfig: TempDir,
    whole: Arc<watch::Sender<bool>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Line {
    /// A line that is whole.
    ///
    /// # Panics
    /// When the kubeconfig names no server.
    pub fn to(cluster: &TestCluster) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let text = cluster.kubectl("config view --raw --flatten -o json").ok().stdout;
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        let target = server.trim_start_matches("https://").to_owned();
        let whole = Arc::new(watch::Sender::new(true));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, target, whole.clone()));
        config["clusters"][0]["cluster"]["server"] = format!("https://{address}").into();
        let kubeconfig = TempDir::with_prefix("gitops-line-").unwrap();
        std::fs::write(kubeconfig.path().join("config"), config.to_string()).unwrap();
        Self { kubeconfig, whole, runtime: Some(runtime) }
    }

    /// The cluster as it is reached this way.
    pub fn cluster(&self) -> TestCluster {
        TestCluster::at(self.kubeconfig.path().join("config"))
    }

    /// Ends what is open; new connections end at once.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, target: String, whole: Arc<watch::Sender<bool>>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { continue };
        let (mut whole, target) = (whole.subscribe(), target.clone());
        tokio::spawn(async move {
            if !*whole.borrow() {
                return;
            }
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = whole.wait_for(|whole| !whole) => {}
            }
        });
    }
}
