//! All transports through one face: what goes in comes out, within bounds, and good-byes arrive.
use bytes::BytesMut;
use mqtt_pipes::tls::{ClientCertificates, Files, IdentityFrom, Pem, Roots};
use mqtt_pipes::{
    ClientPipe, PipeError, Port, PortSettings, Served, ServerPipe, ServerTls, SetupError, Stage, Transport,
    TransportSettings,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// A folder with a certificate for `localhost`, its key, and one for clients of the same authority: itself.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("mqtt-pipes-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let this = Self(folder);
        this.renew();
        this
    }

    /// Makes new ones.
    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.0.join("server.pem"), made.cert.pem()).unwrap();
        std::fs::write(self.0.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    }

    fn pem(&self, name: &str) -> Pem {
        Pem::read(&self.0.join(name)).unwrap()
    }

    fn tls(&self) -> ServerTls {
        ServerTls {
            files: Files {
                certificates: self.0.join("server.pem"),
                key: self.0.join("server.key"),
                client_ca: Some(self.0.join("server.pem")),
            },
            client_certificates: ClientCertificates::Optional,
            identity: IdentityFrom::SubjectAltName,
            identity_as_username: false,
        }
    }

    fn port(&self, url: &str) -> Port {
        let mut settings = PortSettings::new(url.parse().unwrap());
        settings.tls = settings.endpoint.scheme().is_tls().then(|| self.tls());
        Port::open(settings).unwrap().0
    }

    fn transport(&self, url: &str) -> Transport {
        let certificate = Some((self.pem("server.pem"), self.pem("server.key")));
        let roots = Roots::Pem(self.pem("server.pem"));
        let settings = TransportSettings { roots, certificate, ..TransportSettings::default() };
        Transport::new(url.parse().unwrap(), &settings).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn accept(port: &Port) -> Box<ServerPipe> {
    match port.accept(Some(Ipv4Addr::LOCALHOST.into())) {
        Ok(Served::Piped(pipe)) => pipe,
        _ => panic!("it needs a pipe"),
    }
}

/// Carries up to `piece` bytes each way.
fn exchange(
    client: &mut ClientPipe,
    server: &mut ServerPipe,
    piece: usize,
    came: &mut [BytesMut; 2],
) -> Result<(), PipeError> {
    let bytes = client.transmit().len().min(piece);
    let at_server = server.handle_input(&client.transmit()[..bytes], &mut came[0]);
    client.transmitted(bytes);
    let bytes = server.transmit().len().min(piece);
    let at_client = client.handle_input(&server.transmit()[..bytes], &mut came[1]);
    server.transmitted(bytes);
    at_server.and(at_client)
}

fn open(client: &mut ClientPipe, server: &mut ServerPipe, piece: usize) {
    let mut came = Default::default();
    for _ in 0..10_000 {
        if client.stage() == Stage::Open && server.stage() == Stage::Open {
            return;
        }
        if client.stage() == Stage::Handshake {
            assert_eq!((client.write(&[b"early"]), client.room()), (0, 0), "not before all layers agree");
        }
        exchange(client, server, piece, &mut came).unwrap();
    }
    panic!("no handshake: {:?} {:?}", client.stage(), server.stage());
}

const URLS: [&str; 3] = ["ws://localhost:8080/mqtt", "mqtts://localhost", "wss://localhost/"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// [MQTT-6.0.0-2]: any bytes through every stack, written in any parts and carried in any pieces.
    #[test]
    fn every_stack_is_the_identity(
        which in 0..URLS.len(),
        steps in proptest::collection::vec((any::<bool>(), 0..9000_usize, 1..9000_usize), 1..30),
    ) {
        let folder = Folder::new("identity");
        let (port, transport) = (folder.port(URLS[which]), folder.transport(URLS[which]));
        let (mut client, mut server) = (transport.open([3; 32]).unwrap().unwrap(), accept(&port));
        open(&mut client, &mut server, steps[0].2);
        let (mut sent, mut came) = ([Vec::new(), Vec::new()], [BytesMut::new(), BytesMut::new()]);
        for (number, (from_client, size, piece)) in steps.into_iter().enumerate() {
            let data: Vec<u8> = (0..size).map(|at| (at * 7 + number * 13) as u8).collect();
            let (front, back) = data.split_at(size / 2);
            let taken = if from_client { client.write(&[front, back]) } else { server.write(&[front, back]) };
            sent[usize::from(!from_client)].extend_from_slice(&data[..taken]);
            exchange(&mut client, &mut server, piece, &mut came).unwrap();
        }
        while !client.transmit().is_empty() || !server.transmit().is_empty() {
            exchange(&mut client, &mut server, 5000, &mut came).unwrap();
        }
        prop_assert!(came[0] == sent[0] && came[1] == sent[1]);
    }
}

#[test]
fn a_writer_that_nobody_reads_fills_a_bounded_buffer() {
    let folder = Folder::new("bounded");
    for url in URLS {
        let (mut client, mut server) =
            (folder.transport(url).open([3; 32]).unwrap().unwrap(), accept(&folder.port(url)));
        open(&mut client, &mut server, usize::MAX);
        let mut taken = 0;
        for _ in 0..100 {
            taken += server.write(&[&[0; 10_000]]);
        }
        assert!(taken <= 130 * 1024 && server.room() == 0, "{url} took {taken} bytes");
        // And all of it arrives once somebody reads.
        let mut came = Default::default();
        while !server.transmit().is_empty() {
            exchange(&mut client, &mut server, 999, &mut came).unwrap();
        }
        assert_eq!(came[1].len(), taken);
        assert!(server.room() > 0);
    }
}

#[test]
fn either_end_says_good_bye_behind_its_last_words() {
    let folder = Folder::new("goodbye");
    for url in URLS {
        let (mut client, mut server) =
            (folder.transport(url).open([3; 32]).unwrap().unwrap(), accept(&folder.port(url)));
        open(&mut client, &mut server, usize::MAX);
        let words = vec![7; 60_000];
        assert_eq!(server.write(&[&words]), words.len());
        server.close();
        assert_eq!((server.stage(), server.write(&[b"x"])), (Stage::Closed, 0));
        let mut came = Default::default();
        while !server.transmit().is_empty() {
            exchange(&mut client, &mut server, 1000, &mut came).unwrap();
        }
        assert_eq!((came[1].len(), client.stage()), (words.len(), Stage::Closed), "{url}");
    }
}

#[test]
fn a_refusal_reaches_the_peer_through_all_layers() {
    let folder = Folder::new("refusal");
    for (at_server, at_client) in
        [("ws://localhost/mqtt", "ws://localhost/other"), ("wss://localhost/mqtt", "wss://localhost/other")]
    {
        let port = folder.port(at_server);
        let (mut client, mut server) = (folder.transport(at_client).open([3; 32]).unwrap().unwrap(), accept(&port));
        let mut came = Default::default();
        let mut errors = Vec::new();
        for _ in 0..10 {
            errors.extend(exchange(&mut client, &mut server, usize::MAX, &mut came).err());
        }
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 1, "the server's hides the client's of the same turn: {errors:?}");
        assert!(errors[0].contains("404"), "{errors:?}");
        assert_eq!((server.stage(), client.stage()), (Stage::Closed, Stage::Closed));
    }
}

#[test]
fn a_port_knows_who_connects() {
    let folder = Folder::new("who");
    let url = "wss://localhost/";
    let (mut client, mut server) = (folder.transport(url).open([3; 32]).unwrap().unwrap(), accept(&folder.port(url)));
    open(&mut client, &mut server, usize::MAX);
    assert_eq!(server.identity().as_deref(), Some("localhost"));
    let request = server.request().unwrap();
    assert_eq!((request.host.as_str(), request.target.as_str(), request.protocol), ("localhost", "/", "mqtt"));
    assert_eq!((server.source(), server.identity_as_username()), (None, false));
}

#[test]
fn proxies_speak_for_others_and_nobody_else_may_connect() {
    let folder = Folder::new("proxies");
    let mut settings = PortSettings::new("wss://localhost/mqtt".parse().unwrap());
    settings.tls = Some(folder.tls());
    settings.proxies = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    let (port, _) = Port::open(settings).unwrap();
    let stranger: IpAddr = "192.0.2.1".parse().unwrap();
    assert!(matches!(port.accept(Some(stranger)), Err(PipeError::Untrusted(found)) if found == stranger));

    let Ok(Served::Piped(mut server)) = port.accept(Some("10.1.2.3".parse().unwrap())) else { panic!("it is trusted") };
    let mut client = folder.transport("wss://localhost/mqtt").open([3; 32]).unwrap().unwrap();
    // Header and handshake come in one piece.
    let first = [b"PROXY TCP4 203.0.113.7 198.51.100.1 4321 443\r\n", client.transmit()].concat();
    client.transmitted(client.transmit().len());
    server.handle_input(&first, &mut BytesMut::new()).unwrap();
    open(&mut client, &mut server, usize::MAX);
    assert_eq!(server.source(), Some("203.0.113.7:4321".parse().unwrap()));
    assert!(!server.is_transparent());

    let Ok(Served::Piped(mut server)) = port.accept(Some("10.1.2.3".parse().unwrap())) else { panic!("it is trusted") };
    assert!(matches!(server.handle_input(b"\x16\x03\x01", &mut BytesMut::new()), Err(PipeError::Proxy(_))));
    assert_eq!((server.stage(), server.transmit().len()), (Stage::Closed, 0));
}

#[test]
fn a_port_without_layers_needs_no_pipe() {
    let folder = Folder::new("plain");
    assert!(matches!(folder.port("mqtt://localhost").accept(None), Ok(Served::Plain)));
    assert!(matches!(folder.port("unix:///run/mqtt.sock").accept(None), Ok(Served::Plain)));
    assert!(folder.transport("mqtt://localhost").open([3; 32]).unwrap().is_none());
    assert!(folder.port("mqtt://localhost").reload().is_none());
}

#[test]
fn certificates_are_read_again() {
    let folder = Folder::new("reload");
    let url = "mqtts://localhost";
    let port = folder.port(url);
    let before = folder.transport(url);
    folder.renew();
    let loaded = port.reload().unwrap().unwrap();
    assert_eq!(loaded.names, ["localhost"]);
    let (mut client, mut server) = (folder.transport(url).open([3; 32]).unwrap().unwrap(), accept(&port));
    open(&mut client, &mut server, usize::MAX);

    std::fs::write(folder.0.join("server.key"), "no key").unwrap();
    let error = port.reload().unwrap().unwrap_err().to_string();
    assert!(error.contains("server.key: no private key"), "{error}");
    let (mut client, mut server) = (before.open([3; 32]).unwrap().unwrap(), accept(&port));
    let mut came = Default::default();
    let mut results = (0..5).map(|_| exchange(&mut client, &mut server, usize::MAX, &mut came));
    assert!(
        results.any(|result| result.is_err()),
        "the new certificate is still in use, which this client does not know"
    );
}

#[test]
fn settings_fit_the_address() {
    let folder = Folder::new("settings");
    let open = |url: &str, tls: Option<ServerTls>, proxies: Option<Vec<mqtt_pipes::Network>>| {
        let settings = PortSettings { tls, proxies, ..PortSettings::new(url.parse().unwrap()) };
        Port::open(settings).unwrap_err()
    };
    assert!(
        matches!(open("mqtts://localhost", None, None), SetupError::Settings(text) if text.contains("certificate"))
    );
    assert!(
        matches!(open("ws://localhost", Some(folder.tls()), None), SetupError::Settings(text) if text.contains("mqtts://"))
    );
    assert!(matches!(open("unix:///a", None, Some(Vec::new())), SetupError::Settings(text) if text.contains("TCP")));
    let mut tls = folder.tls();
    tls.identity_as_username = true;
    tls.files.client_ca = None;
    tls.client_certificates = ClientCertificates::Ignored;
    assert!(
        matches!(open("mqtts://localhost", Some(tls), None), SetupError::Settings(text) if text.contains("user name"))
    );
    let mut tls = folder.tls();
    tls.files.key = folder.0.join("missing.key");
    assert!(open("mqtts://localhost", Some(tls), None).to_string().contains("missing.key"));

    let server_name = Some("not a name".to_owned());
    let settings = TransportSettings { server_name, ..TransportSettings::default() };
    let settings = TransportSettings { roots: Roots::Pem(folder.pem("server.pem")), ..settings };
    assert!(Transport::new("mqtts://localhost".parse().unwrap(), &settings).is_err());
}
