//! What the client does by itself when the connection is lost.
mod client_support;

use client_support::*;
use mqtt_tokio::client::{ConnectError, DisconnectReason, Event, PublishError};
use mqtt_tokio::proto::{Delivery, Disconnect, Packet, Properties, Property, ReasonCode};
use std::time::Duration;

#[tokio::test]
async fn it_reconnects_and_subscribes_again() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let mut events = client.events();
    let (messages, _) = tokio::join!(client.subscribe("a", Q1), conn.grant());
    let mut messages = messages.unwrap();
    drop(conn);
    let mut conn = server.welcome(false).await;
    assert_eq!(conn.grant().await, ["a"]);
    conn.send(publish("a", "after", Delivery::AtMostOnce)).await;
    assert_eq!(soon(messages.recv()).await.unwrap().payload, "after");
    assert!(matches!(
        soon(events.recv()).await,
        Some(Event::Disconnected { reason: DisconnectReason::TransportLost, was_connected: true, retry_in: Some(_) })
    ));
    assert!(matches!(soon(events.recv()).await, Some(Event::Connecting { server: 0 })));
    assert!(matches!(soon(events.recv()).await, Some(Event::Connected(_))));
}

#[tokio::test]
async fn a_publish_under_way_is_finished_on_the_next_connection() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder().persistent(Duration::from_mins(1))).await;
    let script = async {
        let first = conn.read_publish().await;
        assert!(!first.delivery.dup());
        drop(conn);
        let mut conn = server.welcome(true).await;
        let again = conn.read_publish().await;
        assert!(again.delivery.dup() && again.delivery.id() == first.delivery.id());
        conn.send(Packet::PubAck(ack(again.delivery.id().unwrap()))).await;
        conn
    };
    let (outcome, _conn) = tokio::join!(client.publish("t", "x", Q1), script);
    outcome.unwrap();
}

#[tokio::test]
async fn offline_messages_wait_in_order() {
    let server = Server::start().await;
    let client = server.builder().open().unwrap();
    let deliveries: Vec<_> = (0..5).map(|n| client.try_publish("t", n.to_string(), Q1).unwrap()).collect();
    let mut conn = server.welcome(false).await;
    assert!(client.connected().await);
    for n in 0..5 {
        assert_eq!(conn.take().await, n.to_string());
    }
    for delivery in deliveries {
        soon(delivery).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_session_fails_what_cannot_be_known() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder().persistent(Duration::from_mins(1))).await;
    let script = async {
        conn.read_publish().await;
        drop(conn);
        server.welcome(false).await
    };
    let (outcome, _conn) = tokio::join!(client.publish("t", "x", mqtt_tokio::client::QoS::ExactlyOnce), script);
    assert!(matches!(outcome, Err(PublishError::Failed(mqtt_tokio::client::Failure::SessionLost))));
}

#[tokio::test]
async fn without_reconnect_the_client_stays_disconnected() {
    let server = Server::start().await;
    let (client, conn) = server.client(server.builder().reconnect(None)).await;
    let mut events = client.events();
    drop(conn);
    assert!(matches!(soon(events.recv()).await, Some(Event::Disconnected { retry_in: None, .. })));
    assert!(!client.is_connected());
    client.reconnect();
    let mut conn = server.welcome(false).await;
    assert!(client.connected().await);
    tokio::join!(async { client.end().await.unwrap() }, conn.expect_end());
}

#[tokio::test]
async fn disconnecting_by_hand() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    client.disconnect(&ReasonCode::DisconnectWithWill.into()).unwrap();
    assert_eq!(conn.read().await, Packet::Disconnect(ReasonCode::DisconnectWithWill.into()));
    assert_eq!(conn.next().await, None);
    let delivery = client.try_publish("t", "later", Q1).unwrap();
    client.reconnect();
    let mut conn = server.welcome(false).await;
    assert_eq!(conn.take().await, "later");
    soon(delivery).await.unwrap();
}

#[tokio::test]
async fn the_servers_reason_is_told() {
    let server = Server::start().await;
    let (client, mut conn) = server.client(server.builder()).await;
    let mut events = client.events();
    let properties = Properties::builder().with(Property::ReasonString("maintenance")).build();
    conn.send(Disconnect { reason: ReasonCode::ServerShuttingDown, properties }).await;
    let Some(Event::Disconnected { reason, .. }) = soon(events.recv()).await else { panic!() };
    assert_eq!(reason.to_string(), "the server closed the connection: ServerShuttingDown (maintenance)");
    drop(server.welcome(false).await);
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_so() {
    use tokio::io::AsyncWriteExt;
    let server = Server::start().await;
    let (_client, mut conn) = server.client(server.builder()).await;
    conn.stream.write_all(&[0xC0, 0]).await.unwrap(); // PINGREQ
    assert_eq!(conn.read().await, Packet::Disconnect(ReasonCode::ProtocolError.into()));
    assert_eq!(conn.next().await, None);
    server.welcome(false).await;
}

#[tokio::test]
async fn a_session_can_be_kept_and_gone_on_with() {
    let server = Server::start().await;
    let persistent = || server.builder().persistent(Duration::from_mins(1));
    let (client, mut conn) = server.client(persistent()).await;
    drop(client.try_publish("t", "x", Q1).unwrap());
    let first = conn.read_publish().await;
    client.end_within(Duration::ZERO).await.unwrap_err();
    let client = persistent().session(client.export()).open().unwrap();
    let mut conn = server.welcome(true).await;
    let again = conn.read_publish().await;
    assert!(again.delivery.dup() && again.delivery.id() == first.delivery.id());
    conn.send(Packet::PubAck(ack(again.delivery.id().unwrap()))).await;
    tokio::join!(async { client.end().await.unwrap() }, conn.expect_end());
}

#[tokio::test]
async fn a_first_attempt_that_is_cut_off_is_an_error_and_later_ones_are_not() {
    let server = Server::start().await;
    let cut = async { drop(server.accept().await) };
    let (error, ()) = tokio::join!(server.builder().connect(), cut);
    assert!(matches!(error, Err(ConnectError::Disconnected(DisconnectReason::TransportLost))), "{error:?}");
    let client = server.builder().open().unwrap();
    for _ in 0..3 {
        drop(server.accept().await);
    }
    let _conn = server.welcome(false).await;
    assert!(client.connected().await);
}
