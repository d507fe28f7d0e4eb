//! A program that was started. In: its process, what it reads, and how long and
//! how much it may. Out: how it ended and what it printed.

use std::io::{Read, Result, Write};
use std::process::{Child, ExitStatus};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use wait_timeout::ChildExt;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Waits for a program; none: it took longer than `time` and was killed. Of
/// what it prints to a piped stdout or stderr, the first `most` bytes are kept.
///
/// # Errors
/// When it cannot be waited for.
pub(crate) fn wait(mut child: Child, input: &[u8], time: Duration, most: u64) -> Result<Option<Ended>> {
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // One that reads nothing may have ended already.
        spawn(move || stdin.write_all(&input));
    }
    let (stdout, stderr) = (drain(child.stdout.take(), most), drain(child.stderr.take(), most));
    let Some(status) = child.wait_timeout(time)? else {
        let _ = child.kill();
        let _ = child.wait();
        return Ok(None);
    };
    let bytes = |stream: JoinHandle<Vec<u8>>| stream.join().unwrap_or_default();
    Ok(Some(Ended { status, stdout: bytes(stdout), stderr: bytes(stderr) }))
}

fn drain(stream: Option<impl Read + Send + 'static>, most: u64) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let _ = stream.take(most).read_to_end(&mut bytes);
        }
        bytes
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn start(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn both_streams_and_the_input_are_carried() {
        let ended =
            wait(start("cat; echo bad >&2; exit 3"), b"in", Duration::from_secs(20), 1 << 20).unwrap();
        let ended = ended.unwrap();
        assert_eq!((ended.stdout, ended.stderr), (b"in".to_vec(), b"bad\n".to_vec()));
        assert_eq!(ended.status.code(), Some(3));
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        assert!(wait(start("exec sleep 30"), b"", Duration::from_millis(50), 1).unwrap().is_none());
    }

    #[test]
    fn what_prints_without_end_is_cut() {
        let ended = wait(start("head -c 100000 /dev/zero"), b"", Duration::from_secs(20), 10).unwrap();
        assert_eq!(ended.unwrap().stdout.len(), 10);
    }
}
