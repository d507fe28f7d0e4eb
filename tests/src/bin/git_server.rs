//! `git-server ROOT LISTEN`: serves the bare repositories under ROOT over
//! HTTP until its stdin ends or it is stopped. Used by the demo.
#![allow(clippy::print_stdout, reason = "prints the address it serves at, once")]

use std::path::Path;
use std::process::ExitCode;

use gitops_tests::GitServer;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, listen] = arguments.as_slice() else {
        println!("usage: git-server ROOT LISTEN");
        return ExitCode::from(2);
    };
    match GitServer::start(Path::new(root), listen, None) {
        Ok(server) => {
            println!("{}", server.address());
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            println!("git-server: {listen}: {error}");
            ExitCode::FAILURE
        }
    }
}
