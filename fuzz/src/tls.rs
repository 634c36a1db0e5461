//! TLS: any bytes to either end, and a conversation in which some bytes are changed on the way.
//!
//! Keys are random, so the same input may take another path the next time; what is promised holds on all of them.
use bytes::BytesMut;
use mqtt_tls::{
    Acceptor, Client, ClientCertificates, ClientSettings, Connector, MAX_PENDING, Material, Pem, Roots, Server,
    ServerSettings, Stage,
};
use std::sync::OnceLock;

/// The most that may wait to be sent; a handshake's certificates are far below the rest.
const MOST: usize = MAX_PENDING + 8 * 1024;

fn ends() -> (Client, Server) {
    static ENDS: OnceLock<(Acceptor, Connector)> = OnceLock::new();
    let (acceptor, connector) = ENDS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = Pem::new("server.pem", made.cert.pem());
        let key = Pem::new("server.key", made.signing_key.serialize_pem());
        let settings =
            ServerSettings { client_certificates: ClientCertificates::Optional, ..ServerSettings::default() };
        let material = Material { certificates: certificate.clone(), key, client_ca: Some(certificate.clone()) };
        let (acceptor, _) = Acceptor::new(settings, &material).expect("it is in order");
        let client = ClientSettings { roots: Roots::Pem(certificate), ..ClientSettings::default() };
        (acceptor, Connector::new(&client).expect("it is in order"))
    });
    (connector.connect("localhost").expect("a name"), acceptor.accept())
}

/// The first byte says what the others are.
pub fn tls(data: &[u8]) {
    let Some((&what, rest)) = data.split_first() else { return };
    match what % 8 {
        0 => changed(rest),
        1..=4 => server_alone(rest, 1 + usize::from(what)),
        _ => client_alone(rest, 1 + usize::from(what)),
    }
}

fn server_alone(input: &[u8], piece: usize) {
    let (_, mut server) = ends();
    let mut plain = BytesMut::new();
    for part in input.chunks(piece) {
        let closed = server.stage() == Stage::Closed;
        let result = server.handle_input(part, &mut plain);
        assert!(!closed || result.is_ok());
        assert!(server.transmit().len() <= MOST);
    }
    assert!(plain.is_empty(), "nothing comes through without a handshake");
    assert_eq!((server.write(&[b"x"]), server.identity()), (0, None));
}

fn client_alone(input: &[u8], piece: usize) {
    let (mut client, _) = ends();
    let mut plain = BytesMut::new();
    for part in input.chunks(piece) {
        let closed = client.stage() == Stage::Closed;
        let result = client.handle_input(part, &mut plain);
        assert!(!closed || result.is_ok());
        assert!(client.transmit().len() <= MOST);
    }
    assert!(plain.is_empty(), "nothing comes through without a handshake");
}

/// A handshake and a few words, in which each triple of bytes changes one byte on its way: 0 to the server or 1 to the
/// client, where, and how.
fn changed(changes: &[u8]) {
    let (mut client, mut server) = ends();
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let mut changes = changes.chunks_exact(3);
    let mut said = false;
    for _ in 0..12 {
        if client.stage() == Stage::Open && !said {
            said = true;
            client.write(&[b"some", b"words"]);
        }
        for direction in 0..2 {
            let mut bytes = if direction == 0 { client.transmit().to_vec() } else { server.transmit().to_vec() };
            if bytes.is_empty() {
                continue;
            }
            if let Some(change) = changes.next()
                && usize::from(change[0] % 2) == direction
            {
                let at = usize::from(change[1]) % bytes.len();
                bytes[at] ^= change[2];
            }
            if direction == 0 {
                client.transmitted(bytes.len());
                let _ = server.handle_input(&bytes, &mut to_server);
            } else {
                server.transmitted(bytes.len());
                let _ = client.handle_input(&bytes, &mut to_client);
            }
        }
    }
    assert!(b"somewords".starts_with(&to_server), "what was changed came through");
    assert!(to_client.is_empty());
}
