//! The daemon's own HTTP server, as it is configured.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::secret::Secret;

/// Where it listens, how it speaks, and who is let in.
#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    /// `None` for plain http.
    pub tls: Option<ServerTls>,
    pub access: Access,
}

/// PEM texts, already read.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The server's own certificate first.
    pub cert_pem: String,
    pub key_pem: Secret,
}

/// Who is let in; everybody if nobody stands here.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Users and the bcrypt hashes of their passwords.
    pub users: BTreeMap<String, Secret>,
    pub bearer_token: Option<Secret>,
}

impl Access {
    /// Whether everybody must say who they are.
    pub fn is_guarded(&self) -> bool {
        !self.users.is_empty() || self.bearer_token.is_some()
    }
}

impl ServerTls {
    /// For TLS 1.2 and 1.3, HTTP/1.1 within it.
    ///
    /// # Errors
    /// Why certificate and key cannot be used; free of both.
    pub fn for_rustls(&self) -> Result<Arc<rustls::ServerConfig>, String> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(self.cert_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| "the certificate file is not PEM throughout".to_owned())?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.expose().as_bytes())
            .map_err(|_| "the key file holds no private key in PEM".to_owned())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
                error => error.to_string(),
            })?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(tls))
    }
}
