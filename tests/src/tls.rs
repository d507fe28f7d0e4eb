//! TLS in front of a plain server, by an authority that nobody knows. In: the
//! server's address. Out: another address, and the authority's certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Background;

/// Not 127.0.0.1: to that one, some clients speak no TLS.
const HOST: &str = "127.0.0.2";

/// It ends when this value is dropped.
#[derive(Debug)]
pub struct Tls {
    address: SocketAddr,
    /// In PEM.
    pub authority: String,
    _background: Background,
}

impl Tls {
    /// Takes connections and gives them on to `server`.
    ///
    /// # Panics
    /// When there is no port.
    pub fn before(server: SocketAddr) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![key.cert.der().clone()], private).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let background = Background::new(1);
        let listener = background.block_on(TcpListener::bind((HOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        background.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outer = acceptor.accept(stream).await?;
                    let mut inner = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
        Self { address, authority: key.cert.pem(), _background: background }
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same URL, through here.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }
}
