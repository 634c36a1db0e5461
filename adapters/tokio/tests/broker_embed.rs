//! The broker from inside: publish, subscribe, events, statistics, hooks.
mod broker_support;

use broker_support::{Raw, Server, connect, publish};
use bytes::Bytes;
use mqtt_proto::{Packet, QoS, ReasonCode, SubscriptionOptions};
use mqtt_tokio::broker::{
    Access, AuthOutcome, Authenticate, Authentication, Authorize, Broker, Config, Decision, DisconnectReason, Event,
    Grant, HookFuture, Hooks, Message,
};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn messages_go_out_of_and_into_the_embedder() {
    let server = Server::start(Config::default());
    let broker = &server.broker;
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    let mut inside = server.wait(broker.subscribe("up/+".try_into().unwrap(), options)).unwrap().unwrap();
    let shared = server.wait(broker.subscribe("$share/g/x".try_into().unwrap(), options)).unwrap();
    assert!(shared.is_none(), "shared subscriptions are for clients");

    let mut client = server.connect("client");
    client.subscribe("down/#", QoS::AtMostOnce);
    client.send(&publish("up/1", "from outside", Some(3)));
    assert!(matches!(client.receive(), Some(Packet::PubAck(_))));
    let message = server.wait(inside.recv()).unwrap();
    assert_eq!(message.message.topic.as_str(), "up/1");
    assert_eq!(message.message.payload, "from outside");
    assert_eq!((message.retained, message.missed), (false, 0));

    server.wait(broker.publish(Message::new("down/1".try_into().unwrap(), "from inside"))).unwrap();
    assert_eq!(client.message().payload, "from inside");

    let stats = server.wait(broker.stats()).unwrap();
    assert_eq!((stats.connections, stats.publish_received), (1, 1), "{stats:?}");
    drop(inside);
    server.wait(broker.drain(Duration::ZERO)).unwrap();
    let late = Message::new("down/1".try_into().unwrap(), "too late");
    assert!(server.wait(broker.publish(late)).is_err());
}

#[test]
fn an_embedder_that_does_not_read_misses_messages_and_is_told() {
    let server = Server::start(Config::default());
    let mut inside =
        server.wait(server.broker.subscribe("t".try_into().unwrap(), SubscriptionOptions::default())).unwrap().unwrap();
    let mut client = server.connect("client");
    for number in 0..5000_u32 {
        client.send(&publish("t", number.to_be_bytes().to_vec(), None));
    }
    client.ping();
    for number in 0..4096_u32 {
        let message = server.wait(inside.recv()).unwrap();
        assert_eq!((&message.message.payload[..], message.missed), (&number.to_be_bytes()[..], 0));
    }
    client.send(&publish("t", "next", None));
    let message = server.wait(inside.recv()).unwrap();
    assert_eq!((&message.message.payload[..], message.missed), (&b"next"[..], 5000 - 4096));
}

#[test]
fn events_tell_who_comes_and_goes() {
    let server = Server::start(Config::default());
    let mut events = server.wait(server.broker.events()).unwrap();
    let mut client = server.connect("visitor");
    client.subscribe("a/b", QoS::AtLeastOnce);
    match server.wait(events.recv()) {
        Some(Event::Connected { client_id, peer, .. }) => {
            assert_eq!(client_id.as_str(), "visitor");
            assert_eq!(peer.address, client.stream.local_addr().unwrap().to_string());
        }
        other => panic!("{other:?}"),
    }
    match server.wait(events.recv()) {
        Some(Event::Subscribed { filter, qos, .. }) => {
            assert_eq!((filter.as_str(), qos), ("a/b", QoS::AtLeastOnce));
        }
        other => panic!("{other:?}"),
    }
    let id = "visitor".try_into().unwrap();
    assert!(server.wait(server.broker.disconnect(&id, ReasonCode::AdministrativeAction)).unwrap());
    assert_eq!(client.disconnected().reason, ReasonCode::AdministrativeAction);
    match server.wait(events.recv()) {
        Some(Event::Disconnected { reason: DisconnectReason::Server(reason, _), .. }) => {
            assert_eq!(reason, ReasonCode::AdministrativeAction);
        }
        other => panic!("{other:?}"),
    }
    assert!(!server.wait(server.broker.disconnect(&id, ReasonCode::AdministrativeAction)).unwrap());
}

/// Knows one user, and lets it publish below `mine/` after a closer look at each message.
struct House;

impl Hooks for House {
    fn authenticate(&self, question: Authenticate) -> HookFuture<'_, AuthOutcome> {
        Box::pin(async move {
            tokio::task::yield_now().await; // a decision may take its time
            let user = question.username.as_ref().map(|name| name.as_str().to_owned());
            match (user.as_deref(), question.password.as_deref()) {
                (Some("panic"), _) => panic!("a hook may be wrong"),
                (Some("ann"), Some(b"secret")) => {
                    let grant = Grant::nothing().rule(true, Access::Both, "mine/#").ask();
                    AuthOutcome::Accept { identity: user, grant: Arc::new(grant), data: None }
                }
                _ => AuthOutcome::Refuse { reason: ReasonCode::BadUserNameOrPassword, reason_string: None },
            }
        })
    }

    fn authorize(&self, question: Authorize) -> HookFuture<'_, (Decision, Duration)> {
        Box::pin(async move {
            assert_eq!(question.identity.as_deref(), Some("ann"));
            let decision = match question.action {
                mqtt_tokio::broker::Action::Publish { payload, .. } if payload == "shout" => {
                    Decision::Replace(Bytes::from_static(b"whisper"))
                }
                mqtt_tokio::broker::Action::Publish { payload, .. } if payload == "lie" => Decision::Deny,
                _ => Decision::Allow,
            };
            (decision, Duration::ZERO)
        })
    }
}

fn house() -> Server {
    let config = Config { authentication: Authentication::Request, ..Config::default() };
    Server::build(Broker::builder(config).listen("mqtt://127.0.0.1:0").hooks(House))
}

#[test]
fn hooks_decide_who_comes_in() {
    let server = house();
    for (user, password, expected) in [
        (Some("ann"), Some("secret"), ReasonCode::Success),
        (Some("ann"), Some("wrong"), ReasonCode::BadUserNameOrPassword),
        (None, None, ReasonCode::BadUserNameOrPassword),
        (Some("panic"), None, ReasonCode::ServerUnavailable),
    ] {
        let mut packet = connect("client");
        packet.username = user.map(|user| user.try_into().unwrap());
        packet.password = password.map(|password| Bytes::from_static(password.as_bytes()));
        let (mut raw, connack) = Raw::connect(server.address(), &packet);
        assert_eq!(connack.reason, expected, "{user:?} {password:?}");
        if expected != ReasonCode::Success {
            assert_eq!(raw.receive(), None, "the refused are closed");
        }
    }
}

#[test]
fn hooks_decide_what_may_be_done() {
    let server = house();
    let mut packet = connect("client");
    packet.username = Some("ann".try_into().unwrap());
    packet.password = Some(Bytes::from_static(b"secret"));
    let (mut raw, _) = Raw::connect(server.address(), &packet);
    raw.subscribe("mine/#", QoS::AtMostOnce);
    for (id, payload, expected) in [(1, "shout", Some("whisper")), (2, "lie", None), (3, "talk", Some("talk"))] {
        raw.send(&publish("mine/x", payload, Some(id)));
        let mut message = None;
        let reason = loop {
            match raw.receive() {
                Some(Packet::Publish(publish)) => message = Some(publish.payload),
                Some(Packet::PubAck(ack)) if ack.id.get() == id => break ack.reason,
                other => panic!("{other:?}"),
            }
        };
        if message.is_none() && expected.is_some() {
            message = Some(raw.message().payload);
        }
        assert_eq!(message.as_deref(), expected.map(str::as_bytes));
        assert_eq!(reason == ReasonCode::NotAuthorized, expected.is_none(), "{reason:?}");
    }
}
