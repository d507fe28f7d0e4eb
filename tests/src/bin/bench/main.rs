//! The benchmarks, each beside a peer in the same run: interleaved pairs, the
//! median of their ratios with quartiles. Out: a line each, and
//! `target/bench.jsonl`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool: what is missing ends it"
)]

mod cluster;
mod objects;
mod report;
mod sync;
mod verdict;
mod webhook;

use crate::cluster::{Cluster, binary};
use crate::report::Bench;

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let target = binary("bench").parent().unwrap().parent().unwrap().to_owned();
    let mut bench = Bench { out: std::fs::File::create(target.join("bench.jsonl")).unwrap() };
    if wanted("verdict") {
        verdict::verdict(&mut bench);
    }
    if wanted("index") {
        verdict::index_size(&mut bench);
    }
    if wanted("sync") || wanted("diff") || wanted("https") || wanted("webhook") {
        let cluster = Cluster::up();
        if wanted("sync") || wanted("diff") {
            sync::sync(&mut bench, &cluster);
        }
        if wanted("https") || wanted("webhook") {
            webhook::webhook(&mut bench, &cluster);
        }
    }
}
