//! `test-cluster`: brings clusters up and takes them down.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "data on stdout, talk on stderr")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use gitops_test_cluster::{Cluster, Error, Options, down, image, list};

/// A real Kubernetes for tests and demos, without Docker.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
    /// Where the programs are: what `tests/cluster/build path` prints.
    #[arg(long, global = true, env = "TEST_CLUSTER_PROGRAMS")]
    programs: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Starts a cluster; prints the path of its kubeconfig.
    Up {
        #[arg(long, default_value = "default")]
        name: String,
        /// With a kubelet, containers and Services.
        #[arg(long)]
        node: bool,
    },
    /// Stops a cluster; nothing of it stays.
    Down {
        #[arg(long, default_value = "default")]
        name: String,
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Names the clusters.
    List,
    /// Prints the path of a cluster's kubeconfig.
    Kubeconfig {
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// Prints the address at which a cluster reaches this machine.
    HostAddress {
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// Prints the folder of a cluster's logs.
    Logs {
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// Kills a program of a cluster without a node, and starts it again.
    Restart {
        #[arg(long, default_value = "default")]
        name: String,
        /// etcd, kube-apiserver, kube-controller-manager or kube-scheduler
        program: String,
    },
    /// Loads an image into a cluster's node.
    LoadImage {
        #[arg(long, default_value = "default")]
        name: String,
        archive: PathBuf,
    },
    /// Writes an image.
    BuildImage {
        #[arg(long)]
        name: String,
        /// SOURCE:TARGET[:MODE]
        #[arg(long = "file")]
        files: Vec<String>,
        #[arg(long)]
        entrypoint: String,
        #[arg(long, default_value = "65532")]
        user: String,
        /// With the shared libraries that the files need.
        #[arg(long)]
        with_libs: bool,
        #[arg(short)]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let programs = || arguments.programs.clone().unwrap_or_else(default_programs);
    match &arguments.command {
        Action::Up { name, node } => {
            let start = Instant::now();
            let mut cluster =
                Cluster::start(&Options { name: name.clone(), node: *node, programs: programs() })?;
            cluster.keep();
            eprintln!("cluster {name} is ready after {:.1} s", start.elapsed().as_secs_f64());
            println!("{}", cluster.kubeconfig().display());
        }
        Action::Down { name, all } => {
            let names = if *all { list() } else { vec![name.clone()] };
            let left: Vec<String> = names.into_iter().filter(|name| !take_down(name)).collect();
            if !left.is_empty() {
                return Err(Error::Left(left));
            }
        }
        Action::List => list().iter().for_each(|name| println!("{name}")),
        Action::Kubeconfig { name } => {
            println!("{}", Cluster::open(name, &programs())?.kubeconfig().display())
        }
        Action::HostAddress { name } => println!("{}", Cluster::open(name, &programs())?.host_address()),
        Action::Logs { name } => println!("{}", Cluster::open(name, &programs())?.logs().display()),
        Action::Restart { name, program } => Cluster::open(name, &programs())?.restart(program)?,
        Action::LoadImage { name, archive } => Cluster::open(name, &programs())?.load_image(archive)?,
        Action::BuildImage { name, files, entrypoint, user, with_libs, output } => {
            let files = files.iter().map(|file| place(file)).collect();
            let entrypoint = entrypoint.split_whitespace().map(str::to_owned).collect();
            image::Image {
                name: name.clone(),
                files,
                entrypoint,
                user: user.clone(),
                with_libraries: *with_libs,
            }
            .write(output)?;
        }
    }
    Ok(())
}

/// Says what became of it; true when it is gone.
fn take_down(name: &str) -> bool {
    match down(name) {
        Ok(true) => eprintln!("cluster {name} is gone"),
        Ok(false) => eprintln!("there is no cluster {name}"),
        Err(error) => {
            eprintln!("test-cluster: {error}");
            return false;
        }
    }
    true
}

fn place(text: &str) -> image::File {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or(source);
    let mode = parts.next().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0o644);
    image::File { source: source.into(), target: target.into(), mode }
}

/// What the build script beside this crate says.
fn default_programs() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/build");
    let output = std::process::Command::new(script).arg("path").output();
    output.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default()
}
