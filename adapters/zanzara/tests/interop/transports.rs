//! Other transports than TCP: clients of other vendors over TLS and WebSocket, and our client with the other vendor's broker.

use crate::support::{Broker, Certificates, Process, READY, retain, tools};
use std::net::TcpListener;
use std::process::Command;

const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];

/// A broker with TLS, WebSocket and both, and the certificates for it.
fn start(client_ca: bool) -> (Broker, Certificates) {
    let certificates = Certificates::new();
    let [certificate, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| certificates.path(name));
    let mut arguments = vec!["--listen", "mqtts://127.0.0.1:0", "--listen", "wss://127.0.0.1:0"];
    arguments.extend(["--listen", "ws://127.0.0.1:0", "--tls-certificate", &certificate, "--tls-key", &key]);
    if client_ca {
        arguments.extend(["--tls-client-ca", &ca]);
    }
    (Broker::with(&arguments), certificates)
}

/// One of mosquitto's clients over TLS.
fn mosquitto(program: &str, version: &str, port: u16, arguments: &[&str]) -> Option<Command> {
    let mut command = Command::new(tools::mosquitto_clients()?.join(program));
    command.args(["-h", "localhost", "-p", &port.to_string(), "-V", version]).args(arguments);
    Some(command)
}

#[test]
fn mosquittos_clients_over_tls() {
    if tools::mosquitto_clients().is_none() {
        return;
    }
    let (broker, certificates) = start(false);
    let (port, ca) = (broker.port_of("mqtts"), certificates.path("ca.pem"));
    retain(broker.port, READY, READY);
    for version in VERSIONS {
        let topics = ["--cafile", &ca, "-t", READY, "-t", "tls/+", "-q", "2", "-v"];
        let mut subscriber = Process::start(&mut mosquitto("mosquitto_sub", version, port, &topics).unwrap());
        subscriber.until(READY);
        for qos in ["0", "1", "2"] {
            let message = ["--cafile", &ca, "-t", "tls/x", "-q", qos, "-m", qos];
            Process::start(&mut mosquitto("mosquitto_pub", version, port, &message).unwrap()).success();
            assert_eq!(subscriber.line(), format!("tls/x {qos}"), "{version}");
        }
        assert!(subscriber.terminate().success());
    }
    // Who does not trust the authority does not connect; neither does who speaks another protocol inside.
    let (own, message) = (certificates.path("client.pem"), ["-t", "x", "-m", "x"]);
    let strange = [&["--cafile", &own][..], &message].concat();
    assert!(!Process::start(&mut mosquitto("mosquitto_pub", "mqttv5", port, &strange).unwrap()).end().success());
    let alpn = [&["--cafile", &ca, "--tls-alpn", "h2"][..], &message].concat();
    assert!(!Process::start(&mut mosquitto("mosquitto_pub", "mqttv5", port, &alpn).unwrap()).end().success());
    let alpn = [&["--cafile", &ca, "--tls-alpn", "mqtt"][..], &message].concat();
    Process::start(&mut mosquitto("mosquitto_pub", "mqttv5", port, &alpn).unwrap()).success();
}

#[test]
fn mosquittos_clients_with_certificates() {
    if tools::mosquitto_clients().is_none() {
        return;
    }
    let (broker, certificates) = start(true);
    let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.path(name));
    let port = broker.port_of("mqtts");
    for version in VERSIONS {
        let known = ["--cafile", &ca, "--cert", &certificate, "--key", &key, "-q", "1", "-t", "mtls", "-m", "x"];
        Process::start(&mut mosquitto("mosquitto_pub", version, port, &known).unwrap()).success();
        let unknown = ["--cafile", &ca, "-q", "1", "-t", "mtls", "-m", "x"];
        let ended = Process::start(&mut mosquitto("mosquitto_pub", version, port, &unknown).unwrap()).end();
        assert!(!ended.success(), "{version}: without a certificate");
    }
}

/// A script's scenarios over one transport.
fn scenarios(script: impl Fn() -> Option<Command>, scheme: &str, names: &[&str]) {
    if script().is_none() {
        return;
    }
    for name in names {
        let (broker, certificates) = start(false);
        let mut command = script().expect("it was there before");
        let path = if scheme == "mqtts" { "" } else { "/mqtt" };
        command.env("ZANZARA_TEST_URL", format!("{scheme}://127.0.0.1:PORT{path}"));
        if scheme != "ws" {
            command.env("ZANZARA_TEST_CA", certificates.path("ca.pem"));
        }
        command.arg(name).arg(broker.port_of(scheme).to_string());
        Process::start(&mut command).success();
    }
}

#[test]
fn mqttjs_over_websocket_and_tls() {
    for scheme in ["ws", "wss", "mqtts"] {
        let names = ["levels", "burst", "retained", "wills", "offline", "large", "topic_alias"];
        scenarios(|| tools::node("mqttjs_client.js"), scheme, &names);
    }
}

#[test]
fn paho_over_websocket_and_tls() {
    // (Over WebSocket, paho forgets the rest of a packet that the socket took in part: large ones never leave it in full.)
    for (scheme, large) in [("ws", None), ("wss", None), ("mqtts", Some("large"))] {
        let mut names = vec!["levels", "burst", "retained", "wills", "offline"];
        names.extend(large);
        scenarios(|| tools::python("paho_client.py"), scheme, &names);
    }
}

/// A free port for a further address of mosquitto.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[test]
fn our_client_with_mosquitto_over_every_transport() {
    let certificates = Certificates::new();
    let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.path(name));
    let [tls, mutual, ws, wss] = std::array::from_fn(|_| free_port());
    let files = format!(
        "cafile {ca}\ncertfile {}\nkeyfile {}",
        certificates.path("server.pem"),
        certificates.path("server.key")
    );
    let lines = [
        format!("listener {tls} 127.0.0.1\n{files}"),
        format!("listener {mutual} 127.0.0.1\n{files}\nrequire_certificate true"),
        format!("listener {ws} 127.0.0.1\nprotocol websockets"),
        format!("listener {wss} 127.0.0.1\nprotocol websockets\n{files}"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let Some(broker) = Broker::mosquitto_with(&lines) else { return };
    retain(broker.port, READY, READY);
    let known = ["--cafile", &ca, "--cert", &certificate, "--key", &key];
    for (url, options) in [
        (format!("mqtts://localhost:{tls}"), &known[..2]),
        (format!("mqtts://127.0.0.1:{mutual}"), &known),
        (format!("ws://127.0.0.1:{ws}/mqtt"), &[]),
        (format!("wss://localhost:{wss}/mqtt"), &known[..2]),
    ] {
        for version in ["31", "311", "5"] {
            if version == "31" && url.starts_with("ws") {
                continue; // (mosquitto's WebSocket knows the subprotocol mqtt, which our command line offers, for all versions alike.)
            }
            let own = |action: &str, more: &[&str]| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_zanzara"));
                command.args([action, "-L", &url, "-V", version]).args(options).args(more);
                command
            };
            let mut subscriber = Process::start(&mut own("sub", &["-v", "-q", "1", "-t", READY, "-t", "own/+"]));
            subscriber.until(READY);
            let long = "x".repeat(100_000);
            for text in ["hello", "Grüße", &long] {
                Process::start(&mut own("pub", &["-q", "2", "-t", "own/x", "-m", text])).success();
                assert_eq!(subscriber.line(), format!("own/x {text}"), "{url} {version}");
            }
        }
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_zanzara"))
        .args(["pub", "-L", &format!("mqtts://127.0.0.1:{mutual}"), "--cafile", &ca, "-t", "x", "-m", "x"])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

/// SIGHUP brings new certificates while clients of another vendor talk: none loses its connection.
#[test]
fn certificates_are_replaced_under_the_feet_of_mosquittos_clients() {
    if tools::mosquitto_clients().is_none() {
        return;
    }
    let (broker, certificates) = start(false);
    let (port, ca) = (broker.port_of("mqtts"), certificates.path("ca.pem"));
    retain(broker.port, READY, READY);
    let topics = ["--cafile", &ca, "-t", READY, "-t", "lines", "-q", "1"];
    let mut subscriber = Process::start(&mut mosquitto("mosquitto_sub", "mqttv5", port, &topics).unwrap());
    subscriber.until(READY);
    let lines = ["--cafile", &ca, "-t", "lines", "-q", "1", "-l"];
    let mut publisher = Process::start(&mut mosquitto("mosquitto_pub", "mqttv5", port, &lines).unwrap());
    let mut input = publisher.input();
    for round in 0..3 {
        for number in 0..100 {
            use std::io::Write as _;
            writeln!(input, "{round} {number}").expect("it reads on");
        }
        for number in 0..100 {
            assert_eq!(subscriber.line(), format!("{round} {number}"));
        }
        if round == 0 {
            certificates.renew();
        }
        broker.signal("HUP");
        broker.logged("certificates were read again", 2 * (round + 1));
        let message = ["--cafile", &ca, "-t", "x", "-m", "x"];
        Process::start(&mut mosquitto("mosquitto_pub", "mqttv5", port, &message).unwrap()).success();
    }
    std::fs::write(certificates.path("server.key"), "no key").expect("a file");
    broker.signal("HUP");
    broker.logged("server.key: no private key", 2);
    let message = ["--cafile", &ca, "-t", "lines", "-m", "last", "-q", "1"];
    Process::start(&mut mosquitto("mosquitto_pub", "mqttv5", port, &message).unwrap()).success();
    assert_eq!(subscriber.line(), "last");
    drop(input);
    publisher.success();
    assert!(subscriber.terminate().success());
}
