//! What can be wrong with certificates that are loaded, and with peers.
use rustls::{AlertDescription, CertificateError};
use std::{fmt, io, path::PathBuf};

/// Why certificates, keys or authorities cannot be used; every message names the file and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    File {
        /// Which; or the name that was given to bytes from elsewhere.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The key does not belong to the certificate.
    Mismatch {
        /// The certificate's file.
        certificates: String,
        /// The key's file.
        key: String,
    },
    /// Settings that contradict each other.
    Settings(&'static str),
    /// The system's certificate authorities cannot be found.
    SystemRoots(String),
    /// rustls cannot work with this.
    Rustls(rustls::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, source } => write!(f, "cannot read {}: {source}", file.display()),
            Self::File { file, problem } => write!(f, "{file}: {problem}"),
            Self::Mismatch { certificates, key } => {
                write!(f, "{key}: this key does not belong to the first certificate in {certificates}")
            }
            Self::Settings(problem) => f.write_str(problem),
            Self::SystemRoots(problem) => write!(
                f,
                "the system's certificate authorities cannot be found ({problem}): install them, or name a CA file"
            ),
            Self::Rustls(source) => write!(f, "TLS cannot be set up: {source}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Rustls(source) => Some(source),
            _ => None,
        }
    }
}

/// What went wrong on a connection. `transmit` still holds the alert that the peer is owed.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    source: rustls::Error,
}

impl Error {
    pub(crate) fn new(source: rustls::Error) -> Self {
        Self { source }
    }

    /// What rustls found.
    pub fn rustls(&self) -> &rustls::Error {
        &self.source
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError::*;
        use rustls::Error as Tls;
        match &self.source {
            Tls::InvalidMessage(_) => write!(f, "the peer does not speak TLS ({})", self.source),
            Tls::NoCertificatesPresented => f.write_str("the peer has no certificate, and one is required"),
            Tls::InvalidCertificate(UnknownIssuer | BadSignature) => f.write_str(
                "no known authority has signed the peer's certificate: name the CA file, or have it signed by a known one",
            ),
            Tls::InvalidCertificate(Expired | ExpiredContext { .. }) => f.write_str("the peer's certificate has expired"),
            Tls::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
                f.write_str("the peer's certificate is not valid yet: check its dates and the clock")
            }
            Tls::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                write!(f, "the peer's certificate is for other names ({})", self.source)
            }
            Tls::AlertReceived(AlertDescription::CertificateRequired) => {
                f.write_str("the peer requires a certificate: name a client certificate and its key")
            }
            Tls::AlertReceived(AlertDescription::UnknownCA) => {
                f.write_str("the peer does not know the authority that has signed our certificate")
            }
            Tls::AlertReceived(AlertDescription::NoApplicationProtocol) | Tls::NoApplicationProtocol => {
                f.write_str("the peers have no application protocol (ALPN) in common")
            }
            other => write!(f, "TLS: {other}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
