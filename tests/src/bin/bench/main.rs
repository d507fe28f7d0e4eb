//! The benchmarks, each beside a peer in the same run: interleaved pairs, the
//! median of their ratios with quartiles. Out: a line each, and
//! `target/bench.jsonl`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool: what is missing ends it")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool: it prints its results")]

mod cluster;
mod controller;
mod large;
mod measured;
mod monorepo;
mod objects;
mod raw;
mod report;
mod rollout;
mod sync;
mod verdict;
mod webhook;

use crate::cluster::{Cluster, binary};
use crate::report::Bench;

type Part = fn(&mut Bench);

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
    if wanted("render") {
        monorepo::monorepo(&mut bench);
    }
    // Minutes and gigabytes: only where it is asked for by its name.
    if only.iter().any(|name| name == "large-repository") {
        large::large(&mut bench);
    }
    let parts: [(&str, Part); 8] = [
        ("controller.push", controller::push),
        ("controller.first", controller::first),
        ("controller.memory", controller::size),
        ("controller.clusters", controller::clusters),
        ("controller.poll", controller::poll),
        ("rollout.reaction", rollout::reaction),
        ("rollout.idle", rollout::idle),
        ("rollout.active", rollout::active),
    ];
    for (name, part) in parts.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("{name}");
        part(&mut bench);
    }
    let (many, large) = (wanted("sync.1000") || wanted("diff"), wanted("sync.10000"));
    let served = wanted("https") || wanted("webhook");
    if many || large || served {
        let cluster = Cluster::up();
        if many {
            sync::sync(&mut bench, &cluster);
        }
        if large {
            sync::one_change(&mut bench, &cluster);
        }
        if served {
            webhook::webhook(&mut bench, &cluster);
        }
    }
}
