//! A process on its way. In: a command. Out: how long it took, and the most
//! memory it held.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at its memory.
const LOOK: Duration = Duration::from_millis(2);

/// Seconds, and MiB: the high-water mark of the process itself, as the kernel
/// keeps it.
pub fn measured(mut command: Command) -> (f64, f64) {
    let (start, mut most) = (Instant::now(), 0.0_f64);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        most = most.max(high_water(child.id()).unwrap_or_default());
        std::thread::sleep(LOOK);
    };
    assert!(status.success(), "{command:?}: {status}");
    (start.elapsed().as_secs_f64(), most)
}

/// None when it has ended.
fn high_water(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
