//! What a tool may do while it renders. In: a command, and the folders it may
//! read and write. Out: the running process, without network, without any
//! other file of the user's, with bounded memory and time on the processor.
//!
//! On Linux by Landlock, seccomp and resource limits, none of which needs a
//! privilege; they are put on a thread of its own, which the child inherits
//! from. Elsewhere only the environment is bare.

use std::path::Path;
use std::process::{Child, Command};

/// The folders that a tool needs.
pub(super) struct Reach<'a> {
    pub read: &'a [&'a Path],
    pub write: &'a Path,
    /// Other programs that it may start, which are as confined as it is.
    pub run: &'a [&'a Path],
}

#[cfg(not(target_os = "linux"))]
pub(super) fn spawn(command: &mut Command, _: &Path, _: &Reach<'_>) -> std::io::Result<Child> {
    command.spawn()
}

#[cfg(target_os = "linux")]
pub(super) fn spawn(command: &mut Command, tool: &Path, reach: &Reach<'_>) -> std::io::Result<Child> {
    let child = std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            linux::files(tool, reach).map_err(std::io::Error::other)?;
            linux::calls().map_err(std::io::Error::other)?;
            command.spawn()
        });
        confined.join().unwrap_or_else(|_| Err(std::io::Error::other("the process could not be confined")))
    })?;
    linux::limits(&child);
    Ok(child)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Child;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        path_beneath_rules,
    };
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule};

    use super::Reach;

    /// The newest Landlock that is asked for; older kernels do what they can.
    const LANDLOCK: ABI = ABI::V5;
    /// Where programs and their libraries are.
    const SYSTEM: [&str; 7] = ["/usr", "/bin", "/lib", "/lib64", "/opt", "/nix", "/etc/ld.so.cache"];
    /// What Go's and libc's start-up read and write.
    const START: [&str; 3] = ["/proc", "/sys/kernel/mm", "/dev/urandom"];
    const MEMORY: u64 = 2 << 30;
    const FILE: u64 = 256 << 20;
    const PROCESSOR_SECONDS: u64 = 120;

    pub(super) fn files(tool: &Path, reach: &Reach<'_>) -> Result<(), RulesetError> {
        let read = AccessFs::from_read(LANDLOCK);
        let data = AccessFs::ReadFile | AccessFs::ReadDir;
        let all = AccessFs::from_all(LANDLOCK);
        Ruleset::default()
            .handle_access(all)?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .create()?
            .add_rules(path_beneath_rules(SYSTEM, read))?
            .add_rules(path_beneath_rules([tool], read))?
            .add_rules(path_beneath_rules(reach.run, read))?
            .add_rules(path_beneath_rules(START, data))?
            .add_rules(path_beneath_rules(["/dev/null"], data | AccessFs::WriteFile | AccessFs::Truncate))?
            .add_rules(path_beneath_rules(reach.read, data))?
            .add_rules(path_beneath_rules([reach.write], all & !AccessFs::Execute))?
            .restrict_self()?;
        Ok(())
    }

    /// No sockets, no ways around that, nothing that looks into other processes
    /// or changes mounts.
    pub(super) fn calls() -> Result<(), seccompiler::Error> {
        let rules: BTreeMap<i64, Vec<SeccompRule>> = [
            libc::SYS_socket,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
        ]
        .map(|call| (call, Vec::new()))
        .into();
        let refuse = SeccompAction::Errno(libc::EACCES.unsigned_abs());
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)
    }

    /// The child is what a full memory ends, not this process.
    pub(super) fn limits(child: &Child) {
        let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
        for (resource, limit) in [
            (Resource::Data, MEMORY),
            (Resource::Fsize, FILE),
            (Resource::Cpu, PROCESSOR_SECONDS),
            (Resource::Core, 0),
        ] {
            // One that has ended already needs no limit.
            let _ = prlimit(Some(pid), resource, Rlimit { current: Some(limit), maximum: Some(limit) });
        }
        let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
    }
}
