//! A real registry, and what is pushed into it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Debian's docker-registry, for one test.
pub struct Registry {
    process: Child,
    port: u16,
    pub folder: tempfile::TempDir,
}

impl Registry {
    /// # Panics
    /// When it is not installed.
    pub fn start() -> Self {
        let program = ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry"].map(Path::new);
        let program = program.into_iter().find(|path| path.is_file());
        let program = program.expect("docker-registry is missing: run tests/cluster/install-packages");
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            folder.path().join("data").display()
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let process = Command::new(program)
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < Duration::from_secs(20), "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, port, folder }
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes one layer as oras and Flux do.
    pub fn push(&self, name: &str, media_type: &str, layer: Vec<u8>) -> String {
        use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
        let image: oci_client::Reference = format!("{}/{name}", self.host()).parse().unwrap();
        let layers = [ImageLayer::new(layer, media_type.to_owned(), None)];
        let config = Config::new(b"{}".to_vec(), "application/vnd.cncf.flux.config.v1+json".into(), None);
        let auth = oci_client::secrets::RegistryAuth::Anonymous;
        let pushed = runtime.block_on(client.push(&image, &layers, config, &auth, None)).unwrap();
        pushed.manifest_url.rsplit('/').next().unwrap().to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Command::new("tar").args(["-cz", "."]).current_dir(folder.path()).output().unwrap().stdout
}
