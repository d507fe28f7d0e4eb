//! Requests on their way to Pods. In: an HTTPRoute or Service of a namespace,
//! and what a fake node plays there. Out: a real nginx that divides requests as
//! the route says, each Pod a server that tells its image, and counts of which
//! image has answered, and which has got copies.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gitops_cluster::{Cluster, ConnectOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{TestCluster, eventually};
use crate::http_server::{HttpServer, Reply};

/// How often the proxy looks for what has changed.
const INTERVAL: Duration = Duration::from_millis(100);
/// A Pod answers for so long after it was deleted, as one with a preStop pause
/// does.
const GRACE: Duration = Duration::from_secs(3);
/// Where copies of requests arrive, so that they are told from requests.
const COPY: &str = "/copy";
/// Between two requests.
const PACE: Duration = Duration::from_millis(10);

/// By what requests come in.
#[derive(Clone, Copy, Debug)]
pub enum Front {
    Route(&'static str),
    Service(&'static str),
}

/// Lives as long as this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    copies: Copies,
    nginx: Child,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Proxy {
    /// Starts nginx and follows the route.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    pub fn start(cluster: &TestCluster, namespace: &str, front: Front) -> Self {
        let folder = TempDir::with_prefix("gitops-nginx-").unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let configuration = folder.path().join("nginx.conf");
        std::fs::write(&configuration, nginx(address, &Value::Null, &BTreeMap::new())).unwrap();
        let nginx = Command::new("nginx")
            .args(["-p", &folder.path().display().to_string(), "-c", &configuration.display().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: tests/cluster/install-packages");
        let (stop, pid) = (Arc::<AtomicBool>::default(), nginx.id().to_string());
        let (ended, kubeconfig, namespace) =
            (stop.clone(), cluster.kubeconfig().to_owned(), namespace.to_owned());
        let copies = Copies::default();
        let counts = copies.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let options = ConnectOptions { kubeconfig: vec![kubeconfig], ..ConnectOptions::default() };
                let cluster = Cluster::connect(&options).await.unwrap();
                let mut follower =
                    Follower { cluster, namespace, front, pods: HashMap::new(), copies: counts };
                let mut told = String::new();
                while !ended.load(Ordering::SeqCst) {
                    if let Some((route, endpoints)) = follower.look().await {
                        let text = self::nginx(address, &route, &endpoints);
                        if text != told {
                            std::fs::write(&configuration, &text).unwrap();
                            Command::new("kill").args(["-HUP", &pid]).status().unwrap();
                            told = text;
                        }
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            });
        });
        let this = Self { address, copies, nginx, stop, thread: Some(thread), _folder: folder };
        // The worker that knew no route yet may answer a last time.
        let mut row = 0;
        eventually("the proxy answers", Duration::from_secs(30), || {
            row = if get(this.address, "").is_ok() { row + 1 } else { 0 };
            (row > 10).then_some(())
        });
        this
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// So many requests, one after the other.
    ///
    /// # Panics
    /// When one is lost.
    pub fn ask(&self, count: u32) -> Counted {
        let mut counted = Counted::default();
        for _ in 0..count {
            *counted.images.entry(get(self.address, "").unwrap()).or_default() += 1;
        }
        counted
    }

    /// How many copies each image has got so far.
    ///
    /// # Panics
    /// When another thread has panicked.
    pub fn copies(&self) -> Counted {
        Counted { images: self.copies.lock().unwrap().clone(), lost: Vec::new() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // The master ends its workers.
        let _ = Command::new("kill").arg(self.nginx.id().to_string()).status();
        let _ = self.nginx.wait();
    }
}

/// Copies of requests, by the image that got them.
type Copies = Arc<Mutex<BTreeMap<String, u32>>>;
/// A Pod's server, and when the Pod went.
type Serving = (HttpServer, Option<Instant>);

struct Follower {
    cluster: Cluster,
    namespace: String,
    front: Front,
    pods: HashMap<String, Serving>,
    copies: Copies,
}

impl Follower {
    async fn items(&self, path: &str) -> Option<Vec<Value>> {
        let list = self.cluster.get_json(&path.replace("NS", &self.namespace)).await.ok()?;
        list["items"].as_array().cloned()
    }

    /// The route, and where each Service's ready Pods are served.
    async fn look(&mut self) -> Option<(Value, BTreeMap<String, Vec<SocketAddr>>)> {
        let slices = self.items("/apis/discovery.k8s.io/v1/namespaces/NS/endpointslices").await?;
        self.serve(&self.items("/api/v1/namespaces/NS/pods").await?);
        let route = match self.front {
            Front::Service(name) => json!({"spec": {"rules": [{"backendRefs": [{"name": name}]}]}}),
            Front::Route(name) => {
                let path = format!(
                    "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes/{name}",
                    self.namespace
                );
                self.cluster.get_json(&path).await.ok()?
            }
        };
        let mut endpoints: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        for slice in slices {
            let service =
                slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
            let ready = slice["endpoints"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| one["conditions"]["ready"] == true);
            let addresses = ready.filter_map(|one| one["addresses"][0].as_str());
            let served = addresses.filter_map(|address| Some(self.pods.get(address)?.0.address()));
            endpoints.entry(service.to_owned()).or_default().extend(served);
        }
        endpoints.values_mut().for_each(|all| all.sort());
        Some((route, endpoints))
    }

    /// A server for each Pod, which tells its image.
    fn serve(&mut self, pods: &[Value]) {
        let address = |pod: &Value| pod["status"]["podIP"].as_str().map(str::to_owned);
        for pod in pods {
            let Some(address) = address(pod) else { continue };
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
            let copies = self.copies.clone();
            let answer = move |path: &str| {
                if path == COPY {
                    *copies.lock().unwrap().entry(image.clone()).or_default() += 1;
                }
                Reply::ok(image.clone())
            };
            self.pods.entry(address).or_insert_with(|| (HttpServer::start(answer), None));
        }
        let there: Vec<String> = pods.iter().filter_map(address).collect();
        self.pods.retain(|address, (_, gone)| {
            *gone = if there.contains(address) { None } else { gone.or_else(|| Some(Instant::now())) };
            gone.is_none_or(|at| at.elapsed() < GRACE)
        });
    }
}

fn upstream(service: &str) -> String {
    format!("service_{}", service.replace(['-', '.'], "_"))
}

/// Shares in percent that come to a hundred.
fn split(variable: &str, key: &str, shares: &[(String, f64)]) -> String {
    let all: f64 = shares.iter().map(|(_, weight)| weight).sum();
    let Some(((last, _), rest)) = shares.split_last().filter(|_| all > 0.0) else {
        return format!("  map $request_id ${variable} {{ default none; }}\n");
    };
    let parts: String =
        rest.iter().map(|(name, weight)| format!(" {:.2}% {name};", weight / all * 100.0)).collect();
    format!("  split_clients \"{key}\" ${variable} {{{parts} * {last}; }}\n")
}

/// The configuration that carries out a route: weights, header matches and
/// mirrors; the first rule that matches counts.
fn nginx(address: SocketAddr, route: &Value, endpoints: &BTreeMap<String, Vec<SocketAddr>>) -> String {
    let (mut outside, mut choice, mut mirrors) = (String::new(), String::new(), String::new());
    for (service, servers) in endpoints.iter().filter(|(_, servers)| !servers.is_empty()) {
        let servers: String = servers.iter().map(|server| format!(" server {server};")).collect();
        outside.push_str(&format!("  upstream {} {{{servers} }}\n", upstream(service)));
    }
    outside.push_str("  upstream none { server 127.0.0.1:9; }\n");
    let known = |service: &str| endpoints.get(service).is_some_and(|servers| !servers.is_empty());
    let target = |service: &str| if known(service) { upstream(service) } else { "none".into() };
    let rules = route["spec"]["rules"].as_array().cloned().unwrap_or_default();
    for (index, rule) in rules.iter().enumerate().rev() {
        let references = rule["backendRefs"].as_array().into_iter().flatten();
        let shares: Vec<(String, f64)> = references
            .map(|one| {
                (target(one["name"].as_str().unwrap_or_default()), one["weight"].as_f64().unwrap_or(1.0))
            })
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        outside.push_str(&split(&format!("rule_{index}"), "${request_id}", &shares));
        match rule["matches"][0]["headers"][0]["name"].as_str() {
            Some(header) => {
                let value = rule["matches"][0]["headers"][0]["value"].as_str().unwrap_or_default();
                let header = header.to_lowercase().replace('-', "_");
                choice.push_str(&format!(
                    "      if ($http_{header} = \"{value}\") {{ set $target $rule_{index}; }}\n"
                ));
            }
            None => choice.push_str(&format!("      set $target $rule_{index};\n")),
        }
        for filter in rule["filters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|filter| filter["type"] == "RequestMirror")
        {
            let mirror = &filter["requestMirror"];
            let percent = mirror["percent"].as_f64().unwrap_or(100.0);
            let service = target(mirror["backendRef"]["name"].as_str().unwrap_or_default());
            let mut shares = vec![(service, percent), ("none".into(), 100.0 - percent)];
            shares.retain(|(_, share)| *share > 0.0);
            outside.push_str(&split("mirrored", "m${request_id}", &shares));
            choice.push_str("      mirror /mirror;\n");
            mirrors = format!(
                "    location = /mirror {{ internal; if ($mirrored = none) {{ return 204; }} proxy_pass http://$mirrored{COPY}; }}\n"
            );
        }
    }
    let served = if rules.is_empty() {
        "      return 503;\n".to_owned()
    } else {
        format!("      set $target none;\n{choice}      proxy_pass http://$target;\n")
    };
    format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log error.log;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n{outside}  server {{\n    listen {address};\n{mirrors}    location / {{\n{served}    }}\n  }}\n}}\n"
    )
}

/// One request; the answer's body, or what went wrong.
fn get(address: SocketAddr, headers: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: web\r\n{headers}Connection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("cut off: {answer:?}"))?;
    let status = head.lines().next().unwrap_or_default();
    // Anything but a success is a lost request.
    if status.contains(" 200 ") { Ok(body.trim().to_owned()) } else { Err(status.to_owned()) }
}

/// Which image has answered how often, and what was lost.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub images: BTreeMap<String, u32>,
    pub lost: Vec<String>,
}

impl Counted {
    /// How often an image has answered.
    pub fn of(&self, image: &str) -> u32 {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// All answers.
    pub fn all(&self) -> u32 {
        self.images.values().sum()
    }
}

/// Requests, one after the other, until this value goes.
#[derive(Debug)]
pub struct Requests {
    address: SocketAddr,
    counted: Arc<Mutex<Counted>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Requests {
    /// Begins to ask.
    pub fn start(proxy: &Proxy) -> Self {
        let (counted, stop) = (Arc::<Mutex<Counted>>::default(), Arc::<AtomicBool>::default());
        let (address, counts, ended) = (proxy.address(), counted.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let answer = get(address, "");
                let mut counts = counts.lock().unwrap();
                match answer {
                    Ok(image) => *counts.images.entry(image).or_default() += 1,
                    Err(why) => counts.lost.push(why),
                }
                drop(counts);
                std::thread::sleep(PACE);
            }
        });
        Self { address, counted, stop, thread: Some(thread) }
    }

    /// What has been counted since it was last asked.
    ///
    /// # Panics
    /// When a request was lost.
    pub fn counted(&self) -> Counted {
        let counted = std::mem::take(&mut *self.counted.lock().unwrap());
        assert!(
            counted.lost.is_empty(),
            "{} of {} requests were lost: {:?}",
            counted.lost.len(),
            counted.all(),
            counted.lost.first()
        );
        counted
    }

    /// So many requests from now on.
    ///
    /// # Panics
    /// When one was lost, or they take too long.
    pub fn next(&self, count: u32) -> Counted {
        self.counted();
        eventually("the requests are answered", Duration::from_secs(60), || {
            let counted = self.counted.lock().unwrap();
            (counted.all() + counted.lost.len() as u32 >= count).then_some(())
        });
        self.counted()
    }

    /// One more request, with these header lines.
    ///
    /// # Panics
    /// When it is lost.
    pub fn with(&self, headers: &str) -> String {
        get(self.address, headers).unwrap()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
