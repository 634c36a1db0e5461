//! The client against the broker of this crate: the three programs that a newcomer runs, in each version, and what only both ends together show.
mod client_support;

use client_support::soon;
use mqtt_tokio::broker::{Broker, BrokerHandle, Config};
use mqtt_tokio::client::{Builder, Client, Message, Outcome, Properties, Property, QoS, ReasonCode, Version, Will};
use std::time::Duration;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const HOUR: Duration = Duration::from_hours(1);

async fn broker() -> (BrokerHandle, String) {
    let broker = Broker::builder(Config::default()).listen("mqtt://127.0.0.1:0").start().await.unwrap();
    let url = format!("mqtt://{}", broker.local_addrs()[0]);
    (broker, url)
}

async fn connect(builder: Builder) -> Client {
    soon(builder.connect()).await.unwrap()
}

#[tokio::test]
async fn publish_and_subscribe() {
    let (_broker, url) = broker().await;
    for version in VERSIONS {
        for qos in LEVELS {
            let client = connect(Client::builder(&url).version(version)).await;
            let mut messages = soon(client.subscribe("mqtt/demo", qos)).await.unwrap();
            soon(client.publish("mqtt/demo", "hello world!", qos)).await.unwrap();
            let message = soon(messages.recv()).await.unwrap();
            assert_eq!((&message.payload[..], message.qos), (&b"hello world!"[..], qos));
            soon(client.end()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn pattern() {
    let (_broker, url) = broker().await;
    for version in VERSIONS {
        let client = connect(Client::builder(&url).version(version)).await;
        let mut messages = soon(client.subscribe("mqtt/+", QoS::AtLeastOnce)).await.unwrap();
        for topic in ["mqtt/demo", "mqtt/too/deep", "other/demo", "mqtt/last"] {
            soon(client.publish(topic, topic, QoS::AtLeastOnce)).await.unwrap();
        }
        for expected in ["mqtt/demo", "mqtt/last"] {
            assert_eq!(&*soon(messages.recv()).await.unwrap().topic, expected);
        }
        soon(client.end()).await.unwrap();
    }
}

#[tokio::test]
async fn offline_mode() {
    let (_broker, url) = broker().await;
    for version in VERSIONS {
        let subscriber = || Client::builder(&url).version(version).client_id("offline").persistent(HOUR);
        let client = connect(subscriber()).await;
        drop(soon(client.subscribe("mqtt/demo", QoS::AtLeastOnce)).await.unwrap());
        soon(client.end()).await.unwrap();

        let publisher = connect(Client::builder(&url)).await;
        for n in 0..20 {
            soon(publisher.publish("mqtt/demo", n.to_string(), QoS::AtLeastOnce)).await.unwrap();
        }

        let client = connect(subscriber()).await;
        let mut messages = client.messages();
        for n in 0..20 {
            assert_eq!(soon(messages.recv()).await.unwrap().payload, n.to_string());
        }
        soon(client.unsubscribe(["mqtt/demo"])).await.unwrap();
        soon(client.end()).await.unwrap();
    }
}

#[tokio::test]
async fn the_will_of_a_client_that_says_so() {
    let (_broker, url) = broker().await;
    for version in VERSIONS {
        let watcher = connect(Client::builder(&url)).await;
        let mut messages = soon(watcher.subscribe("will", QoS::AtLeastOnce)).await.unwrap();
        let topic = "will".parse().unwrap();
        let will =
            Will { qos: QoS::AtLeastOnce, retain: false, topic, payload: "gone".into(), properties: Properties::new() };
        let client = connect(Client::builder(&url).version(version).will(will)).await;
        client.disconnect(&ReasonCode::DisconnectWithWill.into()).unwrap();
        assert_eq!(soon(messages.recv()).await.unwrap().payload, "gone");
    }
}

#[tokio::test]
async fn retained_messages_and_properties() {
    let (_broker, url) = broker().await;
    let client = connect(Client::builder(&url)).await;
    let properties: Properties =
        [Property::ContentType("text/plain"), Property::UserProperty("k", "v")].into_iter().collect();
    let message = Message::new("kept".parse().unwrap(), "x", QoS::AtLeastOnce);
    let outcome = soon(client.publish_message(Message { retain: true, properties, ..message })).await.unwrap();
    assert_eq!(outcome, Outcome::Acknowledged(ReasonCode::NoMatchingSubscribers));
    let mut messages = soon(client.subscribe("#", QoS::AtLeastOnce)).await.unwrap();
    let message = soon(messages.recv()).await.unwrap();
    assert!(message.retain);
    assert_eq!(message.properties.content_type(), Some("text/plain"));
    assert_eq!(message.properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
}

/// Many messages in flight, in order, none lost, with small streams. At QoS 0 too: all of them fit into the sockets.
#[tokio::test]
async fn a_stream_of_messages_at_each_level() {
    const COUNT: usize = 2000;
    let (_broker, url) = broker().await;
    for version in VERSIONS {
        for qos in LEVELS {
            let client = connect(Client::builder(&url).version(version).capacity(10)).await;
            let mut messages = soon(client.subscribe("t", qos)).await.unwrap();
            let publisher = client.clone();
            let publishing = tokio::spawn(async move {
                let mut deliveries = Vec::new();
                for n in 0..COUNT {
                    let delivery = publisher.try_publish("t", n.to_string(), qos).unwrap();
                    deliveries.push(delivery);
                    if n % 50 == 49 {
                        for delivery in deliveries.drain(..) {
                            delivery.await.unwrap();
                        }
                    }
                }
            });
            for n in 0..COUNT {
                assert_eq!(soon(messages.recv()).await.unwrap().payload, n.to_string(), "{version:?} {qos:?}");
            }
            publishing.await.unwrap();
            soon(client.end()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_broker_that_drains_is_left_and_found_again() {
    let (broker, url) = broker().await;
    let client = connect(Client::builder(&url).client_id("c")).await;
    let mut events = client.events();
    soon(broker.drain(Duration::ZERO)).await.unwrap();
    soon(async {
        while client.is_connected() {
            events.recv().await.unwrap();
        }
    })
    .await;
    let delivery = client.try_publish("t", "queued", QoS::AtLeastOnce).unwrap();
    let address = url.strip_prefix("mqtt://").unwrap();
    let broker = Broker::builder(Config::default()).listen(format!("mqtt://{address}")).start().await.unwrap();
    client.reconnect();
    soon(delivery).await.unwrap();
    soon(broker.drain(Duration::ZERO)).await.unwrap();
}
