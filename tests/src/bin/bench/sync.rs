//! The plugin beside kubectl.

use gitops_tests::Repo;

use crate::cluster::Cluster;
use crate::objects::objects;
use crate::report::{Bench, PAIRS, Pair, timed};

/// Sync and diff of 1,000 objects, beside kubectl on the same files.
pub fn sync(bench: &mut Bench, cluster: &Cluster) {
    let repo = Repo::new();
    for (n, object) in objects(1000).into_iter().enumerate() {
        let path = repo.file(&format!("app/{n:04}.yaml"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, serde_saphyr::to_string(&object).unwrap()).unwrap();
    }
    repo.commit_all("a thousand objects");
    let repository = repo.path().display().to_string();
    let ours = |verb: &str, namespace: &str| {
        timed(1, || {
            cluster.run(
                "kubectl-gitops",
                &[verb, "--repo", &repository, "--path", "app", "-n", namespace],
                repo.path(),
            );
        })
    };
    let theirs = |arguments: &[&str], namespace: &str| {
        timed(1, || {
            let mut all = vec!["-n", namespace];
            all.extend(arguments);
            all.extend(["-f", "app"]);
            cluster.run("kubectl", &all, repo.path());
        })
    };
    let mut first = Vec::new();
    for pair in 0..PAIRS {
        let (a, b) = (format!("a{pair}"), format!("b{pair}"));
        for namespace in [&a, &b] {
            assert!(cluster.kubectl(&format!("create namespace {namespace}")));
        }
        // In turn, so that neither always goes first.
        let (mine, other) = if pair % 2 == 0 {
            let mine = ours("sync", &a);
            (mine, theirs(&["apply", "--server-side"], &b))
        } else {
            let other = theirs(&["apply", "--server-side"], &b);
            (ours("sync", &a), other)
        };
        first.push((mine, other));
        if pair + 1 < PAIRS {
            for namespace in [&a, &b] {
                cluster.kubectl(&format!("delete namespace {namespace}"));
            }
        }
    }
    bench.report("sync.first.1000", "kubectl-ssa", &first, 2.0);
    let (a, b) = (format!("a{}", PAIRS - 1), format!("b{}", PAIRS - 1));
    let unchanged: Vec<Pair> =
        (0..PAIRS).map(|_| (ours("sync", &a), theirs(&["apply", "--server-side"], &b))).collect();
    bench.report("sync.unchanged.1000", "kubectl-ssa", &unchanged, 20.0);
    let diff: Vec<Pair> =
        (0..PAIRS).map(|_| (ours("diff", &a), theirs(&["diff", "--server-side"], &b))).collect();
    bench.report("diff.1000", "kubectl-diff", &diff, 20.0);
}
