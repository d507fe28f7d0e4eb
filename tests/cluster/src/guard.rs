//! Takes a cluster down when the process that started it ends without doing
//! so, whatever ended it. In: a pipe that only this process holds open. Out: at
//! its end, nothing of the cluster is left.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Error;

/// A shell, since it has to outlive the program that this library is in.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
}

/// Its arguments are the cluster's folder and its control groups. The folder
/// may be gone by then, and another of that name may be in its place: only the
/// one it began in counts.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
dir=$1
shift
cd "$dir" || exit
read -r word && exit
: > stopping
since() {
  read -r stat < "/proc/$1/stat" || return
  set -- ${stat##*) }
  [ "$1" = Z ] || echo "${20}"
}
for try in $(seq 100); do
  left=
  while read -r name pid started; do
    [ -n "$started" ] && [ "$(since "$pid")" = "$started" ] && kill -KILL "$pid" && left=1
  done < processes
  [ -n "$left" ] || break
  sleep 0.1
done
for group; do
  for try in $(seq 50); do
    [ -e "$group" ] || break
    find "$group" -depth -type d -exec rmdir {} \;
    sleep 0.02
  done
done
[ . -ef "$dir" ] && rm -rf "$dir"
"#;

impl Guard {
    pub(crate) fn start(dir: &Path, control_groups: &[PathBuf]) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "test-cluster-guard"]).arg(dir).args(control_groups);
        // In a group of its own, a Ctrl-C meant for the caller does not reach it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Ok(Self { shell: command.spawn().map_err(Error::io("sh"))? })
    }

    /// Nothing is left to guard.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut pipe) = self.shell.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}
