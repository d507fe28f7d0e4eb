//! The node: namespaces of its own, containerd, kubelet and kube-proxy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::Error;
use crate::claim;
use crate::control_group;
use crate::control_plane::{Address, program, write};
use crate::image;
use crate::process::{self, Processes, run};

const PODS: &str = "10.244.0.0/24";
const PAUSE: &str = "localhost/pause:1";

/// Namespaces in which everything of this cluster runs, and the link to the
/// host. When their first process is killed, the kernel ends all the others,
/// and mounts, links and rules go with them.
pub(crate) fn isolate(processes: &mut Processes, dir: &Path) -> Result<Address, Error> {
    if std::env::consts::OS != "linux" || run(Command::new("id").arg("-u"))?.trim() != "0" {
        return Err(Error::NoNode);
    }
    let unshare: Vec<String> = [
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "--propagation",
        "slave",
        "sleep",
        "infinity",
    ]
    .map(str::to_owned)
    .to_vec();
    let outer = processes.start("unshare", Path::new("unshare"), &unshare)?;
    let holder = first_child(outer)?;
    processes.remember("holder", holder)?;
    processes.holder = Some(holder);

    let ip = |arguments: &str| run(Command::new("ip").args(arguments.split(' '))).map(drop);
    let ip_inside =
        |arguments: &str| run(process::inside(holder, Path::new("ip")).args(arguments.split(' '))).map(drop);
    let lock = claim::choice(dir)?;
    let (link, network) = add_link(holder)?;
    let (host, node) = (format!("{network}.1"), format!("{network}.2"));
    ip(&format!("addr add {host}/30 dev {link}"))?;
    drop(lock);
    ip(&format!("link set {link} up"))?;
    ip_inside("link set lo up")?;
    ip_inside(&format!("addr add {node}/30 dev uplink"))?;
    ip_inside("link set uplink up")?;
    ip_inside(&format!("route add default via {host}"))?;
    // What containerd, runc and the kubelet leave in fixed places of the host
    // goes with these mounts.
    let mounts = "for dir in /run /var/lib /var/log; do mount -t tmpfs tmpfs $dir; done";
    let rules = format!(
        "table ip outgoing {{\n chain postrouting {{\n  type nat hook postrouting priority 100\n  ip saddr {PODS} ip daddr != {PODS} masquerade\n }}\n}}"
    );
    let script = format!("{mounts}\necho 1 > /proc/sys/net/ipv4/ip_forward\nnft -f - <<'END'\n{rules}\nEND");
    run(process::inside(holder, Path::new("sh")).args(["-c", &script]))?;
    write(&dir.join("host-address"), &host)?;
    write(&dir.join("node-address"), &node)?;
    Ok(Address { ip: node, api: 6443, etcd: 2379, etcd_peer: 2380, controllers: 10257, scheduler: 10259 })
}

fn first_child(parent: u32) -> Result<u32, Error> {
    let path = PathBuf::from(format!("/proc/{parent}/task/{parent}/children"));
    for _ in 0..100 {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some(child) = children.split_whitespace().next().and_then(|pid| pid.parse().ok()) {
            // Ready once it has become the program and mounted its own /proc.
            if std::fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim() == "sleep")
            {
                return Ok(child);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Error::Ended("unshare".into()))
}

/// The first link whose name and network are free here; its name and the first
/// three numbers of the network.
fn add_link(holder: u32) -> Result<(String, String), Error> {
    let taken = run(Command::new("ip").arg("addr"))?;
    for n in 0..250 {
        let (link, network) = (format!("gitops{n}"), format!("10.250.{n}"));
        if taken.contains(&format!(" {link}@")) || taken.contains(&format!(" {network}.")) {
            continue;
        }
        let peer = ["type", "veth", "peer", "name", "uplink", "netns", &holder.to_string()];
        match run(Command::new("ip").args(["link", "add", &link]).args(peer)) {
            Ok(_) => return Ok((link, network)),
            // Of a cluster with another home, which knows nothing of this lock.
            Err(error) if error.to_string().contains("File exists") => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::NoneFree("network from 10.250.0 to 10.250.249"))
}

pub(crate) fn start(
    processes: &mut Processes,
    dir: &Path,
    programs: &Path,
    address: &Address,
) -> Result<(), Error> {
    let path = |name: &str| dir.join(name).display().to_string();
    for folder in ["containerd", "run", "kubelet", "cni/conf", "cni/bin"] {
        std::fs::create_dir_all(dir.join(folder)).map_err(Error::io(dir.join(folder)))?;
    }
    for plugin in ["bridge", "loopback", "host-local"] {
        let link = dir.join("cni/bin").join(plugin);
        std::os::unix::fs::symlink(programs.join(plugin), &link).map_err(Error::io(&link))?;
    }
    let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "dataDir": path("cni/leases"), "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    ]});
    write(&dir.join("cni/conf/10-pods.conflist"), &network.to_string())?;
    write(&dir.join("containerd.toml"), &containerd_config(dir, programs))?;
    processes.start(
        "containerd",
        &programs.join("containerd"),
        &["--config".into(), path("containerd.toml")],
    )?;

    wait_for_containerd(dir)?;
    control_group::make(dir)?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": address.ip, "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", control_group::name(dir)),
        "enforceNodeAllocatable": [], "failSwapOn": false, "evictionHard": {"memory.available": "1Mi"},
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false}, "x509": {"clientCAFile": path("pki/kubelet-ca.crt")}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", path("run/containerd.sock")),
        "resolvConf": "", "registerNode": true, "imageGCHighThresholdPercent": 100, "localStorageCapacityIsolation": false,
        "nodeStatusUpdateFrequency": "5s", "syncFrequency": "10s", "volumePluginDir": path("kubelet/plugins"), "podLogsDir": path("logs/pods"),
    });
    write(&dir.join("kubelet.json"), &kubelet.to_string())?;
    let kubelet = [
        format!("--config={}", path("kubelet.json")),
        format!("--kubeconfig={}", path("pki/kubelet.kubeconfig")),
        format!("--root-dir={}", path("kubelet")),
        format!("--cert-dir={}", path("kubelet/pki")),
        format!("--node-ip={}", address.ip),
        "--hostname-override=node".into(),
    ];
    program(processes, programs, "kubelet", &kubelet)?;
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables", "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": path("kubeconfig")}, "hostnameOverride": "node",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    write(&dir.join("kube-proxy.json"), &proxy.to_string())?;
    program(processes, programs, "kube-proxy", &[format!("--config={}", path("kube-proxy.json"))])
}

fn containerd_config(dir: &Path, programs: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni_bin}"]
conf_dir = "{cni_conf}"
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{shim}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#,
        root = path("containerd"),
        state = path("run/containerd"),
        socket = path("run/containerd.sock"),
        cni_bin = path("cni/bin"),
        cni_conf = path("cni/conf"),
        shim = programs.join("containerd-shim-runc-v2").display(),
        runc = programs.join("runc").display(),
    )
}

/// The image of the container that holds a pod's namespaces.
pub(crate) fn pause_image(dir: &Path) -> Result<PathBuf, Error> {
    let archive = dir.join("pause.tar");
    let image = image::Image {
        name: PAUSE.into(),
        files: vec![image::File {
            source: "/bin/busybox".into(),
            target: "/bin/busybox".into(),
            mode: 0o755,
        }],
        entrypoint: ["/bin/busybox", "sleep", "2147483647"].map(str::to_owned).to_vec(),
        user: "65534".into(),
        with_libraries: false,
    };
    image.write(&archive)?;
    Ok(archive)
}

pub(crate) fn load_image(dir: &Path, programs: &Path, archive: &Path) -> Result<(), Error> {
    let holder = process::pid_of(dir, "holder").ok_or(Error::NoNode)?;
    let socket = dir.join("run/containerd.sock");
    let archive = archive.canonicalize().map_err(Error::io(archive))?;
    wait_for_containerd(dir)?;
    let mut import = process::inside(holder, &programs.join("ctr"));
    import.arg("-a").arg(&socket).args(["-n", "k8s.io", "images", "import", "--local"]).arg(&archive);
    process::run_within(Duration::from_secs(300), &mut import).map(drop)
}

/// Its socket is there a moment after it was started.
fn wait_for_containerd(dir: &Path) -> Result<(), Error> {
    let socket = dir.join("run/containerd.sock");
    for _ in 0..200 {
        if socket.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Error::NotReady { what: "containerd", seconds: 10 })
}
