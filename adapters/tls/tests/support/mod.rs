//! Authorities and certificates, made anew for each test.
#![allow(dead_code)] // each test program uses a part of it
use bytes::BytesMut;
use mqtt_tls::{
    Acceptor, Client, ClientSettings, Connector, Error, Material, Pem, Roots, Server, ServerSettings, Stage,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
#[derive(Clone)]
pub struct Issued {
    pub certificate: Pem,
    pub key: Pem,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> Pem {
        Pem::new("ca.pem", self.0.pem())
    }

    pub fn server(&self, name: &str) -> Issued {
        self.issue("server", CertificateParams::new([name.to_owned()]).unwrap(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self, common_name: &str, alternative: &[SanType]) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = alternative.to_vec();
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.issue("client", params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub fn issue(&self, name: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Issued {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            certificate: Pem::new(format!("{name}.pem"), certificate.pem()),
            key: Pem::new(format!("{name}.key"), key.serialize_pem()),
            der: certificate.der().to_vec(),
        }
    }
}

impl Issued {
    pub fn material(&self, client_ca: Option<Pem>) -> Material {
        Material { certificates: self.certificate.clone(), key: self.key.clone(), client_ca }
    }
}

pub fn acceptor(settings: ServerSettings, material: &Material) -> Acceptor {
    Acceptor::new(settings, material).unwrap().0
}

pub fn connector(ca: &Authority, own: Option<&Issued>) -> Connector {
    let certificate = own.map(|own| (own.certificate.clone(), own.key.clone()));
    Connector::new(&ClientSettings { roots: Roots::Pem(ca.pem()), certificate, ..ClientSettings::default() }).unwrap()
}

/// Carries everything both ways until both are silent; the first error of either end is the result, the client's first.
pub fn carry(
    client: &mut Client,
    server: &mut Server,
    to_client: &mut BytesMut,
    to_server: &mut BytesMut,
) -> Result<(), Error> {
    let (mut at_client, mut at_server) = (Ok(()), Ok(()));
    while !client.transmit().is_empty() || !server.transmit().is_empty() {
        let result = server.handle_input(client.transmit(), to_server);
        client.transmitted(client.transmit().len());
        at_server = at_server.and(result);
        let result = client.handle_input(server.transmit(), to_client);
        server.transmitted(server.transmit().len());
        at_client = at_client.and(result);
    }
    at_client.and(at_server)
}

/// A handshake with `localhost`.
pub fn shake(acceptor: &Acceptor, connector: &Connector) -> Result<(Client, Server), Error> {
    let (mut client, mut server) = (connector.connect("localhost").unwrap(), acceptor.accept());
    carry(&mut client, &mut server, &mut BytesMut::new(), &mut BytesMut::new())?;
    assert_eq!((client.stage(), server.stage()), (Stage::Open, Stage::Open));
    Ok((client, server))
}
