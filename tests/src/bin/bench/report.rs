//! What a benchmark prints. In: pairs of times, or a size. Out: a line each, and
//! the same as JSON.

use std::io::Write;
use std::time::Instant;

use serde_json::json;

/// Pairs that run interleaved.
pub const PAIRS: usize = 15;

/// The same for what takes minutes; `BENCH_PAIRS` asks for fewer, for a quick
/// look.
pub fn pairs() -> usize {
    std::env::var("BENCH_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(PAIRS)
}

/// A pair's two times, in seconds.
pub type Pair = (f64, f64);

pub struct Bench {
    pub out: std::fs::File,
}

impl Bench {
    /// Prints one result. `need` is the least ratio of peer to ours.
    pub fn report(&mut self, name: &str, peer: &str, pairs: &[Pair], need: f64) {
        self.line(name, peer, pairs, Some(need));
    }

    /// Prints one result that nothing depends on.
    pub fn compare(&mut self, name: &str, peer: &str, pairs: &[Pair]) {
        self.line(name, peer, pairs, None);
    }

    fn line(&mut self, name: &str, peer: &str, pairs: &[Pair], need: Option<f64>) {
        let mut ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| theirs / ours).collect();
        ratios.sort_by(f64::total_cmp);
        let at = |part: f64| ratios[((ratios.len() - 1) as f64 * part).round() as usize];
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let ours = median(pairs.iter().map(|pair| pair.0).collect());
        let theirs = median(pairs.iter().map(|pair| pair.1).collect());
        let (p25, ratio, p75) = (at(0.25), at(0.5), at(0.75));
        let verdict = need.map(|need| match () {
            () if p25 >= need => "ok",
            () if p75 >= need => "noisy",
            () => "short",
        });
        let judged =
            need.zip(verdict).map_or_else(String::new, |(need, verdict)| format!(" need>={need} {verdict}"));
        println!(
            "bench {name} ours={} peer={peer}:{} ratio={ratio:.2} [p25={p25:.2} p75={p75:.2}] n={}{judged}",
            shown(ours),
            shown(theirs),
            pairs.len()
        );
        let line = json!({"name": name, "ours": ours, "peer": peer, "peerTime": theirs, "ratio": ratio, "p25": p25, "p75": p75, "n": pairs.len(), "need": need, "verdict": verdict});
        writeln!(self.out, "{line}").unwrap();
    }

    /// Prints an amount that has a limit and no peer.
    pub fn amount(&mut self, name: &str, amount: f64, unit: &str, limit: f64) {
        let verdict = if amount <= limit { "ok" } else { "short" };
        println!("bench {name} ours={amount:.1}{unit} need<={limit} {verdict}");
        let line =
            json!({"name": name, "amount": amount, "unit": unit.trim(), "limit": limit, "verdict": verdict});
        writeln!(self.out, "{line}").unwrap();
    }

    /// Prints a time that has a limit and no peer: of these, sorted, the one that
    /// so large a part does not exceed.
    pub fn seconds(&mut self, name: &str, times: &[f64], part: f64, limit: f64) {
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        let (time, p25, p75, n) = (at(part), at(0.25), at(0.75), times.len());
        let verdict = if time <= limit { "ok" } else { "short" };
        println!("bench {name} ours={time:.2}s [p25={p25:.2} p75={p75:.2}] n={n} need<={limit}s {verdict}");
        let line = json!({"name": name, "ours": time, "p25": p25, "p75": p75, "n": n, "limit": limit, "verdict": verdict});
        writeln!(self.out, "{line}").unwrap();
    }

    /// Prints a size that has a limit and no peer.
    pub fn size(&mut self, name: &str, mib: f64, limit: f64) {
        let verdict = if mib <= limit { "ok" } else { "short" };
        println!("bench {name} ours={mib:.1}MiB need<={limit}MiB {verdict}");
        writeln!(self.out, "{}", json!({"name": name, "mib": mib, "limit": limit, "verdict": verdict}))
            .unwrap();
    }
}

fn shown(seconds: f64) -> String {
    if seconds >= 0.01 { format!("{seconds:.2}s") } else { format!("{:.1}us", seconds * 1e6) }
}

/// Seconds of one call, over `times` calls.
pub fn timed(times: u32, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..times).for_each(|_| call());
    start.elapsed().as_secs_f64() / f64::from(times)
}
