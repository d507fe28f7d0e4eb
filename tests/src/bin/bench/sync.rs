//! The plugin beside kubectl, and beside the bare requests that it cannot do
//! without.

use gitops_tests::Repo;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::measured::measured;
use crate::objects::{objects, write_files};
use crate::raw;
use crate::report::{Bench, Pair, pairs as count, timed};

/// What a sync may cost beside the LISTs: their time and a third, and this.
const MARGIN: f64 = 0.1;

/// A repository's sync into namespaces, by us and by others.
struct Case<'a> {
    cluster: &'a Cluster,
    repo: Repo,
    objects: Vec<Value>,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Case<'a> {
    /// `count` objects in files of so many.
    fn new(cluster: &'a Cluster, count: usize, in_one_file: usize) -> Self {
        let (repo, objects) = (Repo::new(), objects(count));
        write_files(&repo.file("app"), &objects, in_one_file);
        repo.commit_all("objects");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Self { cluster, repo, objects, runtime }
    }

    fn arguments<'b>(&self, verb: &'b str, repository: &'b str, namespace: &'b str) -> [&'b str; 7] {
        [verb, "--repo", repository, "--path", "app", "-n", namespace]
    }

    /// Seconds that one of our commands takes.
    fn ours(&self, verb: &str, namespace: &str) -> f64 {
        let repository = self.repo.path().display().to_string();
        let arguments = self.arguments(verb, &repository, namespace);
        timed(1, || assert!(self.cluster.run("kubectl-gitops", &arguments, self.repo.path())))
    }

    /// Seconds and MiB of a sync.
    fn sync_measured(&self, namespace: &str) -> (f64, f64) {
        let repository = self.repo.path().display().to_string();
        let arguments = self.arguments("sync", &repository, namespace);
        measured(self.cluster.command("kubectl-gitops", &arguments, self.repo.path()))
    }

    fn kubectl(&self, arguments: &[&str], namespace: &str) -> f64 {
        let mut all = vec!["-n", namespace];
        all.extend(arguments);
        all.extend(["-f", "app"]);
        timed(1, || assert!(self.cluster.run("kubectl", &all, self.repo.path())))
    }

    fn raw_apply(&self, objects: &[Value], namespace: &str) -> f64 {
        timed(1, || self.runtime.block_on(raw::apply(self.cluster, objects, namespace)))
    }

    fn raw_list(&self, namespace: &str) -> f64 {
        timed(1, || self.runtime.block_on(raw::list(self.cluster, &self.objects, namespace)))
    }

    /// Adds a line to the first object of the first file, and commits.
    fn change(&self, number: usize) {
        let path = self.repo.file("app/00000.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = match text.find("example.com/turn") {
            None => text.replacen("annotations:\n", "annotations:\n    example.com/turn: n0\n", 1),
            Some(at) => {
                let end = at + text[at..].find('\n').unwrap();
                format!("{}example.com/turn: n{number}{}", &text[..at], &text[end..])
            }
        };
        assert_ne!(changed, text);
        std::fs::write(path, changed).unwrap();
        self.repo.commit_all("one change");
    }
}

/// Sync and diff of 1,000 objects, beside kubectl on the same files and beside
/// the bare requests.
pub fn sync(bench: &mut Bench, cluster: &Cluster) {
    let case = Case::new(cluster, 1000, 1);
    let (mut beside_kubectl, mut beside_raw) = (Vec::new(), Vec::new());
    for pair in 0..count() {
        let names = ["ours", "kubectl", "raw"].map(|name| format!("{name}-{pair}"));
        for namespace in &names {
            assert!(cluster.kubectl(&format!("create namespace {namespace}")));
        }
        let mut times = [0.0; 3];
        // In turn, so that none always goes first.
        for turn in (0..3).map(|turn| (turn + pair) % 3) {
            times[turn] = match turn {
                0 => case.ours("sync", &names[0]),
                1 => case.kubectl(&["apply", "--server-side"], &names[1]),
                _ => case.raw_apply(&case.objects, &names[2]),
            };
        }
        beside_kubectl.push((times[0], times[1]));
        beside_raw.push((times[0], times[2]));
        if pair + 1 < count() {
            for namespace in &names {
                cluster.kubectl(&format!("delete namespace {namespace}"));
            }
        }
    }
    bench.report("sync.first.1000", "kubectl-ssa", &beside_kubectl, 2.0);
    // At most 1.5 times the peer's time is a ratio of at least two thirds.
    bench.report("sync.first.1000", "raw-ssa", &beside_raw, 0.67);
    let (a, b) = (format!("ours-{}", count() - 1), format!("kubectl-{}", count() - 1));
    let pairs = |ours: &dyn Fn() -> f64, theirs: &dyn Fn() -> f64| -> Vec<Pair> {
        (0..count()).map(|_| (ours(), theirs())).collect()
    };
    let unchanged = || case.ours("sync", &a);
    let found = pairs(&unchanged, &|| case.kubectl(&["apply", "--server-side"], &b));
    bench.report("sync.unchanged.1000", "kubectl-ssa", &found, 20.0);
    let found = pairs(&unchanged, &|| 1.3 * case.raw_list(&a) + MARGIN);
    bench.report("sync.unchanged.1000", "1.3x-lists+100ms", &found, 1.0);
    let found = pairs(&|| case.ours("diff", &a), &|| case.kubectl(&["diff", "--server-side"], &b));
    bench.report("diff.1000", "kubectl-diff", &found, 20.0);
}

/// 10,000 objects of which one has changed, beside listing them and one PATCH.
pub fn one_change(bench: &mut Bench, cluster: &Cluster) {
    let case = Case::new(cluster, 10_000, 100);
    assert!(cluster.kubectl("create namespace many"));
    case.ours("sync", "many");
    cluster.calms_in("many");
    let note = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}, "data": {}});
    let (mut pairs, mut memory) = (Vec::new(), 0.0_f64);
    for pair in 0..count() {
        case.change(pair + 1);
        let (ours, used) = case.sync_measured("many");
        memory = memory.max(used);
        let mut note = note.clone();
        note["data"]["turn"] = pair.to_string().into();
        pairs.push((ours, case.raw_list("many") + case.raw_apply(&[note], "many")));
    }
    // At most 1.3 times the peer's time.
    bench.report("sync.one-change.10000", "lists+patch", &pairs, 0.77);
    bench.size("sync.memory.10000", memory, 200.0);
}
