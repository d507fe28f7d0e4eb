//! What the Pods of these tests run. In: a node. Out: its images.

use std::path::Path;
use std::process::Command;

use gitops_tests::NodeCluster;
use gitops_tests::cluster::ran;

/// Images that answer every request with their version; one that has nothing to
/// answer with.
pub fn load(node: &NodeCluster, folder: &Path) {
    for version in ["1", "2", "broken"] {
        let (page, archive) = (folder.join(format!("page-{version}")), folder.join(format!("{version}.tar")));
        std::fs::write(&page, format!("web:{version}\n")).unwrap();
        let program = if version == "broken" { "false" } else { "httpd -f -p 8080 -h /www" };
        let mut build = Command::new(gitops_tests::binary("test-cluster"));
        build.args(["build-image", "--name", &format!("localhost/web:{version}")]);
        build.args(["--file", &format!("{}:/www/index.html", page.display())]);
        build.args(["--file", "/bin/busybox:/bin/busybox:0755", "--file", "/bin/busybox:/bin/sh:0755"]);
        build.args([
            "--entrypoint",
            &format!("/bin/busybox {program}"),
            "-o",
            &archive.display().to_string(),
        ]);
        ran(&mut build, None).ok();
        node.load_image(&archive);
    }
    let (curl, archive) =
        (ran(Command::new("which").arg("curl"), None).ok().stdout, folder.join("client.tar"));
    let mut build = Command::new(gitops_tests::binary("test-cluster"));
    build.args(["build-image", "--name", "localhost/client:1", "--with-libs"]);
    build.args(["--file", &format!("{}:/usr/bin/curl:0755", curl.trim())]);
    build.args(["--file", "/bin/busybox:/bin/busybox:0755", "--file", "/bin/busybox:/bin/sh:0755"]);
    build.args(["--entrypoint", "/bin/sh", "-o", &archive.display().to_string()]);
    ran(&mut build, None).ok();
    node.load_image(&archive);
}
