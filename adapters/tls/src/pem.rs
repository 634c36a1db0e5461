//! Certificates and keys as they lie in files: PEM (RFC 7468).
//!
//! Invariant: every error names the file.
use crate::LoadError;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};

/// The text of a PEM file, and its name for error messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    name: String,
    text: Vec<u8>,
}

impl Pem {
    /// Text from elsewhere, under a name that error messages use.
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, LoadError> {
        let text = std::fs::read(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
        Ok(Self { name: file.display().to_string(), text })
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn wrong(&self, problem: impl Into<String>) -> LoadError {
        LoadError::File { file: self.name.clone(), problem: problem.into() }
    }

    /// The certificates in it: at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, LoadError> {
        let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&self.text).collect();
        let all = all.map_err(|error| self.wrong(format!("broken PEM: {error}")))?;
        if all.is_empty() {
            return Err(self.wrong("no certificate in it; expected `-----BEGIN CERTIFICATE-----`"));
        }
        Ok(all)
    }

    /// The first private key in it: PKCS#8, PKCS#1 (RSA) or SEC1 (EC).
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, LoadError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| match error {
            pem::Error::NoItemsFound if contains(&self.text, b"ENCRYPTED PRIVATE KEY") => {
                self.wrong("the key is protected by a passphrase; store it without one (`openssl pkey -in …`)")
            }
            pem::Error::NoItemsFound => self.wrong("no private key in it; expected `-----BEGIN PRIVATE KEY-----`"),
            error => self.wrong(format!("broken PEM: {error}")),
        })
    }

    /// The authorities in it.
    pub(crate) fn authorities(&self) -> Result<RootCertStore, LoadError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.wrong(format!("not a usable authority: {error}")))?;
        }
        Ok(roots)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl fmt::Debug for Pem {
    /// Without the text, which may be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.name)
    }
}

/// What a server needs: its certificate, the key, and who may sign those of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// The server's certificate, followed by those of the authorities between it and the root.
    pub certificates: Pem,
    /// Its private key.
    pub key: Pem,
    /// The authorities that sign certificates of clients; only with
    /// [`ClientCertificates`](crate::ClientCertificates) other than `Ignored`.
    pub client_ca: Option<Pem>,
}

/// Where a server's [`Material`] lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// See [`Material::certificates`].
    pub certificates: PathBuf,
    /// See [`Material::key`]; it may be the same file.
    pub key: PathBuf,
    /// See [`Material::client_ca`].
    pub client_ca: Option<PathBuf>,
}

impl Files {
    /// Reads them all.
    pub fn read(&self) -> Result<Material, LoadError> {
        Ok(Material {
            certificates: Pem::read(&self.certificates)?,
            key: Pem::read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(Pem::read).transpose()?,
        })
    }
}
