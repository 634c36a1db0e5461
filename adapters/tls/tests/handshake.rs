//! Who gets in, under which name, and what everybody else is told.
mod support;

use bytes::BytesMut;
use mqtt_tls::{
    Application, ClientCertificates, ClientSettings, Connector, IdentityFrom, Roots, ServerSettings, Stage,
};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use std::fmt::Write as _;
use support::{Authority, acceptor, carry, connector, shake};

fn required(identity: IdentityFrom) -> ServerSettings {
    ServerSettings { client_certificates: ClientCertificates::Required, identity, ..ServerSettings::default() }
}

/// [MQTT 5.0 and 3.1.1 sections 5.4.1 and 5.4.2]: a client by its certificate, a server by its own.
#[test]
fn the_identity_is_the_part_that_was_chosen() {
    let ca = Authority::new("ours");
    let names = [
        SanType::IpAddress("127.0.0.1".parse().unwrap()),
        SanType::DnsName("device-7.example".try_into().unwrap()),
        SanType::URI("urn:device:7".try_into().unwrap()),
    ];
    let client = ca.client("Gerät 7", &names);
    let server = ca.server("localhost").material(Some(ca.pem()));
    let digest = ring::digest::digest(&ring::digest::SHA256, &client.der);
    let mut fingerprint = String::new();
    for byte in digest.as_ref() {
        write!(fingerprint, "{byte:02x}").unwrap();
    }
    for (from, expected) in [
        (IdentityFrom::CommonName, "Gerät 7"),
        (IdentityFrom::SubjectAltName, "device-7.example"),
        (IdentityFrom::Fingerprint, fingerprint.as_str()),
    ] {
        let (_, server) = shake(&acceptor(required(from), &server), &connector(&ca, Some(&client))).unwrap();
        assert_eq!(server.identity().as_deref(), Some(expected));
    }
}

#[test]
fn a_certificate_without_the_chosen_part_has_no_identity() {
    let ca = Authority::new("ours");
    let server = ca.server("localhost").material(Some(ca.pem()));
    let mut nameless = CertificateParams::default();
    nameless.distinguished_name.remove(DnType::CommonName);
    nameless.distinguished_name.push(DnType::OrganizationName, "somebody");
    let nameless = ca.issue("client", nameless, ExtendedKeyUsagePurpose::ClientAuth);
    for from in [IdentityFrom::CommonName, IdentityFrom::SubjectAltName] {
        let (_, server) = shake(&acceptor(required(from), &server), &connector(&ca, Some(&nameless))).unwrap();
        assert_eq!(server.identity(), None);
    }
}

#[test]
fn whether_clients_show_certificates_is_up_to_the_server() {
    let (ca, stranger) = (Authority::new("ours"), Authority::new("somebody else's"));
    let own = ca.server("localhost");
    let known = connector(&ca, Some(&ca.client("known", &[])));
    let unknown = connector(&ca, Some(&stranger.client("unknown", &[])));
    let anonymous = connector(&ca, None);

    let ignored = acceptor(ServerSettings::default(), &own.material(None));
    for client in [&known, &unknown, &anonymous] {
        assert_eq!(shake(&ignored, client).unwrap().1.identity(), None);
    }
    let settings = |client_certificates| ServerSettings { client_certificates, ..ServerSettings::default() };
    let optional = acceptor(settings(ClientCertificates::Optional), &own.material(Some(ca.pem())));
    assert_eq!(shake(&optional, &known).unwrap().1.identity().as_deref(), Some("known"));
    assert_eq!(shake(&optional, &anonymous).unwrap().1.identity(), None);
    assert!(shake(&optional, &unknown).is_err());

    let needed = acceptor(settings(ClientCertificates::Required), &own.material(Some(ca.pem())));
    assert_eq!(shake(&needed, &known).unwrap().1.identity().as_deref(), Some("known"));
    assert!(shake(&needed, &unknown).is_err());
    let error = shake(&needed, &anonymous).err().unwrap().to_string();
    assert!(error.contains("requires a certificate"), "{error}");
}

#[test]
fn a_server_is_verified_with_its_name() {
    let ca = Authority::new("ours");
    let server = acceptor(ServerSettings::default(), &ca.server("localhost").material(None));
    let mut past = CertificateParams::new(["localhost".to_owned()]).unwrap();
    past.not_before = rcgen::date_time_ymd(2001, 1, 1);
    past.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let past = ca.issue("past", past, ExtendedKeyUsagePurpose::ServerAuth);
    let past = acceptor(ServerSettings::default(), &past.material(None));

    let any = ClientSettings { roots: Roots::DangerouslyAcceptAnyCertificate, ..ClientSettings::default() };
    let any = Connector::new(&any).unwrap();
    let (knows, knows_not) = (connector(&ca, None), connector(&Authority::new("other"), None));
    for (client, server, name, problem) in [
        (&knows, &server, "localhost", None),
        (&knows, &server, "example.org", Some("other names")),
        (&knows, &server, "127.0.0.1", Some("other names")),
        (&knows_not, &server, "localhost", Some("no known authority")),
        (&knows, &past, "localhost", Some("expired")),
        (&any, &past, "example.org", None),
    ] {
        let (mut client, mut server) = (client.connect(name).unwrap(), server.accept());
        let result = carry(&mut client, &mut server, &mut BytesMut::new(), &mut BytesMut::new());
        match problem {
            None => assert_eq!((result, client.stage()), (Ok(()), Stage::Open)),
            Some(problem) => {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(problem), "{error}");
                assert_eq!((client.stage(), server.stage()), (Stage::Closed, Stage::Closed), "an alert was sent");
            }
        }
    }
}

#[test]
fn applications_have_to_agree() {
    let ca = Authority::new("ours");
    let own = ca.server("localhost").material(None);
    let settings = |application| ServerSettings { application, ..ServerSettings::default() };
    let client = |application| {
        let roots = Roots::Pem(ca.pem());
        Connector::new(&ClientSettings { application, roots, ..ClientSettings::default() }).unwrap()
    };
    for (at_server, at_client) in [
        (Application::Mqtt, Application::Mqtt),
        (Application::Mqtt, Application::WebSocket),
        (Application::WebSocket, Application::WebSocket),
    ] {
        let result = shake(&acceptor(settings(at_server), &own), &client(at_client));
        match result {
            Ok(_) => assert_eq!(at_server, at_client),
            Err(error) => {
                assert_ne!(at_server, at_client);
                assert!(error.to_string().contains("ALPN"), "{error}");
            }
        }
    }
}

#[test]
fn a_session_is_resumed_with_its_identity() {
    let ca = Authority::new("ours");
    let server = acceptor(required(IdentityFrom::CommonName), &ca.server("localhost").material(Some(ca.pem())));
    let client = connector(&ca, Some(&ca.client("known", &[])));
    let (first, at_server) = shake(&server, &client).unwrap();
    assert!(!first.is_resumed() && !at_server.is_resumed());
    let (second, at_server) = shake(&server, &client).unwrap();
    assert!(second.is_resumed() && at_server.is_resumed());
    assert_eq!(at_server.identity().as_deref(), Some("known"));
}

#[test]
fn whoever_does_not_speak_tls_is_told_so() {
    let ca = Authority::new("ours");
    let mut server = acceptor(ServerSettings::default(), &ca.server("localhost").material(None)).accept();
    let mut plain = BytesMut::new();
    let connect = [&[0x10, 12, 0, 4][..], b"MQTT", &[4, 2, 0, 60, 0, 0]].concat();
    let error = server.handle_input(&connect, &mut plain).unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    assert_eq!((server.stage(), plain.len()), (Stage::Closed, 0));
    assert!(!server.transmit().is_empty(), "an alert");
    assert_eq!(server.handle_input(&connect, &mut plain), Ok(()), "what follows is not looked at");

    let mut client = connector(&ca, None).connect("localhost").unwrap();
    let error = client.handle_input(b"HTTP/1.1 400 Bad Request\r\n\r\n", &mut plain).unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    assert!(connector(&ca, None).connect("not a name").is_err());
}
