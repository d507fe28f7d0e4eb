//! etcd, API server, controller manager and scheduler.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::Error;
use crate::claim;
use crate::process::Processes;

/// Where the cluster listens.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) ip: String,
    pub(crate) api: u16,
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) controllers: u16,
    pub(crate) scheduler: u16,
}

/// Free ports of this machine's loopback, which stay this cluster's: some
/// programs listen only seconds later.
pub(crate) fn loopback(dir: &Path) -> Result<Address, Error> {
    let _lock = claim::choice(dir)?;
    let taken = claim::ports_of_others(dir);
    let free = |port: &u16| !taken.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // The kernel gives none of these to connections. Clusters with another
    // home know nothing of this one: they hardly begin at the same port.
    let first = std::process::id() % 1_000 * 10;
    let ports: Vec<u16> =
        (0..10_000).map(|n| 20_000 + ((first + n) % 10_000) as u16).filter(free).take(5).collect();
    let [api, etcd, etcd_peer, controllers, scheduler] = ports[..] else {
        return Err(Error::NoneFree("port from 20000 to 29999"));
    };
    write(&dir.join("ports"), &ports.iter().map(|port| format!("{port}\n")).collect::<String>())?;
    Ok(Address { ip: "127.0.0.1".into(), api, etcd, etcd_peer, controllers, scheduler })
}

/// Users of the token file; only this cluster knows the tokens.
const USERS: [(&str, &str, &str); 4] = [
    ("admin", "admin", "system:masters"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node", "system:nodes"),
];

pub(crate) fn start(
    processes: &mut Processes,
    dir: &Path,
    programs: &Path,
    address: &Address,
) -> Result<(), Error> {
    let pki = dir.join("pki");
    std::fs::create_dir_all(&pki).map_err(Error::io(&pki))?;
    certificates(&pki)?;
    let mut tokens = String::new();
    for (file, user, group) in USERS {
        let token = random()?;
        tokens.push_str(&format!("{token},{user},{user},\"{group}\"\n"));
        kubeconfig(dir, file, &token, address)?;
    }
    write(&pki.join("tokens.csv"), &tokens)?;
    let audit = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]});
    write(&pki.join("audit.json"), &audit.to_string())?;

    let client = format!("http://{}:{}", address.ip, address.etcd);
    let peer = format!("http://{}:{}", address.ip, address.etcd_peer);
    let etcd = [
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
    ];
    program(processes, programs, "etcd", &etcd)?;
    let file = |name: &str| pki.join(name).display().to_string();
    let api_server = [
        format!("--etcd-servers={client}"),
        format!("--secure-port={}", address.api),
        format!("--bind-address={}", if address.ip == "127.0.0.1" { "127.0.0.1" } else { "0.0.0.0" }),
        format!("--advertise-address={}", if address.ip == "127.0.0.1" { "192.0.2.1" } else { &address.ip }),
        format!("--cert-dir={}", pki.display()),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--client-ca-file={}", file("clients-ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file("service-account.pub")),
        format!("--service-account-signing-key-file={}", file("service-account.key")),
        "--authorization-mode=RBAC,Node".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--allow-privileged".into(),
        "--enable-aggregator-routing".into(),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        format!("--audit-policy-file={}", file("audit.json")),
        format!("--audit-log-path={}", dir.join("logs/audit.log").display()),
        "--audit-log-maxsize=100".into(),
        "--audit-log-maxbackup=1".into(),
        "--shutdown-delay-duration=0s".into(),
    ];
    program(processes, programs, "kube-apiserver", &api_server)
}

pub(crate) fn start_controllers(
    processes: &mut Processes,
    dir: &Path,
    programs: &Path,
    address: &Address,
) -> Result<(), Error> {
    let kubeconfig = |user: &str| dir.join("pki").join(format!("{user}.kubeconfig")).display().to_string();
    let pki = dir.join("pki");
    let common = |user: &str, port: u16| {
        vec![
            format!("--kubeconfig={}", kubeconfig(user)),
            format!("--authentication-kubeconfig={}", kubeconfig(user)),
            format!("--authorization-kubeconfig={}", kubeconfig(user)),
            format!("--secure-port={port}"),
            format!("--bind-address={}", address.ip),
            format!("--cert-dir={}", pki.join(user).display()),
            "--leader-elect=false".to_owned(),
            // With the usual 20 a second, they spend 5 s on their accounts alone.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ]
    };
    let mut controllers = common("controllers", address.controllers);
    controllers.extend([
        "--use-service-account-credentials".into(),
        format!("--service-account-private-key-file={}", pki.join("service-account.key").display()),
        format!("--root-ca-file={}", pki.join("apiserver.crt").display()),
        // Instead of every 15 s.
        "--horizontal-pod-autoscaler-sync-period=1s".into(),
    ]);
    program(processes, programs, "kube-controller-manager", &controllers)?;
    program(processes, programs, "kube-scheduler", &common("scheduler", address.scheduler))
}

/// Starts one of the programs in the multi-call binary.
pub(crate) fn program(
    processes: &mut Processes,
    programs: &Path,
    name: &str,
    arguments: &[String],
) -> Result<(), Error> {
    let mut all = vec![name.to_owned()];
    all.extend_from_slice(arguments);
    processes.start(name, &programs.join("k8s"), &all).map(drop)
}

/// The key that signs service account tokens, and the pair by which the API
/// server calls the kubelet.
fn certificates(pki: &Path) -> Result<(), Error> {
    let tokens = KeyPair::generate()?;
    write(&pki.join("service-account.key"), &tokens.serialize_pem())?;
    write(&pki.join("service-account.pub"), &tokens.public_key_pem())?;
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "kubelet-clients");
    write(&pki.join("kubelet-ca.crt"), &ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::from_params(&ca, &ca_key);
    client_certificate(pki, "kubelet-client", ("kube-apiserver", ""), &issuer)?;
    // By which people may log in as well.
    let users_key = KeyPair::generate()?;
    let mut users = CertificateParams::default();
    users.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    users.distinguished_name.push(DnType::CommonName, "clients");
    write(&pki.join("clients-ca.crt"), &users.self_signed(&users_key)?.pem())?;
    let issuer = Issuer::from_params(&users, &users_key);
    client_certificate(pki, "admin", ("admin", "system:masters"), &issuer)
}

/// The certificate of a user and its key, in files of this name.
fn client_certificate(
    pki: &Path,
    file: &str,
    (user, group): (&str, &str),
    issuer: &Issuer<'_, &KeyPair>,
) -> Result<(), Error> {
    let key = KeyPair::generate()?;
    let mut client = CertificateParams::default();
    client.distinguished_name.push(DnType::CommonName, user);
    if !group.is_empty() {
        client.distinguished_name.push(DnType::OrganizationName, group);
    }
    client.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    write(&pki.join(format!("{file}.crt")), &client.signed_by(&key, issuer)?.pem())?;
    write(&pki.join(format!("{file}.key")), &key.serialize_pem())
}

/// 128 bits from the system's generator, by way of a fresh key.
fn random() -> Result<String, Error> {
    use sha2::Digest;
    Ok(hex::encode(&sha2::Sha256::digest(KeyPair::generate()?.serialize_der())[..16]))
}

fn kubeconfig(dir: &Path, user: &str, token: &str, address: &Address) -> Result<(), Error> {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{}:{}", address.ip, address.api),
            "certificate-authority": dir.join("pki/apiserver.crt"),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
    });
    let path = if user == "admin" {
        dir.join("kubeconfig")
    } else {
        dir.join("pki").join(format!("{user}.kubeconfig"))
    };
    write(&path, &text.to_string())
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::io(path))
}
