//! Clusters come up, work, and leave nothing behind.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gitops_test_cluster::{Cluster, Options, image, state_dir};

fn programs() -> PathBuf {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/build")).arg("path").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().into()
}

fn options(name: &str, node: bool) -> Options {
    Options { name: format!("{name}-{}", std::process::id()), node, programs: programs() }
}

fn kubectl(cluster: &Cluster, arguments: &str) -> String {
    let output = Command::new(programs().join("kubectl"))
        .arg("--request-timeout=90s")
        .arg("--cache-dir")
        .arg(cluster.logs().with_file_name("kubectl"))
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn processes(name: &str) -> usize {
    let listed = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.contains(&format!("/{name}/"))).count()
}

/// A home of clusters that takes down what a test that fails left.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = test_cluster(self.path()).args(["down", "--all"]).stderr(Stdio::null()).status();
    }
}

/// The program, with a home for clusters of its own.
fn test_cluster(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-cluster"));
    command.env("GITOPS_TEST_CLUSTER_HOME", home).env("TEST_CLUSTER_PROGRAMS", programs());
    command
}

fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn down_needs_no_more_than_what_was_started() {
    let home = Home::new();
    let half = home.path().join("half");
    std::fs::create_dir_all(half.join("logs")).unwrap();
    std::fs::create_dir_all(home.path().join("a name.that no cluster has")).unwrap();
    let mut sleep = Command::new("sleep").arg("600").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", sleep.id())).unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().to_owned();
    // Another process has the pid of the second.
    let lines = format!("etcd {} {started}\nkubelet {} 1\n", sleep.id(), std::process::id());
    std::fs::write(half.join("processes"), lines).unwrap();

    let (done, messages) = said(test_cluster(home.path()).args(["down", "--all"]));
    assert!(!done);
    assert!(messages.contains("cluster half is gone"), "{messages}");
    assert!(messages.ends_with("not taken down: a name.that no cluster has\n"), "{messages}");
    assert!(!half.exists());
    assert!(!sleep.wait().unwrap().success());

    let (done, messages) = said(test_cluster(home.path()).args(["down", "--name", "half"]));
    assert!(done);
    assert_eq!(messages, "there is no cluster half\n");
    let (done, messages) = said(test_cluster(home.path()).args(["down", "--name", ".."]));
    assert!(!done);
    assert!(messages.contains("is no name for a cluster"), "{messages}");
}

#[test]
fn a_start_that_fails_leaves_its_logs_and_nothing_else() {
    let home = Home::new();
    // Another file system than the home's, where there is one.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let temporary = tempfile::tempdir_in(parent).unwrap();
    let broken = home.path().join(".programs");
    std::fs::create_dir(&broken).unwrap();
    for name in ["k8s", "kubectl"] {
        let script = broken.join(name);
        std::fs::write(&script, "#!/bin/sh\necho \"$1 is broken\"\nexit 1\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for _ in 0..2 {
        let mut up = test_cluster(home.path());
        let (done, messages) = said(
            up.env("TMPDIR", temporary.path())
                .arg("--programs")
                .arg(&broken)
                .args(["up", "--name", "broken"]),
        );
        let logs = temporary.path().join("kubectl-gitops-cluster-logs-broken");
        assert!(!done);
        assert!(messages.contains(" ended by itself"), "{messages}");
        assert!(messages.contains(&format!("its logs are in {}", logs.display())), "{messages}");
        let log = |name: &str| std::fs::read_to_string(logs.join(format!("{name}.log"))).unwrap();
        assert!(["etcd", "kube-apiserver"].iter().any(|name| log(name) == format!("{name} is broken\n")));
        assert!(!home.path().join("broken").exists());
    }
}

#[test]
fn two_control_planes_side_by_side() {
    let (first, second) = (options("one", false), options("two", false));
    let (one, two) = (Cluster::start(&first).unwrap(), Cluster::start(&second).unwrap());
    kubectl(&one, "create configmap mark --from-literal=a=one");
    assert!(!kubectl(&two, "get configmaps -o name").contains("mark"));
    assert!(Cluster::start(&first).unwrap_err().to_string().contains("already"));
    one.stop().unwrap();
    drop(two);
    for name in [&first.name, &second.name] {
        assert!(!state_dir().join(name).exists());
        assert_eq!(processes(name), 0);
    }
}

#[test]
fn starts_at_the_same_time_do_not_meet() {
    let home = Home::new();
    let up = |name: &str| {
        let mut command = test_cluster(home.path());
        command.args(["up", "--name", name]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started = ["same", "same", "other", "third"].map(up);
    let results = started.map(|child| child.wait_with_output().unwrap());
    let refused: Vec<_> = results.iter().filter(|result| !result.status.success()).collect();
    let messages: Vec<_> = results.iter().map(|result| String::from_utf8_lossy(&result.stderr)).collect();
    assert_eq!(refused.len(), 1, "{messages:?}");
    let refused = String::from_utf8_lossy(&refused[0].stderr);
    assert!(refused.contains("a cluster same"), "{refused}");

    let ports = ["same", "other", "third"].map(|name| home.path().join(name).join("ports"));
    let ports = ports.map(|file| std::fs::read_to_string(file).unwrap());
    let different: BTreeSet<_> = ports.iter().flat_map(|ports| ports.lines()).collect();
    assert_eq!(different.len(), 15, "{ports:?}");
    // They run on without the program that started them.
    for name in ["same", "other", "third"] {
        let mut ready = Command::new(programs().join("kubectl"));
        ready.arg("--kubeconfig").arg(home.path().join(name).join("kubeconfig"));
        ready.args(["get", "--raw", "/readyz", "--request-timeout=10s"]).stdout(Stdio::null());
        assert!(ready.status().unwrap().success());
    }
    let (done, messages) = said(test_cluster(home.path()).args(["down", "--all"]));
    assert!(done, "{messages}");
    assert_eq!(processes(&home.path().file_name().unwrap().to_string_lossy()), 0);
}

/// Kills a start once it has started `program`; nothing of it may stay.
fn kill_a_start_after(program: &str, node: bool) {
    let home = Home::new();
    let mut up = test_cluster(home.path());
    up.args(["up", "--name", "killed"]).args(node.then_some("--node")).stderr(Stdio::null());
    let mut up = up.process_group(0).spawn().unwrap();
    let dir = home.path().join("killed");
    let started = || std::fs::read_to_string(dir.join("processes")).unwrap_or_default();
    eventually(&format!("{program} starts"), || started().contains(&format!("{program} ")));
    let recorded = started();
    up.kill().unwrap();
    up.wait().unwrap();
    eventually("its folder goes", || !dir.exists());
    eventually("its processes end", || processes(&home.path().file_name().unwrap().to_string_lossy()) == 0);
    for pid in recorded.lines().filter_map(|line| line.split(' ').nth(1)) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{recorded}: {stat}");
    }
    assert_eq!(control_groups("killed"), "");
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "not in a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn control_groups(name: &str) -> String {
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-maxdepth", "2", "-name"]).arg(format!("gitops-{name}-*"));
    String::from_utf8(find.output().unwrap().stdout).unwrap()
}

#[test]
fn a_killed_caller_leaves_nothing_behind() {
    for program in ["etcd", "kube-apiserver", "kube-scheduler"] {
        kill_a_start_after(program, false);
    }
    if can_have_a_node() {
        for program in ["unshare", "holder", "containerd", "kube-proxy"] {
            kill_a_start_after(program, true);
        }
    }
}

fn can_have_a_node() -> bool {
    let user = Command::new("id").arg("-u").output().unwrap();
    std::env::consts::OS == "linux" && String::from_utf8_lossy(&user.stdout).trim() == "0"
}

#[test]
fn a_node_runs_pods_and_goes_without_a_trace() {
    if !can_have_a_node() {
        eprintln!("skipped: a node needs Linux and root");
        return;
    }
    let options = options("node", true);
    let cluster = Cluster::start(&options).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "hello from a pod\n").unwrap();
    let file = |source: PathBuf, target: &str, mode| image::File { source, target: target.into(), mode };
    let archive = dir.path().join("web.tar");
    let web = image::Image {
        name: "localhost/web:1".into(),
        files: vec![
            file("/bin/busybox".into(), "/bin/busybox", 0o755),
            file(dir.path().join("index.html"), "/www/index.html", 0o644),
        ],
        entrypoint: ["/bin/busybox", "httpd", "-f", "-v", "-p", "8080", "-h", "/www"]
            .map(str::to_owned)
            .to_vec(),
        user: "65532".into(),
        with_libraries: false,
    };
    web.write(&archive).unwrap();
    cluster.load_image(&archive).unwrap();
    kubectl(&cluster, "create deployment web --image=localhost/web:1 --replicas=2 --port=8080");
    kubectl(&cluster, "expose deployment web --port=80 --target-port=8080");
    kubectl(&cluster, "rollout status deployment web --timeout=60s");
    let address = kubectl(&cluster, "get service web -o jsonpath={.spec.clusterIP}");
    let answer = (0..20)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(250));
            let pod = kubectl(&cluster, "get pods -o name").lines().next()?.to_owned();
            Some(kubectl(&cluster, &format!("exec {pod} -- /bin/busybox wget -qO- http://{address}")))
                .filter(|answer| !answer.is_empty())
        })
        .unwrap();
    assert_eq!(answer, "hello from a pod\n");
    assert!(kubectl(&cluster, "logs deployment/web --all-pods=true").contains("response:200"));
    cluster.stop().unwrap();

    assert!(!state_dir().join(&options.name).exists());
    assert_eq!(processes(&options.name), 0);
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(&options.name), "{mounts}");
    assert_eq!(control_groups(&options.name), "");
    for path in ["/run/containerd", "/var/lib/cni", "/var/log/containers"] {
        assert!(!Path::new(path).exists() || Path::new("/usr/bin/containerd").exists(), "{path} is left");
    }
}
