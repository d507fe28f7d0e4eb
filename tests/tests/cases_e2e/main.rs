//! Cases that others' tools pass, or fail at: each by name, at the real API
//! server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod closed;
mod delegations;
mod fields;
mod identity;
mod modes;
mod pitfalls;

use gitops_tests::Shop;
use gitops_tests::cluster::Ran;

fn patched(shop: &Shop, what: &str, patch: &str) -> Ran {
    shop.kubectl_args(&["patch", what, "web", "--type=merge", "-p", patch])
}
