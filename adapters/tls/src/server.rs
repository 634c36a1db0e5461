//! The server's end, and what accepts connections with certificates that can be replaced.
//!
//! Invariant: what replaces certificates is known to work before anybody is served with it.
use crate::pipe::{Pipe, pipe_methods};
use crate::{Application, IdentityFrom, LoadError, Material, identity, provider};
use rustls::server::{NoClientAuth, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{InconsistentKeys, ServerConfig, ServerConnection};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Sessions of TLS 1.2 that can be resumed; those of 1.3 are kept by the clients, in tickets.
const SESSIONS: usize = 4096;

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for.
    #[default]
    Ignored,
    /// They may: who shows one that is not valid is refused.
    Optional,
    /// They must.
    Required,
}

/// How a server behaves; what it needs for that is its [`Material`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// What travels inside.
    pub application: Application,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// Which part of a client's certificate is its identity.
    pub identity: IdentityFrom,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The names that the server's certificate is for.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970; `None` if that cannot be read.
    pub not_after: Option<u64>,
}

/// Accepts connections. Its certificates can be replaced at any time; connections that are there keep those that they began
/// with.
pub struct Acceptor {
    settings: ServerSettings,
    current: RwLock<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Checks the material and makes an acceptor of it.
    pub fn new(settings: ServerSettings, material: &Material) -> Result<(Self, Loaded), LoadError> {
        let (config, loaded) = configure(settings, material)?;
        Ok((Self { settings, current: RwLock::new(config) }, loaded))
    }

    /// Checks material without using it.
    pub fn check(settings: ServerSettings, material: &Material) -> Result<Loaded, LoadError> {
        configure(settings, material).map(|(_, loaded)| loaded)
    }

    /// Replaces the certificates for the connections to come, at once. Sessions from before cannot be resumed: a client that
    /// an authority no longer stands for must not come in by an old one.
    ///
    /// # Errors
    /// Something is wrong with the material: the old one stays in use.
    pub fn replace(&self, material: &Material) -> Result<Loaded, LoadError> {
        let (config, loaded) = configure(self.settings, material)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(loaded)
    }

    /// A new connection.
    pub fn accept(&self) -> Server {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        // What could fail is checked by `configure`, which makes a connection as well.
        let connection = ServerConnection::new(config).expect("the configuration was tried");
        Server { pipe: Pipe::new(connection.into()), identity: self.settings.identity }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn configure(settings: ServerSettings, material: &Material) -> Result<(Arc<ServerConfig>, Loaded), LoadError> {
    let Material { certificates: chain, key, client_ca } = material;
    let provider = provider();
    let verifier = match (settings.client_certificates, client_ca) {
        (ClientCertificates::Ignored, None) => Arc::new(NoClientAuth),
        (ClientCertificates::Ignored, Some(_)) => {
            return Err(LoadError::Settings(
                "a CA for clients is named, but their certificates are not asked for: make them optional or required",
            ));
        }
        (_, None) => {
            return Err(LoadError::Settings("certificates of clients are asked for: name the CA that signs them"));
        }
        (wanted, Some(authorities)) => {
            let roots = Arc::new(authorities.authorities()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let verifier =
                if wanted == ClientCertificates::Optional { verifier.allow_unauthenticated() } else { verifier };
            verifier.build().map_err(|error| authorities.wrong(error.to_string()))?
        }
    };
    let certificates = chain.certificates()?;
    let (names, not_after) = identity::summary(&certificates[0]);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(LoadError::Rustls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key.key()?)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                LoadError::Mismatch { certificates: chain.name().to_owned(), key: key.name().to_owned() }
            }
            rustls::Error::InvalidCertificate(error) => chain.wrong(format!("not a usable certificate: {error}")),
            error => key.wrong(format!("not a usable key: {error}")),
        })?;
    config.alpn_protocols = settings.application.alpn();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(LoadError::Rustls)?;
    let config = Arc::new(config);
    ServerConnection::new(Arc::clone(&config)).map_err(LoadError::Rustls)?;
    Ok((config, Loaded { names, not_after }))
}

/// The server's end of one connection.
pub struct Server {
    pipe: Pipe,
    identity: IdentityFrom,
}

impl Server {
    pipe_methods!();

    /// Who the client is by its certificate, which was verified; `None` before the handshake is done, without a certificate,
    /// and if it has no such part. Reads the certificate each time.
    pub fn identity(&self) -> Option<String> {
        self.pipe.peer_certificate().and_then(|certificate| self.identity.read(certificate))
    }
}
