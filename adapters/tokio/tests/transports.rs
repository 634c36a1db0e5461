//! The client and the broker over every transport.
mod transport_support;

use mqtt_tokio::broker::{
    AuthOutcome, Authenticate, Authentication, Broker, ClientCertificates, Config, ConnectionLimits, Event, Grant,
    HookFuture, Hooks, PortSettings,
};
use mqtt_tokio::client::{self, Client, ConnectError, QoS};
use mqtt_tokio::proto::Utf8String;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use transport_support::{Folder, soon, start, start_at};

/// Publishes to itself: many small messages, then large ones, and back in order.
async fn talk(client: &Client) {
    let mut messages = soon(client.subscribe("talk/#", QoS::AtLeastOnce)).await.unwrap();
    let mut sizes: Vec<usize> = (0..300).collect();
    sizes.extend([20_000, 70_000, 1_000_000, 0, 1]);
    let deliveries: Vec<_> =
        sizes.iter().map(|size| client.try_publish("talk/a", vec![b'x'; *size], QoS::AtLeastOnce).unwrap()).collect();
    for size in sizes {
        let message = soon(messages.recv()).await.unwrap();
        assert_eq!(message.payload.len(), size);
    }
    for delivery in deliveries {
        soon(delivery).await.unwrap();
    }
}

/// [MQTT-4.2-1]: whatever carries it, bytes arrive in order and none is lost.
#[tokio::test]
async fn every_transport_carries_messages_both_ways() {
    let folder = Folder::new();
    let local = format!("unix://{}", folder.0.join("broker.sock").display());
    for (url, certificates) in [
        ("mqtt://127.0.0.1:0", ClientCertificates::Ignored),
        ("mqtts://127.0.0.1:0", ClientCertificates::Ignored),
        ("mqtts://127.0.0.1:0", ClientCertificates::Required),
        ("ws://127.0.0.1:0", ClientCertificates::Ignored),
        ("ws://127.0.0.1:0/some/path", ClientCertificates::Ignored),
        ("wss://127.0.0.1:0", ClientCertificates::Ignored),
        ("wss://127.0.0.1:0", ClientCertificates::Required),
        (&local, ClientCertificates::Ignored),
    ] {
        let (broker, url) = start_at(folder.port(url, certificates)).await;
        let client = soon(folder.known_client(&url).connect()).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        talk(&client).await;
        soon(client.end()).await.unwrap();
        assert_eq!(soon(broker.stats()).await.unwrap().protocol_errors_total, 0, "{url}");
        soon(broker.drain(Duration::from_secs(20))).await.unwrap();
    }
    assert!(!folder.0.join("broker.sock").exists(), "the file goes with the broker");
}

#[tokio::test]
async fn clients_come_back_over_the_same_transport() {
    let folder = Folder::new();
    for url in ["ws://127.0.0.1:0", "mqtts://127.0.0.1:0", "wss://127.0.0.1:0"] {
        let (_broker, url) = start_at(folder.port(url, ClientCertificates::Ignored)).await;
        let client = soon(folder.client(&url).connect()).await.unwrap();
        let mut messages = soon(client.subscribe("a", QoS::AtLeastOnce)).await.unwrap();
        for _ in 0..3 {
            client.reconnect();
            soon(client.publish("a", "again", QoS::AtLeastOnce)).await.unwrap();
            assert_eq!(soon(messages.recv()).await.unwrap().payload, "again");
        }
    }
}

#[tokio::test]
async fn what_a_client_cannot_connect_to_is_explained() {
    let folder = Folder::new();
    let (_tls, tls) = start_at(folder.port("mqtts://127.0.0.1:0", ClientCertificates::Required)).await;
    let (_ws, ws) = start_at(folder.port("ws://127.0.0.1:0", ClientCertificates::Ignored)).await;
    let (_plain, plain) = start_at(folder.port("mqtt://127.0.0.1:0", ClientCertificates::Ignored)).await;
    let other_path = format!("{ws}/other");
    let no_file = format!("unix://{}", folder.0.join("nobody.sock").display());
    for (builder, hint) in [
        (Client::builder(&tls).ca(folder.pem("server.pem")), "no known authority"),
        (folder.known_client(&tls).server_name("example.org"), "other names"),
        (folder.client(&tls), "requires a certificate"),
        (folder.client(&plain.replace("mqtt://", "mqtts://")), "closed the connection before TLS"),
        (folder.client(&ws.replace("ws://", "mqtts://")), "does not speak TLS"),
        (folder.client(&tls.replace("mqtts://", "ws://")), "no HTTP answer"),
        (Client::builder(&other_path), "nothing is there at this path"),
        (Client::builder(&no_file), "cannot reach"),
    ] {
        let error = soon(builder.reconnect(None).connect()).await.unwrap_err().to_string();
        assert!(error.contains(hint), "{hint} is missing in: {error}");
    }
    // The last certificate of a chain has to be a usable authority before anything is tried.
    let error = Client::builder(&tls).ca(client::Pem::new("ca.pem", "hello")).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Transport { .. }) && error.to_string().contains("ca.pem"), "{error}");
    // Without any verification it works.
    let certificate = (folder.pem("client.pem"), folder.pem("client.key"));
    let any = Client::builder(&tls).client_certificate(certificate.0, certificate.1);
    soon(any.dangerously_accept_any_certificate().connect()).await.unwrap();
}

/// Remembers who asked.
struct Door(Arc<Mutex<Vec<Authenticate>>>);

impl Hooks for Door {
    fn authenticate(&self, question: Authenticate) -> HookFuture<'_, AuthOutcome> {
        let identity = question.username.as_ref().map(|name| name.as_str().to_owned());
        self.0.lock().unwrap().push(question);
        let grant = Arc::new(Grant::everything());
        Box::pin(async move { AuthOutcome::Accept { identity, grant, data: None } })
    }
}

/// [MQTT 5.0 section 5.4.2]: a certificate says who a client is.
#[tokio::test]
async fn authentication_hears_of_certificates() {
    let folder = Folder::new();
    let asked = Arc::default();
    let config = || Config { authentication: Authentication::Request, ..Config::default() };
    let mut port = folder.port("wss://127.0.0.1:0", ClientCertificates::Optional);
    let builder = Broker::builder(config()).hooks(Door(Arc::clone(&asked))).listen_on(port.clone());
    let (_broker, url) = start(builder).await;
    soon(folder.known_client(&url).credentials("me", "secret").connect()).await.unwrap();
    soon(folder.client(&url).connect()).await.unwrap();
    let seen: Vec<_> = asked.lock().unwrap().drain(..).collect();
    assert_eq!(seen[0].peer.identity.as_deref(), Some("device-7"));
    assert_eq!(seen[0].username.as_ref().map(Utf8String::as_str), Some("me"));
    assert!(seen[0].peer.address.starts_with("127.0.0.1:"), "{}", seen[0].peer.address);
    assert_eq!((seen[1].peer.identity.as_ref(), seen[1].username.as_ref()), (None, None));

    // The identity as the user name: whatever the client says itself, and nobody without one.
    port.tls.as_mut().unwrap().identity_as_username = true;
    let (_broker, url) = start(Broker::builder(config()).hooks(Door(Arc::clone(&asked))).listen_on(port)).await;
    soon(folder.known_client(&url).credentials("admin", "secret").connect()).await.unwrap();
    let seen: Vec<_> = asked.lock().unwrap().drain(..).collect();
    assert_eq!(seen[0].username.as_ref().map(Utf8String::as_str), Some("device-7"));
    let refused = soon(folder.client(&url).reconnect(None).connect()).await.unwrap_err();
    assert!(
        refused.to_string().contains("NotAuthorized") || refused.to_string().contains("ot authorized"),
        "{refused}"
    );
    assert!(asked.lock().unwrap().is_empty(), "nobody was asked about it");
}

/// A proxy that speaks for 203.0.113.7.
async fn through_a_proxy(address: &str, after: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let header = b"PROXY TCP4 203.0.113.7 198.51.100.1 4321 1883\r\n";
    stream.write_all(&[&header[..], after].concat()).await.unwrap();
    stream
}

const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'p'];

#[tokio::test]
async fn a_trusted_proxy_says_who_connects() {
    let mut port = PortSettings::new("mqtt://127.0.0.1:0".parse().unwrap());
    port.proxies = Some(vec!["127.0.0.0/8".parse().unwrap()]);
    let (broker, url) = start_at(port.clone()).await;
    let address = url.trim_start_matches("mqtt://");
    let mut events = broker.events().await.unwrap();
    let mut stream = through_a_proxy(address, &CONNECT).await;
    let mut connack = [0; 4];
    soon(stream.read_exact(&mut connack)).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let Some(Event::Connected { peer, .. }) = soon(events.recv()).await else { panic!("somebody connected") };
    assert_eq!(peer.address, "203.0.113.7:4321");
    // Without a header nobody is served.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&CONNECT).await.unwrap();
    assert_eq!(soon(stream.read(&mut [0; 8])).await.unwrap_or(0), 0);

    port.proxies = Some(vec!["192.0.2.0/24".parse().unwrap()]);
    let (_broker, url) = start_at(port).await;
    let mut stream = through_a_proxy(url.trim_start_matches("mqtt://"), &CONNECT).await;
    assert_eq!(soon(stream.read(&mut connack)).await.unwrap_or(0), 0, "we are not among the trusted");
}

#[tokio::test]
async fn other_requests_get_an_http_answer() {
    let (_broker, url) = start_at(PortSettings::new("ws://127.0.0.1:0".parse().unwrap())).await;
    let address = url.trim_start_matches("ws://");
    for (request, status) in [
        ("GET /other HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426"),
        ("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\r\n\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

/// Whoever shakes hands slowly, or not at all, is shown out after the same time as one who sends no CONNECT.
#[tokio::test]
async fn slow_handshakes_end() {
    let folder = Folder::new();
    let limits = ConnectionLimits { connect_timeout: Duration::from_millis(300), ..ConnectionLimits::default() };
    let config = Config { connection: limits, ..Config::default() };
    let mut builder = Broker::builder(config);
    for url in ["mqtts://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0"] {
        builder = builder.listen_on(folder.port(url, ClientCertificates::Ignored));
    }
    let (broker, _) = start(builder).await;
    let half_a_hello = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    let mut streams = Vec::new();
    for address in broker.local_addrs() {
        for first in [&b""[..], &half_a_hello, b"GET /mqtt HTTP/1.1\r\nHost: a\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(first).await.unwrap();
            streams.push(stream);
        }
    }
    for mut stream in streams {
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await; // closed, or reset
    }
    // Others are served meanwhile and afterwards.
    let url = broker.endpoints()[2].to_string();
    talk(&soon(folder.client(&url).connect()).await.unwrap()).await;
}

/// A peer that sends an upgrade request without end costs no more than its limit.
#[tokio::test]
async fn a_request_without_end_is_refused() {
    let (_broker, url) = start_at(PortSettings::new("ws://127.0.0.1:0".parse().unwrap())).await;
    let mut stream = TcpStream::connect(url.trim_start_matches("ws://")).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(8 * 1024));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// The other end stays and reads nothing: what waits for it is bounded, and keep alive ends it.
#[tokio::test]
async fn a_peer_that_reads_nothing_holds_a_bounded_buffer() {
    let folder = Folder::new();
    let (broker, url) = start_at(folder.port("ws://127.0.0.1:0", ClientCertificates::Ignored)).await;
    let mut stream = TcpStream::connect(url.trim_start_matches("ws://")).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // CONNECT with a keep alive of one second, and SUBSCRIBE to everything at QoS 0; masked with zeros.
    let frame = |bytes: &[u8]| [&[0x82, 0x80 | bytes.len() as u8, 0, 0, 0, 0], bytes].concat();
    let mut connect = CONNECT;
    connect[11] = 1;
    stream.write_all(&frame(&connect)).await.unwrap();
    stream.write_all(&frame(&[0x82, 6, 0, 1, 0, 1, b'#', 0])).await.unwrap();
    let publisher = soon(folder.client(&url).connect()).await.unwrap();
    while soon(broker.stats()).await.unwrap().subscriptions == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut dropped = 0;
    for _ in 0..200 {
        soon(publisher.publish("a", vec![0; 100_000], QoS::AtLeastOnce)).await.unwrap();
        dropped = soon(broker.stats()).await.unwrap().dropped_slow_receiver;
    }
    assert!(dropped > 0, "20 MB were kept for a peer that reads nothing");
    while soon(broker.stats()).await.unwrap().connections > 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Certificates are replaced while messages travel: nobody who is there notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_traffic() {
    let folder = Folder::new();
    let mut builder = Broker::builder(Config::default());
    for url in ["mqtts://127.0.0.1:0", "wss://127.0.0.1:0"] {
        builder = builder.listen_on(folder.port(url, ClientCertificates::Required));
    }
    let (broker, _) = start(builder).await;
    let mut tasks = Vec::new();
    for endpoint in broker.endpoints() {
        let client = soon(folder.known_client(&endpoint.to_string()).reconnect(None).connect()).await.unwrap();
        let mut events = client.events();
        let stop = Arc::new(tokio::sync::Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut rounds = 0;
            loop {
                client.publish("a", "b", QoS::ExactlyOnce).await.unwrap();
                rounds += 1;
                if rounds > 20 && tokio::time::timeout(Duration::ZERO, stopped.notified()).await.is_ok() {
                    break;
                }
            }
            while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
                assert!(!matches!(event, client::Event::Disconnected { .. }), "{event:?}");
            }
            client
        });
        tasks.push((task, stop));
    }
    let old = soon(folder.known_client(&broker.endpoints()[0].to_string()).connect()).await.unwrap();
    for round in 0..5 {
        folder.renew();
        for reloaded in broker.reload_certificates() {
            let loaded = reloaded.result.unwrap();
            assert!(loaded.names.contains(&"localhost".to_owned()), "{}: {:?}", reloaded.endpoint, loaded.names);
        }
        for endpoint in broker.endpoints() {
            let client = folder.known_client(&endpoint.to_string()).client_id(&format!("round {round}"));
            talk(&soon(client.connect()).await.unwrap()).await;
        }
    }
    // Something is wrong: it is said, and the last good ones stay.
    std::fs::write(folder.0.join("server.pem"), "no certificate").unwrap();
    let problems: Vec<_> =
        broker.reload_certificates().into_iter().map(|one| one.result.unwrap_err().to_string()).collect();
    assert!(problems.len() == 2 && problems.iter().all(|problem| problem.contains("server.pem")), "{problems:?}");
    let url = broker.endpoints()[1].to_string();
    soon(folder.known_client(&url).connect()).await.unwrap();
    for (task, stop) in tasks {
        stop.notify_one();
        let client = soon(task).await.unwrap();
        assert!(client.is_connected());
    }
    assert!(old.is_connected());
    assert_eq!(soon(broker.stats()).await.unwrap().protocol_errors_total, 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = Folder::new();
    let path = folder.0.join("broker.sock");
    let url = format!("unix://{}", path.display());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (_broker, url) = start(Broker::builder(Config::default()).listen(&url)).await;
    let error = soon(Broker::builder(Config::default()).listen(&url).start()).await.unwrap_err().to_string();
    assert!(error.contains("broker.sock") && error.contains("another process"), "{error}");
    talk(&soon(Client::connect(&url)).await.unwrap()).await;
}
