//! An authority, a server's certificate and a client's, in a folder of a test's own.

use super::scratch;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use std::fs;
use std::path::PathBuf;

/// `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key`; gone with the test.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn new() -> Self {
        let this = Self(scratch("certificates"));
        fs::create_dir_all(&this.0).expect("a folder");
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "an authority for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        fs::write(this.0.join("ca.key"), key.serialize_pem()).expect("a file");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("a certificate");
        fs::write(this.0.join("ca.pem"), authority.pem()).expect("a file");
        this.issue(&authority, "client", ExtendedKeyUsagePurpose::ClientAuth);
        this.issue(&authority, "server", ExtendedKeyUsagePurpose::ServerAuth);
        this.issue(&authority, "next", ExtendedKeyUsagePurpose::ServerAuth);
        this
    }

    fn issue(&self, authority: &CertifiedIssuer<'_, KeyPair>, name: &str, usage: ExtendedKeyUsagePurpose) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        fs::write(self.0.join(format!("{name}.pem")), certificate.pem()).expect("a file");
        fs::write(self.0.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Puts another certificate of the authority in the place of the server's.
    pub(crate) fn renew(&self) {
        for kind in ["pem", "key"] {
            fs::rename(self.path(&format!("next.{kind}")), self.path(&format!("server.{kind}"))).expect("a file");
        }
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
