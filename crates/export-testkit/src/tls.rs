//! TLS in front of a service, with certificates of an authority that belongs to one test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use uuid::Uuid;

/// A private certificate authority. No system trusts it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// A new authority with a new key.
    pub fn create() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities of one name would be told apart by their signatures alone.
        authority.distinguished_name.push(DnType::CommonName, format!("Authority {}", Uuid::new_v4()));
        let key = KeyPair::generate().unwrap_or_else(|error| panic!("no key: {error}"));
        let certificate = authority.self_signed(&key).unwrap_or_else(|error| panic!("not signed: {error}"));
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let authority = Self { issuer: Issuer::new(authority, key), folder };
        std::fs::write(authority.file(), certificate.pem())
            .unwrap_or_else(|error| panic!("{}: {error}", authority.file()));
        authority
    }

    /// The path of the authority's certificate, in PEM format.
    pub fn file(&self) -> String {
        self.folder.path().join("authority.pem").to_string_lossy().into_owned()
    }

    /// Writes a file next to [`Self::file`]; returns its path.
    pub fn file_with(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(Path::new(name));
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.to_string_lossy().into_owned()
    }

    /// A server's certificate for this name or address, with its key.
    fn acceptor_for(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap_or_else(|error| panic!("no key: {error}"));
        let server = CertificateParams::new([name.to_owned()]);
        let certificate = server.and_then(|server| server.signed_by(&key, &self.issuer));
        let certificate = certificate.unwrap_or_else(|error| panic!("no certificate for {name}: {error}"));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der());
                config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key.into())
            })
            .unwrap_or_else(|error| panic!("the certificate for {name} cannot be used: {error}"));
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A listener that speaks TLS and forwards to a service that does not. Runs on the runtime that
/// starts it and ends with it.
pub struct TlsListener {
    address: SocketAddr,
}

impl TlsListener {
    /// In front of `target` (`host:port`), with a certificate for the listener's own address.
    pub async fn start(authority: &Authority, target: String) -> Self {
        Self::start_as(authority, &IpAddr::from(Ipv4Addr::LOCALHOST).to_string(), target).await
    }

    /// Like [`start`](Self::start), with a certificate for this name instead.
    pub async fn start_as(authority: &Authority, name: &str, target: String) -> Self {
        let acceptor = authority.acceptor_for(name);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port for TLS: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                tokio::spawn(forward(acceptor.clone(), inbound, target.clone()));
            }
        });
        Self { address }
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A client that does not trust the certificate ends the handshake.
async fn forward(acceptor: TlsAcceptor, inbound: TcpStream, target: String) {
    let Ok(mut client) = acceptor.accept(inbound).await else { return };
    let Ok(mut service) = TcpStream::connect(target).await else { return };
    copy_bidirectional(&mut client, &mut service).await.ok();
}
