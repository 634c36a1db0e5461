//! The client's end, and what opens connections.
//!
//! Invariant: a server is verified, its name included, unless that was given up in so many words.
use crate::pipe::{Pipe, pipe_methods};
use crate::{Application, Error, LoadError, Pem, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// Who may stand for a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The authorities that the system trusts.
    #[default]
    System,
    /// These authorities alone.
    Pem(Pem),
    /// Nobody has to: any certificate is accepted, whoever made it and for whatever name. Whoever sits between client and
    /// server can read and change everything. For tests.
    DangerouslyAcceptAnyCertificate,
}

/// How a client behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// What travels inside.
    pub application: Application,
    /// Who may stand for the server.
    pub roots: Roots,
    /// The client's own certificate (with those between it and the root) and its key, for servers that ask for one.
    pub certificate: Option<(Pem, Pem)>,
}

/// Opens connections. It remembers sessions (of 256 servers), so that the next connection to the same server is resumed.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Checks the settings. With [`Roots::System`], reads what the system trusts.
    pub fn new(settings: &ClientSettings) -> Result<Self, LoadError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(LoadError::Rustls)?;
        let builder = match &settings.roots {
            Roots::System => builder.with_root_certificates(system_roots()?),
            Roots::Pem(pem) => builder.with_root_certificates(pem.authorities()?),
            Roots::DangerouslyAcceptAnyCertificate => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            }
        };
        let mut config = match &settings.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain.certificates()?, key.key()?).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        LoadError::Mismatch { certificates: chain.name().to_owned(), key: key.name().to_owned() }
                    }
                    rustls::Error::InvalidCertificate(error) => {
                        chain.wrong(format!("not a usable certificate: {error}"))
                    }
                    error => key.wrong(format!("not a usable key: {error}")),
                })?
            }
        };
        config.alpn_protocols = settings.application.alpn();
        Ok(Self { config: Arc::new(config) })
    }

    /// A new connection to a server of this name or IP address, whose first output is the beginning of the handshake.
    ///
    /// # Errors
    /// The name can be neither a host name nor an address.
    pub fn connect(&self, server_name: &str) -> Result<Client, Error> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| Error::new(rustls::Error::General(format!("`{server_name}` is no name of a server"))))?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(Error::new)?;
        Ok(Client { pipe: Pipe::new(connection.into()) })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

fn system_roots() -> Result<RootCertStore, LoadError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs); // some systems have ancient ones among them
    if roots.is_empty() {
        let problem = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(LoadError::SystemRoots(problem));
    }
    Ok(roots)
}

/// The client's end of one connection.
pub struct Client {
    pipe: Pipe,
}

impl Client {
    pipe_methods!();
}

/// Verifies that the server has the key of its certificate, and nothing about the certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
