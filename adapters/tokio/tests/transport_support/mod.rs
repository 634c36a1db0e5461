//! Certificates in a folder, and brokers and clients over every transport.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use mqtt_tokio::broker::{
    Broker, BrokerHandle, Builder, ClientCertificates, Config, Files, IdentityFrom, PortSettings, ServerTls,
};
use mqtt_tokio::client::{self, Client, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Long enough for any machine; only a broken test ever waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this should have happened by now")
}

/// A folder with an authority, a server's certificate and a client's, each with its key; gone with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("mqtt-tokio-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let this = Self(folder);
        this.renew();
        this
    }

    /// Makes all of it anew.
    pub fn renew(&self) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(self.0.join("ca.pem"), authority.pem()).unwrap();
        let server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "device-7");
        for (name, mut params, usage) in [
            ("server", server, ExtendedKeyUsagePurpose::ServerAuth),
            ("client", client, ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            std::fs::write(self.0.join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(self.0.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
    }

    pub fn pem(&self, name: &str) -> Pem {
        Pem::read(&self.0.join(name)).unwrap()
    }

    pub fn tls(&self, client_certificates: ClientCertificates) -> ServerTls {
        ServerTls {
            files: Files {
                certificates: self.0.join("server.pem"),
                key: self.0.join("server.key"),
                client_ca: (client_certificates != ClientCertificates::Ignored).then(|| self.0.join("ca.pem")),
            },
            client_certificates,
            identity: IdentityFrom::CommonName,
            identity_as_username: false,
        }
    }

    /// A port at this URL, with TLS where it needs it.
    pub fn port(&self, url: &str, client_certificates: ClientCertificates) -> PortSettings {
        let mut port = PortSettings::new(url.parse().unwrap());
        port.tls = port.endpoint.scheme().is_tls().then(|| self.tls(client_certificates));
        port
    }

    /// A client that trusts the authority.
    pub fn client(&self, url: &str) -> client::Builder {
        Client::builder(url).ca(self.pem("ca.pem"))
    }

    /// The same with a certificate.
    pub fn known_client(&self, url: &str) -> client::Builder {
        self.client(url).client_certificate(self.pem("client.pem"), self.pem("client.key"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn start(builder: Builder) -> (BrokerHandle, String) {
    let broker = soon(builder.start()).await.unwrap();
    let url = broker.endpoints()[0].to_string();
    (broker, url)
}

pub async fn start_at(port: PortSettings) -> (BrokerHandle, String) {
    start(Broker::builder(Config::default()).listen_on(port)).await
}
