//! A chart repository over http. In: a folder that the real helm fills. Out: its
//! URL, and how often it was asked.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest;

/// Runs the real helm in a folder, with a HOME of its own there.
///
/// # Panics
/// When it fails.
pub fn helm(arguments: &[&str], folder: &Path) -> String {
    let helm = std::env::var_os("KUBECTL_GITOPS_HELM").map_or_else(|| "helm".into(), PathBuf::from);
    let home = folder.join("helm-home");
    let output = Command::new(helm)
        .args(arguments)
        .current_dir(folder)
        .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, &home)))
        .output()
        .unwrap();
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Packs a chart `web` of a version, which says its color: one ConfigMap `web`.
///
/// # Panics
/// When the folder cannot be written to.
pub fn package(folder: &Path, version: &str, color: &str) {
    let chart = folder.join("src").join("web");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: web\nversion: {version}\n"))
        .unwrap();
    std::fs::write(chart.join("values.yaml"), format!("color: {color}\n")).unwrap();
    let template =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  key: {{ .Values.color }}\n";
    std::fs::write(chart.join("templates/a.yaml"), template).unwrap();
    helm(&["package", "src/web"], folder);
}

/// The files of a folder over http, perhaps behind a login.
#[derive(Debug)]
pub struct ChartRepository {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl ChartRepository {
    /// Serves until the process ends; `login` is what Basic is followed by.
    ///
    /// # Panics
    /// When there is no port.
    pub fn new(folder: &Path, login: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let (folder, login, count) = (folder.to_owned(), login.map(str::to_owned), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = Self::answer(stream, &folder, login.as_deref());
            }
        });
        Self { port, asked }
    }

    fn answer(mut stream: TcpStream, folder: &Path, login: Option<&str>) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap()?;
        let mut authorized = login.is_none();
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            authorized |= login.is_some_and(|login| {
                line.to_lowercase() == format!("authorization: basic {login}").to_lowercase()
            });
        }
        let path = first.split(' ').nth(1).unwrap().trim_start_matches('/');
        let (status, body) = match std::fs::read(folder.join(path)) {
            _ if !authorized => ("401 Unauthorized", Vec::new()),
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let tag = sha2::Sha256::digest(&body)
            .iter()
            .take(8)
            .fold(String::new(), |tag, byte| format!("{tag}{byte:02x}"));
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nETag: \"{tag}\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        if first.starts_with("HEAD ") { Ok(()) } else { stream.write_all(&body) }
    }

    /// Of the folder.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests there were.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
