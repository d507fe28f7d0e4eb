//! Processes that outlive the one that starts them. Each leaves a line in
//! `processes` (name, pid, start time), so that only what was started here is
//! ever ended, even when a pid has been used again.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Error;

/// Writes its line before it becomes the program: nothing runs that is not
/// recorded, even when the one that starts it is killed meanwhile. Whoever stops
/// the cluster makes `stopping` first and then reads the lines, so that either
/// he finds this one or this one finds that. Arguments: the cluster's folder, a
/// name, and the command.
const RECORDED: &str = r#"
name=$1
shift
record() {
  read -r stat < "/proc/$1/stat"
  pid=$1
  set -- ${stat##*) }
  echo "$name $pid ${20}" >> "$0/processes"
}
record $$ && [ ! -e "$0/stopping" ] && exec "$@"
"#;

pub(crate) struct Processes {
    dir: PathBuf,
    /// The process whose namespaces the others run in.
    pub(crate) holder: Option<u32>,
}

impl Processes {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), holder: None }
    }

    /// Starts a program in the background; its output goes to `logs/NAME.log`.
    pub(crate) fn start(&mut self, name: &str, program: &Path, arguments: &[String]) -> Result<u32, Error> {
        if program.is_absolute() {
            std::fs::metadata(program).map_err(Error::io(program))?;
        }
        let log_path = self.dir.join("logs").join(format!("{name}.log"));
        let log = File::create(&log_path).map_err(Error::io(&log_path))?;
        let again = log.try_clone().map_err(Error::io(&log_path))?;
        let inner = self.command(program);
        let mut command = Command::new("sh");
        command.args(["-c", RECORDED]).arg(&self.dir).arg(name).arg(inner.get_program());
        command.args(inner.get_args()).args(arguments);
        command.stdin(Stdio::null()).stdout(log).stderr(again).process_group(0);
        Ok(command.spawn().map_err(Error::io("sh"))?.id())
    }

    /// A command in the cluster's namespaces, if it has any of its own.
    pub(crate) fn command(&self, program: &Path) -> Command {
        match self.holder {
            None => Command::new(program),
            Some(holder) => inside(holder, program),
        }
    }

    pub(crate) fn remember(&self, name: &str, pid: u32) -> Result<(), Error> {
        let path = self.dir.join("processes");
        let mut file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let started = start_time(pid).unwrap_or_default();
        writeln!(file, "{name} {pid} {started}").map_err(Error::io(&path))
    }
}

/// A command in the network, mounts and processes of `holder`.
pub(crate) fn inside(holder: u32, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &holder.to_string(), "--net", "--mount", "--pid", "--"]).arg(program);
    command
}

/// When a process started, in clock ticks since boot: field 22 of its stat.
/// A process that has ended and waits for its parent counts as gone.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18).map(str::to_owned) }
}

/// What was started, in order: name, pid, start time.
fn started(dir: &Path) -> Vec<(String, u32, String)> {
    let text = std::fs::read_to_string(dir.join("processes")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn runs(pid: u32, since: &str) -> bool {
    start_time(pid).is_some_and(|time| time == since)
}

/// The pid of a process of this cluster, if it runs.
pub(crate) fn pid_of(dir: &Path, name: &str) -> Option<u32> {
    started(dir)
        .into_iter()
        .find(|(known, pid, since)| known == name && runs(*pid, since))
        .map(|(_, pid, _)| pid)
}

/// A process that should run and does not.
pub(crate) fn ended(dir: &Path) -> Option<String> {
    started(dir).into_iter().find(|(_, pid, since)| !runs(*pid, since)).map(|(name, ..)| name)
}

/// Ends all, the last started first: the API server before its etcd. A holder
/// of namespaces takes everything in them along.
pub(crate) fn stop_all(dir: &Path) -> Result<(), Error> {
    // Fails when the folder is gone, and then nothing can start either.
    let _ = File::create(dir.join("stopping"));
    let mut processes = started(dir);
    processes.reverse();
    processes.sort_by_key(|(name, ..)| name != "holder");
    for (name, pid, since) in &processes {
        let grace = if name == "holder" { Duration::ZERO } else { Duration::from_secs(3) };
        end(*pid, since, grace);
    }
    match processes.iter().find(|(_, pid, since)| runs(*pid, since)) {
        Some((name, pid, _)) => Err(Error::Command {
            command: format!("ending {name}"),
            reason: format!("pid {pid} does not end"),
        }),
        None => Ok(()),
    }
}

fn end(pid: u32, since: &str, grace: Duration) {
    let signal = |name: &str| {
        let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
    };
    let start = Instant::now();
    if !grace.is_zero() && runs(pid, since) {
        signal("-TERM");
    }
    while runs(pid, since) && start.elapsed() < grace + Duration::from_secs(10) {
        if start.elapsed() >= grace {
            signal("-KILL");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a process of a cluster and starts the same command again.
pub(crate) fn restart(dir: &Path, name: &str) -> Result<(), Error> {
    let missing =
        || Error::Command { command: format!("restarting {name}"), reason: "it does not run".into() };
    let (_, pid, since) = started(dir)
        .into_iter()
        .find(|(known, pid, since)| known == name && runs(*pid, since))
        .ok_or_else(missing)?;
    let place = format!("/proc/{pid}/cmdline");
    let line = std::fs::read(&place).map_err(Error::io(&place))?;
    let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(Error::io(&place))?;
    let mut arguments: Vec<String> = words.by_ref().skip(1).collect();
    // The line ends with a zero byte.
    arguments.pop();
    end(pid, &since, Duration::ZERO);
    // A process counts as ended before the last of its threads has let go of
    // the port.
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let waiting = Instant::now();
    while threads() > 1 && waiting.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    Processes::new(dir).start(name, &program, &arguments).map(drop)
}

/// Runs a command to its end, a minute at most, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, Error> {
    run_within(Duration::from_secs(60), command)
}

/// Runs a command to its end, or ends it when its time is over.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Result<String, Error> {
    let name = format!(
        "{} {}",
        command.get_program().to_string_lossy(),
        command.get_args().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    );
    let failed = |reason: String| Error::Command { command: name.clone(), reason };
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    // Read beside the wait: a full pipe would stop the command.
    let (output, messages) = (child.stdout.take().map(read), child.stderr.take().map(read));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(error.to_string()))? {
            break status;
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            // Not its output: what it started may hold the pipe open.
            return Err(failed(format!("no end after {:.1} s", limit.as_secs_f64())));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |reader: Option<JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    if status.success() { Ok(text(output)) } else { Err(failed(text(messages).trim().to_owned())) }
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_so_much_time_and_no_more() {
        let shell = |limit: u64, script: &str| {
            run_within(Duration::from_millis(limit), Command::new("sh").args(["-c", script]))
        };
        let start = Instant::now();
        let error = shell(100, "sleep 60").unwrap_err().to_string();
        assert_eq!(error, "sh -c sleep 60: no end after 0.1 s");
        assert!(start.elapsed() < Duration::from_secs(30));
        // More than a pipe holds.
        assert_eq!(shell(30_000, "head -c 1000000 /dev/zero").unwrap().len(), 1_000_000);
        assert_eq!(
            shell(30_000, "echo no >&2; exit 1").unwrap_err().to_string(),
            "sh -c echo no >&2; exit 1: no"
        );
    }
}
