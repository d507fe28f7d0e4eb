//! A real Prometheus (Debian's) that scrapes what a test exports. In: metrics
//! as text. Out: its address; it ends with this value.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::cluster::eventually;
use crate::http_server::{HttpServer, Reply};

/// How often it scrapes.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// Who a guarded one lets in, with the password.
pub const USER: (&str, &str) = ("ada", "hunter2-of-ada");
/// The password's bcrypt hash, in the fewest rounds.
const HASH: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.2sAmUDD4TQdDGFcVNK0C28PlLKgJs6e";

/// A Prometheus and the exporter that it scrapes.
pub struct Prometheus {
    child: Child,
    address: String,
    certificate: String,
    metrics: Arc<Mutex<String>>,
    exporter: HttpServer,
    _folder: TempDir,
}

impl std::fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prometheus({})", self.address)
    }
}

impl Prometheus {
    /// Starts it.
    ///
    /// # Panics
    /// When it is not installed, or is not ready in time.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// Starts it behind TLS and a password ([`USER`]).
    ///
    /// # Panics
    /// As of [`Self::start`].
    pub fn guarded() -> Self {
        Self::with(Some(rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()))
    }

    fn with(key: Option<rcgen::CertifiedKey<rcgen::KeyPair>>) -> Self {
        let metrics = Arc::<Mutex<String>>::default();
        let shown = metrics.clone();
        let exporter = HttpServer::start(move |_| Reply {
            headers: vec!["Content-Type: text/plain; version=0.0.4".into()],
            ..Reply::ok(shown.lock().unwrap().clone())
        });
        let folder = TempDir::with_prefix("gitops-prometheus-").unwrap();
        let (target, milliseconds) = (exporter.address(), INTERVAL.as_millis());
        let configuration = format!(
            "global: {{scrape_interval: {milliseconds}ms, scrape_timeout: {milliseconds}ms}}\nscrape_configs: [{{job_name: test, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
        // It takes no port 0: whoever takes this one meanwhile breaks the test.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus");
        let certificate = key.as_ref().map(|key| key.cert.pem()).unwrap_or_default();
        if let Some(key) = &key {
            let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
            write("cert.pem", &certificate);
            write("key.pem", &key.signing_key.serialize_pem());
            write(
                "web.yml",
                &format!(
                    "tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}\nbasic_auth_users: {{{}: {HASH}}}\n",
                    USER.0
                ),
            );
            command.arg("--web.config.file=web.yml");
        }
        let child = command
            .arg("--config.file=prometheus.yml")
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={free}"))
            .arg("--log.level=error")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed: tests/cluster/install-packages");
        let scheme = if key.is_some() { "https" } else { "http" };
        let this = Self {
            child,
            address: format!("{scheme}://{free}"),
            certificate,
            metrics,
            exporter,
            _folder: folder,
        };
        eventually("Prometheus scrapes", Duration::from_secs(60), || {
            (this.exporter.asked() > 1).then_some(())
        });
        this
    }

    /// Of its HTTP API.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who has to be trusted, as PEM; empty: nobody is asked.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Exports these lines from now on.
    ///
    /// # Panics
    /// When another thread has panicked.
    pub fn export(&self, lines: &[String]) {
        *self.metrics.lock().unwrap() = lines.iter().map(|line| format!("{line}\n")).collect();
    }

    /// Waits until it has scraped so many times more.
    ///
    /// # Panics
    /// When it has not in time.
    pub fn scraped(&self, times: usize) {
        let wanted = self.exporter.asked() + times;
        eventually("Prometheus scrapes", Duration::from_secs(60), || {
            (self.exporter.asked() >= wanted).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
