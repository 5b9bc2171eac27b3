//! The one way this program makes an HTTP client: its TLS, its credentials, and what it must not do.
//!
//! A client follows no redirect, since a redirect would carry credentials and pages to an address nobody configured.
//! It knows no deadline: whoever sends wraps the whole exchange in one (`tokio::time::timeout`).
//!
//! Errors of `reqwest` print the address, and addresses hold secrets: show them only through [`reason`].
//!
//! ```
//! use slowburn::config::HttpClient;
//! let client = slowburn::http::client(&HttpClient::default()).unwrap();
//! let request = client.get("http://localhost:9090/-/ready").build().unwrap();
//! assert_eq!(request.method(), "GET");
//! ```

mod roots;
mod scrub;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::config::secret::Secret;
use crate::config::{Auth, HttpClient, Tls};

use self::roots::SystemRoots;

pub use self::scrub::{Scrubber, secrets};

/// Why no client can be made of a configuration. Free of secrets.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("{0:?} is not the name of an HTTP header")]
    HeaderName(String),
    #[error("the value of header {0:?} holds characters that HTTP does not allow")]
    HeaderValue(String),
    #[error("the credentials hold characters that HTTP does not allow")]
    Credentials,
    #[error("the CA file holds no usable certificate: {0}")]
    Ca(String),
    #[error("the client's certificate and key cannot be used: {0}")]
    Identity(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// A client with these credentials and certificates. A CA file replaces the system's roots. Those are not read before an
/// https address is connected to; on a machine without any, every such address is refused, and plain http works.
pub fn client(settings: &HttpClient) -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("slowburn/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .default_headers(headers(settings)?)
        .tls_backend_preconfigured(tls(&settings.tls)?);
    builder.build().map_err(|error| ClientError::Tls(reason(error)))
}

/// What went wrong, from the error's innermost cause and without the address.
pub fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What basic authentication sends: a secret, though it does not look like the password.
pub fn basic(username: &str, password: &Secret) -> String {
    BASE64.encode(format!("{username}:{}", password.expose()))
}

fn headers(settings: &HttpClient) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let header = name.parse::<HeaderName>().map_err(|_| ClientError::HeaderName(name.clone()))?;
        let value = sensitive(value.expose()).ok_or_else(|| ClientError::HeaderValue(name.clone()))?;
        headers.insert(header, value);
    }
    let credentials = match &settings.auth {
        Auth::None => return Ok(headers),
        Auth::Bearer(token) => format!("Bearer {}", token.expose()),
        Auth::Basic { username, password } => format!("Basic {}", basic(username, password)),
    };
    headers.insert(AUTHORIZATION, sensitive(&credentials).ok_or(ClientError::Credentials)?);
    Ok(headers)
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn tls(tls: &Tls) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: rustls::Error| ClientError::Tls(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = match &tls.ca_pem {
        Some(pem) => builder.with_root_certificates(authorities(pem)?),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(SystemRoots::new(provider))),
    };
    let mut config = match &tls.identity_pem {
        Some(pem) => {
            let (certificates, key) = identity(pem)?;
            let made = builder.with_client_auth_cert(certificates, key);
            made.map_err(|error| ClientError::Identity(error.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| ClientError::Ca(error.to_string()))?;
        roots.add(certificate).map_err(|error| ClientError::Ca(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(ClientError::Ca("there is no PEM block of a certificate in it".into()));
    }
    Ok(roots)
}

/// The certificate, those that lead from it to its authority, and its key.
fn identity(pem: &Secret) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ClientError> {
    let pem = pem.expose().as_bytes();
    let unusable = |what: &str| ClientError::Identity(format!("there is no {what} in PEM"));
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.ok().filter(|all| !all.is_empty()).ok_or_else(|| unusable("certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable("private key"))?;
    Ok((certificates, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &HttpClient) -> String {
        client(settings).expect_err("must be refused").to_string()
    }

    #[test]
    fn credentials_are_headers_that_do_not_print() {
        let auth = Auth::Basic { username: "Aladdin".into(), password: Secret::new("open sesame".into()) };
        let headers = headers(&HttpClient { auth, ..HttpClient::default() }).unwrap();
        // The example of RFC 7617, section 2.
        assert_eq!(headers[AUTHORIZATION], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{:?}", headers[AUTHORIZATION]), "Sensitive");
    }

    #[test]
    fn broken_settings_are_named_without_their_secrets() {
        let mut settings = HttpClient::default();
        settings.headers.insert("X-Token".into(), Secret::new("hunter2\n".into()));
        assert_eq!(refusal(&settings), "the value of header \"X-Token\" holds characters that HTTP does not allow");

        let tls = Tls { ca_pem: Some(b"no certificate".to_vec()), identity_pem: None };
        let text = refusal(&HttpClient { tls, ..HttpClient::default() });
        assert!(text.starts_with("the CA file holds no usable certificate"), "{text}");

        let tls = Tls { ca_pem: None, identity_pem: Some(Secret::new("hunter2".into())) };
        let text = refusal(&HttpClient { tls, ..HttpClient::default() });
        assert!(text.starts_with("the client's certificate and key cannot be used") && !text.contains("hunter2"));

        let [pem, key, other] = ["first.pem", "first.key", "second.key"].map(|name| {
            std::fs::read_to_string(format!("{}/tests/it/tls/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
        });
        let with = |key: &str| {
            let tls = Tls { ca_pem: None, identity_pem: Some(Secret::new(format!("{pem}{key}"))) };
            client(&HttpClient { tls, ..HttpClient::default() }).map_err(|error| error.to_string())
        };
        assert!(with(&key).is_ok());
        assert_eq!(
            with("").unwrap_err(),
            "the client's certificate and key cannot be used: there is no private key in PEM"
        );
        assert!(with(&other).unwrap_err().starts_with("the client's certificate and key cannot be used"));
    }
}
