//! Certificates that are loaded and replaced, and what is wrong with them.
mod support;

use bytes::BytesMut;
use mqtt_tls::{Acceptor, ClientCertificates, ClientSettings, Connector, Files, Material, Pem, Roots, ServerSettings};
use support::{Authority, acceptor, carry, connector, shake};

#[test]
fn new_certificates_are_for_new_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = acceptor(ServerSettings::default(), &old.server("localhost").material(None));
    let (knows_old, knows_new) = (connector(&old, None), connector(&new, None));
    let (mut client, mut at_server) = shake(&server, &knows_old).unwrap();
    assert!(shake(&server, &knows_new).is_err());

    let loaded = server.replace(&new.server("localhost").material(None)).unwrap();
    assert_eq!(loaded.names, ["localhost"]);
    assert!(loaded.not_after.is_some_and(|end| end > 2_000_000_000));
    assert!(shake(&server, &knows_old).is_err(), "not even by resuming its session");
    shake(&server, &knows_new).unwrap();

    // The connection from before goes on.
    let (mut to_client, mut to_server) = (BytesMut::new(), BytesMut::new());
    client.write(&[b"still"]);
    at_server.write(&[b"here"]);
    carry(&mut client, &mut at_server, &mut to_client, &mut to_server).unwrap();
    assert_eq!((&to_server[..], &to_client[..]), (&b"still"[..], &b"here"[..]));
}

#[test]
fn an_authority_that_is_taken_away_lets_nobody_in_again() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let own = ours.server("localhost");
    let settings = ServerSettings { client_certificates: ClientCertificates::Required, ..ServerSettings::default() };
    let server = acceptor(settings, &own.material(Some(theirs.pem())));
    let client = connector(&ours, Some(&theirs.client("somebody", &[])));
    shake(&server, &client).unwrap();
    server.replace(&own.material(Some(ours.pem()))).unwrap();
    assert!(shake(&server, &client).is_err(), "not even by resuming its session");
}

/// What is wrong, with a part of what is said about it; each says the file's name.
fn broken(ours: &Authority) -> Vec<(Material, &'static str, &'static str)> {
    let own = ours.server("localhost");
    let good = own.material(None);
    let with = |certificates: &str, key: &str| Material {
        certificates: Pem::new("server.pem", certificates),
        key: Pem::new("server.key", key),
        client_ca: None,
    };
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let unfinished = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    vec![
        (Material { certificates: Pem::new("server.pem", ""), ..good.clone() }, "server.pem", "no certificate in it"),
        (Material { certificates: Pem::new("server.pem", garbage), ..good.clone() }, "server.pem", "usable"),
        (Material { certificates: Pem::new("server.pem", unfinished), ..good.clone() }, "server.pem", "broken PEM"),
        (with("hello", "hello"), "server.pem", "no certificate in it"),
        (Material { key: Pem::new("server.key", "hello"), ..good.clone() }, "server.key", "no private key in it"),
        (Material { key: Pem::new("server.key", encrypted), ..good.clone() }, "server.key", "passphrase"),
        (Material { key: Pem::new("server.key", no_key), ..good.clone() }, "server.key", "not a usable key"),
        (Material { key: ours.server("localhost").key, ..good.clone() }, "server.key", "does not belong"),
        (Material { certificates: own.key.clone(), ..good }, "server.key", "no certificate in it"),
    ]
}

#[test]
fn what_is_broken_is_named_and_the_old_stays() {
    let ours = Authority::new("ours");
    let server = acceptor(ServerSettings::default(), &ours.server("localhost").material(None));
    for (material, file, problem) in broken(&ours) {
        for error in
            [server.replace(&material).unwrap_err(), Acceptor::check(ServerSettings::default(), &material).unwrap_err()]
        {
            let error = error.to_string();
            assert!(error.contains(file) && error.contains(problem), "{error}");
        }
        shake(&server, &connector(&ours, None)).unwrap();
    }
}

#[test]
fn settings_and_authorities_fit_together() {
    let ours = Authority::new("ours");
    let own = ours.server("localhost");
    let check = |client_certificates, client_ca| {
        let settings = ServerSettings { client_certificates, ..ServerSettings::default() };
        Acceptor::check(settings, &own.material(client_ca)).unwrap_err().to_string()
    };
    let error = check(ClientCertificates::Required, None);
    assert!(error.contains("name the CA"), "{error}");
    let error = check(ClientCertificates::Ignored, Some(ours.pem()));
    assert!(error.contains("not asked for"), "{error}");
    let error = check(ClientCertificates::Optional, Some(Pem::new("ca.pem", "hello")));
    assert!(error.contains("ca.pem: no certificate"), "{error}");
}

#[test]
fn clients_hear_what_is_wrong_with_theirs() {
    let ours = Authority::new("ours");
    let one = ours.client("one", &[]);
    let settings = |roots, certificate| ClientSettings { roots, certificate, ..ClientSettings::default() };
    let bad_ca = settings(Roots::Pem(Pem::new("ca.pem", "")), None);
    let mixed = settings(Roots::Pem(ours.pem()), Some((one.certificate.clone(), ours.client("two", &[]).key)));
    let no_key = settings(Roots::Pem(ours.pem()), Some((one.certificate, Pem::new("client.key", ""))));
    for (settings, file, problem) in [
        (bad_ca, "ca.pem", "no certificate in it"),
        (mixed, "client.key", "does not belong"),
        (no_key, "client.key", "no private key in it"),
    ] {
        let error = Connector::new(&settings).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(problem), "{error}");
    }
}

#[test]
fn files_that_are_missing_are_named() {
    let missing =
        Files { certificates: "/nowhere/server.pem".into(), key: "/nowhere/server.key".into(), client_ca: None };
    let error = missing.read().unwrap_err().to_string();
    assert!(error.contains("/nowhere/server.pem"), "{error}");
    let shown = format!("{:?}", Authority::new("ours").server("localhost").material(None));
    assert!(!shown.contains("PRIVATE"), "keys do not get into logs: {shown}");
}
