//! Connecting: identifiers, refusals, server limits, authentication, shutdown (sections 3.1, 3.2, 3.14 and 4.12).
use crate::world::*;
use bytes::Bytes;
use mqtt_session::broker::{
    Access, AuthOutcome, AuthStage, Authenticate, Authentication, Completion, Grant, Redirect, Request,
};
use mqtt_session::client::{ClientConfig, DisconnectReason, Event, SubscribeOptions};
use mqtt_session::proto::*;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn an_identifier_is_assigned_and_kept() {
    // [MQTT-3.1.3-6], [MQTT-3.2.2-16]
    let mut world = World::new();
    let client = world.join(ClientConfig { session_expiry: 60, ..ClientConfig::default() });
    let assigned = world.connected(client).client_id;
    assert!(!assigned.is_empty());
    world.cut(client);
    world.sleep(Duration::from_secs(5));
    let connected = world.connected(client);
    assert_eq!((connected.client_id, connected.session_present), (assigned, true));
}

#[test]
fn the_server_says_what_it_grants() {
    // [MQTT-3.2.2-9], [MQTT-3.2.2-21] and section 3.2.2.3
    let mut world = World::with(|config| {
        config.connection.max_keep_alive = 30;
        config.connection.receive_maximum = 5;
        config.connection.topic_alias_maximum = 3;
        config.connection.max_packet_size = 1000;
        config.features.maximum_qos = QoS::AtLeastOnce;
        config.features.retain = false;
        config.features.wildcard_subscriptions = false;
        config.features.shared_subscriptions = false;
        config.features.subscription_identifiers = false;
        config.features.response_information = Some("answers/{client_id}".into());
    });
    let client = world.join(ClientConfig { request_response_information: true, ..config(Version::V5, "c") });
    let connected = world.connected(client);
    let limits = connected.server_limits;
    assert_eq!((limits.keep_alive, limits.receive_maximum, limits.topic_alias_maximum), (30, 5, 3));
    assert_eq!((limits.maximum_packet_size, limits.maximum_qos), (1000, QoS::AtLeastOnce));
    assert!(!limits.retain_available && !limits.wildcards && !limits.shared_subscriptions);
    assert!(!limits.subscription_identifiers);
    assert_eq!(connected.connack.properties.response_information(), Some("answers/c"));
    world.sleep(Duration::from_mins(10));
    assert!(world.machine(client).is_connected(), "pings keep the imposed time");
}

#[test]
fn a_refused_client_learns_why_and_where_to_go() {
    // [MQTT-3.2.2-7]
    let redirect = || Redirect { permanent: true, server_reference: "other.example:1883".into() };
    let mut world = World::with(|config| config.redirect = Some(redirect()));
    for version in VERSIONS {
        let client = world.join(config(version, "c"));
        let DisconnectReason::Refused(connack) = world.disconnected(client) else { panic!("not refused") };
        if version.is_v5() {
            assert_eq!(connack.reason, ReasonCode::ServerMoved);
            assert_eq!(connack.properties.server_reference(), Some("other.example:1883"));
        } else {
            assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
        }
    }
}

fn next_authentication(world: &mut World) -> Authenticate {
    match world.broker().requests.pop_front() {
        Some(Request::Authenticate(authenticate)) => authenticate,
        other => panic!("expected an authentication, got {other:?}"),
    }
}

fn answer(world: &mut World, asked: &Authenticate, outcome: AuthOutcome) {
    let now = world.now;
    world.broker().broker.handle_completion(now, Completion::Authenticated { id: asked.id, outcome });
    world.run();
}

fn accept(grant: Grant, data: Option<&'static [u8]>) -> AuthOutcome {
    AuthOutcome::Accept { identity: Some("me".into()), grant: Arc::new(grant), data: data.map(Bytes::from_static) }
}

#[test]
fn user_name_and_password_are_asked_for() {
    // [MQTT-3.1.4-2]
    let mut world = World::with(|config| config.authentication = Authentication::Request);
    for version in VERSIONS {
        let client = world.join(ClientConfig {
            username: Some(Utf8String::try_from("me").unwrap()),
            password: Some("secret".into()),
            ..config(version, "c")
        });
        let asked = next_authentication(&mut world);
        assert_eq!((asked.username.as_deref(), asked.password.as_deref()), (Some("me"), Some(&b"secret"[..])));
        assert!(!world.machine(client).is_connected());
        let reason_string = Some("try harder".into());
        answer(&mut world, &asked, AuthOutcome::Refuse { reason: ReasonCode::BadUserNameOrPassword, reason_string });
        let DisconnectReason::Refused(connack) = world.disconnected(client) else { panic!("not refused") };
        assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
        let expected = version.is_v5().then_some("try harder");
        assert_eq!(connack.properties.reason_string(), expected);
        world.connect(client);
        let asked = next_authentication(&mut world);
        answer(&mut world, &asked, accept(Grant::nothing().rule(true, Access::Both, "mine/#"), None));
        world.subscribe(client, "mine/+", QoS::AtMostOnce);
        let reason = world.try_subscribe(client, "#", QoS::AtMostOnce.into(), SubscribeOptions::default());
        assert!(reason.is_error());
        world.publish(client, "mine/x", "yes", QoS::AtLeastOnce);
        world.publish(client, "yours/x", "no", QoS::AtLeastOnce);
        assert_eq!(world.texts(client), ["yes"]);
    }
}

#[test]
fn enhanced_authentication_takes_several_steps_and_can_be_repeated() {
    // [MQTT-4.12.0-2] to [MQTT-4.12.0-5], [MQTT-4.12.1-1]
    let mut world = World::with(|config| config.authentication = Authentication::Request);
    let client = world.join(ClientConfig {
        auth_method: Some("CHALLENGE".into()),
        auth_data: Some("hello".into()),
        ..config(Version::V5, "c")
    });
    let asked = next_authentication(&mut world);
    assert_eq!((asked.method.as_deref(), asked.data.as_deref()), (Some("CHALLENGE"), Some(&b"hello"[..])));
    answer(&mut world, &asked, AuthOutcome::Continue { data: Some("riddle".into()) });
    let events = world.take_events(client);
    let Some(Event::Auth(step)) = events.last() else { panic!("expected a step, got {events:?}") };
    assert_eq!(step.data.as_deref(), Some(&b"riddle"[..]));
    let now = world.now;
    world.machine(client).authenticate(now, Some("solution".into())).unwrap();
    world.run();
    let asked = next_authentication(&mut world);
    assert_eq!((asked.stage, asked.data.as_deref()), (AuthStage::Continue, Some(&b"solution"[..])));
    answer(&mut world, &asked, accept(Grant::everything(), Some(b"welcome")));
    let connack = world.connected(client).connack;
    assert_eq!(connack.properties.authentication_method(), Some("CHALLENGE"));
    assert_eq!(connack.properties.authentication_data(), Some(&b"welcome"[..]));

    world.machine(client).reauthenticate(now, Some("again".into())).unwrap();
    world.run();
    let asked = next_authentication(&mut world);
    assert_eq!(asked.stage, AuthStage::ReAuthenticate);
    answer(&mut world, &asked, accept(Grant::everything(), None));
    assert!(world.take_events(client).iter().any(|event| matches!(event, Event::ReAuthenticated(_))));

    world.machine(client).reauthenticate(now, None).unwrap();
    world.run();
    let asked = next_authentication(&mut world);
    answer(&mut world, &asked, AuthOutcome::Refuse { reason: ReasonCode::NotAuthorized, reason_string: None });
    let DisconnectReason::ByServer(packet) = world.disconnected(client) else { panic!("still connected") };
    assert_eq!(packet.reason, ReasonCode::NotAuthorized); // [MQTT-4.12.1-2]
}

#[test]
fn a_server_that_shuts_down_says_so_and_clients_come_back() {
    let mut world = World::new();
    let client = world.join(config(Version::V5, "c"));
    let now = world.now;
    world.broker().broker.handle_shutdown(now);
    world.run();
    let DisconnectReason::ByServer(packet) = world.disconnected(client) else { panic!("still connected") };
    assert_eq!(packet.reason, ReasonCode::ServerShuttingDown);
    world.sleep(Duration::from_secs(10));
    let DisconnectReason::Refused(connack) = world.disconnected(client) else { panic!("it did not try again") };
    assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
}
