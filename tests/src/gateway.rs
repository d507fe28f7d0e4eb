//! The Gateway API's definitions, as its Go module has them. In: a cluster. Out:
//! the cluster with HTTPRoute and GRPCRoute.

use std::path::Path;
use std::process::Command;

use crate::cluster::{TestCluster, ran};

const MODULE: &str = "sigs.k8s.io/gateway-api@v1.4.0";

/// Installs the definitions of routes.
///
/// # Panics
/// When the module cannot be had, or the cluster does not take them.
pub fn install(cluster: &TestCluster) {
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", MODULE]).env("GOTOOLCHAIN", "local").current_dir("/");
    let module = ran(&mut go, None).ok().json();
    let folder = Path::new(module["Dir"].as_str().expect("go says where it is")).join("config/crd/standard");
    for kind in ["httproutes", "grpcroutes"] {
        let file = folder.join(format!("gateway.networking.k8s.io_{kind}.yaml"));
        cluster.kubectl(&format!("apply --server-side --force-conflicts -f {}", file.display())).ok();
        cluster.serves(&format!("{kind}.gateway.networking.k8s.io"));
    }
}
