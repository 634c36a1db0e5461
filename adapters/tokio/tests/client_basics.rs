//! Connecting, subscribing, publishing, ending: what a user does first, and what goes wrong first.
mod client_support;

use client_support::*;
use mqtt_tokio::client::{
    AddressErrorKind, Client, ConnectError, DisconnectReason, Outcome, PublishError, SubscribeError, SubscribeOptions,
};
use mqtt_tokio::proto::{ConnAck, Delivery, Packet, Properties, QoS, ReasonCode, SubAck, Version};
use std::time::Duration;

#[tokio::test]
async fn hello_world() {
    let server = Server::start().await;
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let script = async {
            let mut conn = server.welcome(false).await;
            assert_eq!(conn.grant().await, ["mqtt/+"]);
            let sent = conn.read_publish().await;
            assert_eq!((sent.topic.as_deref(), &sent.payload[..]), (Some("mqtt/demo"), &b"hello world!"[..]));
            conn.send(Packet::PubAck(ack(sent.delivery.id().unwrap()))).await;
            conn.send(publish("mqtt/demo", "hello world!", qos1(1))).await;
            assert_eq!(conn.read().await, Packet::PubAck(ack(mqtt_tokio::proto::PacketId::MIN)));
            conn.expect_end().await;
        };
        let user = async {
            let client = server.builder().version(version).connect().await.unwrap();
            let mut messages = client.subscribe("mqtt/+", QoS::AtLeastOnce).await.unwrap();
            assert_eq!(messages.granted()[0].1, ReasonCode::GrantedQoS1);
            let outcome = client.publish("mqtt/demo", "hello world!", QoS::AtLeastOnce).await.unwrap();
            assert_eq!(outcome, Outcome::Acknowledged(ReasonCode::Success));
            let message = messages.recv().await.unwrap();
            assert_eq!((&*message.topic, &message.payload[..]), ("mqtt/demo", &b"hello world!"[..]));
            client.end().await.unwrap();
            assert!(messages.recv().await.is_none());
            assert_eq!(client.publish("t", "x", Q0).await, Err(PublishError::Ended));
            assert!(matches!(client.subscribe("t", Q0).await, Err(SubscribeError::Ended)));
            assert!(!client.connected().await);
            client.end().await.unwrap();
        };
        tokio::join!(script, user);
    }
}

#[tokio::test]
async fn messages_go_to_the_streams_that_match_and_else_to_all() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    conn.send(publish("early", "kept", Delivery::AtMostOnce)).await;
    let (two, _) =
        tokio::join!(client.subscribe_many([("a/+", Q0), ("b", Q0)], SubscribeOptions::default()), conn.grant());
    let (one, _) = tokio::join!(client.subscribe("a/1", Q0), conn.grant());
    let (shared, _) = tokio::join!(client.subscribe("$share/g/s/#", Q0), conn.grant());
    let (mut two, mut one, mut shared) = (two.unwrap(), one.unwrap(), shared.unwrap());
    let mut rest = client.messages();
    for topic in ["a/1", "b", "c", "s/x"] {
        conn.send(publish(topic, topic, Delivery::AtMostOnce)).await;
    }
    let next = async |stream: &mut mqtt_tokio::client::Messages| soon(stream.recv()).await.unwrap().topic.to_string();
    assert_eq!([next(&mut rest).await, next(&mut rest).await], ["early", "c"]);
    assert_eq!(&*soon(one.recv()).await.unwrap().topic, "a/1");
    assert_eq!(&*soon(two.recv()).await.unwrap().topic, "a/1");
    assert_eq!(&*soon(two.recv()).await.unwrap().topic, "b");
    assert_eq!(&*soon(shared.recv()).await.unwrap().topic, "s/x");
    drop(one);
    drop(two);
    conn.send(publish("a/1", "x", Delivery::AtMostOnce)).await;
    assert_eq!(next(&mut rest).await, "a/1", "nobody else takes it any more");
}

#[tokio::test]
async fn what_the_server_refuses_is_an_error() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let script = async {
        let Packet::Subscribe(subscribe) = conn.read().await else { panic!() };
        let reasons = vec![ReasonCode::Success, ReasonCode::NotAuthorized];
        conn.send(SubAck { id: subscribe.id, reasons, properties: Properties::new() }).await;
        let sent = conn.read_publish().await;
        let refused = mqtt_tokio::proto::Ack { reason: ReasonCode::QuotaExceeded, ..ack(sent.delivery.id().unwrap()) };
        conn.send(Packet::PubAck(refused)).await;
    };
    let user = async {
        let error = client.subscribe_many([("a", Q0), ("b", Q0)], SubscribeOptions::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "the server refused `b`: NotAuthorized");
        let error = client.publish("t", "x", Q1).await.unwrap_err();
        assert_eq!(error.to_string(), "the server refused the message: QuotaExceeded");
    };
    tokio::join!(script, user);
    assert!(matches!(client.publish("a/+", "x", Q0).await, Err(PublishError::Topic(_))));
    assert!(matches!(client.subscribe("a/#/b", Q0).await, Err(SubscribeError::Filter(_))));
}

#[tokio::test]
async fn unsubscribing_is_confirmed() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let script = async {
        let Packet::Unsubscribe(packet) = conn.read().await else { panic!() };
        let reasons = vec![ReasonCode::NoSubscriptionExisted];
        conn.send(mqtt_tokio::proto::UnsubAck { id: packet.id, reasons, properties: Properties::new() }).await;
    };
    let (reasons, ()) = tokio::join!(client.unsubscribe(["a"]), script);
    assert_eq!(reasons, Ok(vec![ReasonCode::NoSubscriptionExisted]));
}

#[tokio::test]
async fn nobody_listens() {
    let server = Server::start().await;
    let url = server.url.clone();
    drop(server);
    let error = soon(Client::connect(&url)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io { .. }));
    assert!(error.to_string().contains(&url) && error.to_string().contains("is a broker running there?"), "{error}");
}

#[tokio::test]
async fn refused_by_connack() {
    let server = Server::start().await;
    let script = async {
        let (mut conn, _) = server.accept().await;
        let reason = ReasonCode::BadUserNameOrPassword;
        conn.send(ConnAck { session_present: false, reason, properties: Properties::new() }).await;
        assert_eq!(conn.next().await, None);
    };
    let (error, ()) = tokio::join!(server.builder().connect(), script);
    let error = error.unwrap_err();
    assert!(matches!(&error, ConnectError::Disconnected(DisconnectReason::Refused(_))));
    assert_eq!(error.to_string(), "the server refused the connection: BadUserNameOrPassword");
}

#[tokio::test]
async fn urls_are_checked_first() {
    let kind = |result| match result {
        Err(ConnectError::Address(error)) => error.kind,
        other => panic!("{other:?}"),
    };
    assert!(matches!(kind(Client::connect("http://h").await), AddressErrorKind::UnknownScheme(_)));
    assert!(matches!(kind(Client::connect("localhost").await), AddressErrorKind::NoScheme));
    let error = Client::builder("mqtt://h").client_id("\0").connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Text(_)));
    let error = Client::builder("mqtt://h").configure(|config| config.receive_maximum = 0).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(_)));
}

#[tokio::test]
async fn credentials_of_the_url_are_sent() {
    let server = Server::start().await;
    let url = server.url.replace("mqtt://", "mqtt://me:p%3A@");
    let script = async {
        let (_conn, connect) = server.accept().await;
        assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("me"), Some(&b"p:"[..])));
    };
    let client = Client::builder(&url).open().unwrap();
    script.await;
    drop(client);
}

#[tokio::test]
async fn the_next_server_is_tried() {
    let dead = Server::start().await.url;
    let server = Server::start().await;
    let (client, _conn) = server.client(Client::builder(&dead).client_id("c").server(&server.url)).await;
    assert!(client.is_connected());
}

#[tokio::test]
async fn end_sends_what_is_queued_and_waits_for_the_acknowledgment() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let delivery = client.try_publish("t", "last words", Q1).unwrap();
    let script = async {
        assert_eq!(conn.take().await, "last words");
        conn.expect_end().await;
    };
    let (ended, ()) = tokio::join!(client.end(), script);
    ended.unwrap();
    assert!(delivery.await.is_ok());
}

#[tokio::test]
async fn end_gives_up_at_its_deadline() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let delivery = client.try_publish("t", "x", Q1).unwrap();
    conn.read_publish().await;
    assert_eq!(client.end_within(Duration::ZERO).await.unwrap_err().unfinished, 1);
    conn.expect_end().await;
    assert_eq!(delivery.await, Err(PublishError::Ended));
    assert_eq!(client.export().inflight.len(), 1, "it can be kept for later");
}

#[tokio::test]
async fn dropping_the_last_handle_disconnects() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let other = client.clone();
    let mut messages = client.messages();
    drop(client);
    assert!(other.is_connected());
    drop(other);
    conn.expect_end().await;
    assert!(soon(messages.recv()).await.is_none());
}

#[tokio::test]
async fn manual_acknowledgments() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder().manual_acks(true)).await;
    let mut messages = client.messages();
    conn.send(publish("t", "x", qos1(5))).await;
    let message = soon(messages.recv()).await.unwrap();
    client.acknowledge(message.ack.unwrap(), ReasonCode::Success);
    assert!(matches!(conn.read().await, Packet::PubAck(ack) if ack.id.get() == 5));
}

#[test]
fn a_runtime_that_goes_first_ends_the_client() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (client, pending) = first.block_on(async {
        let server = Server::start().await;
        let client = server.builder().open().unwrap();
        let pending = client.try_publish("t", "x", Q1).unwrap();
        (client, pending)
    });
    drop(first);
    second.block_on(soon(async {
        assert_eq!(pending.await, Err(PublishError::Ended));
        assert_eq!(client.publish("t", "x", Q1).await, Err(PublishError::Ended));
        assert!(client.messages().recv().await.is_none());
        assert!(client.end().await.is_err(), "the message was never sent");
    }));
}
