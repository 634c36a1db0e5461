//! The client of `mqtt-tokio`, against our broker and against mosquitto.

use crate::support::{Broker, PATIENCE, against_both, pattern};
use bytes::Bytes;
use mqtt_tokio::client::{
    AliasPolicy, Backoff, Builder, Client, DisconnectReason, Event, Message, Properties, Property, QoS, ReasonCode,
    Received, RetainHandling, SubscribeOptions, Subscription, SubscriptionOptions, TopicName, Version, Will,
};
use std::future::Future;
use std::thread;
use std::time::Duration;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Runs a scenario, with a deadline.
pub(crate) fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, scenario).await.expect("the scenario ends in time") })
}

/// Runs a client on a runtime of its own and cuts its connection without DISCONNECT, as the end of its process would.
fn run_and_kill(scenario: impl Future<Output = Client> + Send + 'static) {
    let cut = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, scenario).await.expect("the client is ready in time") });
        // The sockets go with the runtime, before the client could say goodbye.
        drop(runtime);
        drop(client);
    };
    thread::spawn(cut).join().expect("the client that is cut");
}

fn builder(broker: &Broker, version: Version) -> Builder {
    Client::builder(&broker.url()).version(version)
}

async fn connect(broker: &Broker, version: Version) -> Client {
    builder(broker, version).connect().await.expect("a connection")
}

fn topic(name: &str) -> TopicName {
    TopicName::try_from(name).expect("a topic name")
}

async fn next(subscription: &mut Subscription) -> Received {
    subscription.recv().await.expect("a message")
}

/// The next payload as text.
pub(crate) async fn text(subscription: &mut Subscription) -> String {
    String::from_utf8_lossy(&next(subscription).await.payload).into_owned()
}

fn will(name: &str) -> Will {
    let payload = Bytes::from_static(b"gone");
    Will { qos: QoS::AtLeastOnce, retain: false, topic: topic(name), payload, properties: Properties::new() }
}

against_both! {
    /// Each QoS arrives as the lower of the publisher's and the subscriber's, in each version.
    fn messages_arrive(broker: &Broker) {
        run(async {
            for version in VERSIONS {
                let publisher = connect(broker, version).await;
                for granted in LEVELS {
                    let subscriber = connect(broker, version).await;
                    let mut messages = subscriber.subscribe("levels/#", granted).await.expect("a subscription");
                    for sent in LEVELS {
                        let topic = format!("levels/{}", sent as u8);
                        publisher.publish(&topic, "Grüße", sent).await.expect("an acknowledgement");
                        let message = next(&mut messages).await;
                        assert_eq!(message.topic.as_str(), topic);
                        assert_eq!(message.payload, "Grüße");
                        assert_eq!((message.qos, message.retain, message.dup), (sent.min(granted), false, false));
                    }
                    subscriber.end().await.expect("an end");
                }
                publisher.end().await.expect("an end");
            }
        });
    }

    /// A thousand messages that are published without waiting arrive once each and in order.
    fn a_burst_keeps_its_order(broker: &Broker) {
        run(async {
            for version in VERSIONS {
                let publisher = connect(broker, version).await;
                let subscriber = connect(broker, version).await;
                // (mosquitto 2.0 passes the receive maximum of a QoS 2 subscriber.)
                let highest = if broker.is_mosquitto() { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                let mut messages = subscriber.subscribe("burst/+", highest).await.expect("a subscription");
                for qos in LEVELS {
                    // As many as mosquitto takes from a client at once.
                    for start in (0..1000).step_by(20) {
                        let deliveries: Vec<_> = (start..start + 20)
                            .map(|number: i32| publisher.try_publish("burst/x", number.to_string(), qos).expect("room"))
                            .collect();
                        for delivery in deliveries {
                            delivery.await.expect("an acknowledgement");
                        }
                        for number in start..start + 20 {
                            assert_eq!(text(&mut messages).await, number.to_string());
                        }
                    }
                }
            }
        });
    }

    /// A retained message is kept and cleared.
    fn retained_messages_are_kept(broker: &Broker) {
        run(async {
            for version in VERSIONS {
                let client = connect(broker, version).await;
                let mut kept = Message::new(topic("kept"), "old", QoS::AtLeastOnce);
                kept.retain = true;
                client.publish_message(kept.clone()).await.expect("an acknowledgement");
                let mut messages = client.subscribe("kept", QoS::AtLeastOnce).await.expect("a subscription");
                let message = next(&mut messages).await;
                assert_eq!((&message.payload[..], message.retain), (&b"old"[..], true));
                kept.payload = Bytes::new();
                client.publish_message(kept).await.expect("an acknowledgement");
                let late = connect(broker, version).await;
                let mut messages = late.subscribe("kept", QoS::AtLeastOnce).await.expect("a subscription");
                client.publish("kept", "live", QoS::AtLeastOnce).await.expect("an acknowledgement");
                let message = next(&mut messages).await;
                assert_eq!((&message.payload[..], message.retain), (&b"live"[..], false));
            }
        });
    }

    /// Nothing comes after UNSUBACK.
    fn unsubscribing_ends_a_subscription(broker: &Broker) {
        run(async {
            for version in VERSIONS {
                let client = connect(broker, version).await;
                let filters = [("drop", QoS::AtLeastOnce), ("keep", QoS::AtLeastOnce)];
                let mut messages = client.subscribe_many(filters, SubscribeOptions::default()).await.expect("subscriptions");
                client.unsubscribe(["drop"]).await.expect("UNSUBACK");
                for topic in ["drop", "keep"] {
                    client.publish(topic, "x", QoS::AtLeastOnce).await.expect("an acknowledgement");
                }
                assert_eq!(next(&mut messages).await.topic.as_str(), "keep");
            }
        });
    }

    /// A will follows a connection that is cut, and no DISCONNECT.
    fn wills_are_sent(broker: &Broker) {
        run(async {
            for version in VERSIONS {
                let watcher = connect(broker, version).await;
                let mut wills = watcher.subscribe("will/+", QoS::AtLeastOnce).await.expect("a subscription");
                let leaves = builder(broker, version).will(will("will/leaves")).connect().await.expect("a connection");
                leaves.end().await.expect("an end");
                let cut = builder(broker, version).will(will("will/cut"));
                run_and_kill(async { cut.connect().await.expect("a connection") });
                let message = next(&mut wills).await;
                assert_eq!((message.topic.as_str(), &message.payload[..]), ("will/cut", &b"gone"[..]));
            }
        });
    }

    /// Messages wait for a stored session, whether its client left or was cut off.
    fn sessions_sleep_offline(broker: &Broker) {
        run(async {
            for version in VERSIONS {
                let name = format!("library-{version:?}");
                let sleeper = || builder(broker, version).client_id(&name).persistent(Duration::MAX);
                let first = sleeper().connect().await.expect("a connection");
                first.subscribe("sleep/+", QoS::ExactlyOnce).await.expect("a subscription");
                first.end().await.expect("an end");
                let publisher = connect(broker, version).await;
                for round in 0..3 {
                    for number in 0..20 {
                        let text = format!("{round}-{number}");
                        publisher.publish("sleep/x", text, QoS::AtLeastOnce).await.expect("an acknowledgement");
                    }
                    if round < 2 {
                        // It takes all there is, and then is cut off.
                        let woken = sleeper();
                        run_and_kill(async move {
                            let client = woken.connect().await.expect("a connection");
                            let mut messages = client.messages();
                            for number in 0..20 {
                                let message = messages.recv().await.expect("a message");
                                assert_eq!(message.payload, format!("{round}-{number}"));
                            }
                            // What follows an acknowledgement on its way shows that it has arrived.
                            client.subscribe("mark", QoS::AtMostOnce).await.expect("a subscription");
                            client
                        });
                    }
                }
                let last = sleeper().connect().await.expect("a connection");
                let mut messages = last.messages();
                for number in 0..20 {
                    assert_eq!(messages.recv().await.expect("a message").payload, format!("2-{number}"));
                }
                last.end().await.expect("an end");
                builder(broker, version).client_id(&name).connect().await.expect("a connection").end().await.expect("an end");
            }
        });
    }

    /// A megabyte and ten arrive unharmed.
    fn large_payloads_arrive_unharmed(broker: &Broker) {
        run(async {
            for (version, size) in [(Version::V3_1, 1_000_000), (Version::V3_1_1, 10_000_000), (Version::V5, 10_000_000)] {
                let client = connect(broker, version).await;
                let mut messages = client.subscribe("large", QoS::ExactlyOnce).await.expect("a subscription");
                let payload = Bytes::from(pattern(size));
                for qos in LEVELS {
                    client.publish("large", payload.clone(), qos).await.expect("an acknowledgement");
                    assert!(next(&mut messages).await.payload == payload, "{version:?} {qos:?}");
                }
            }
        });
    }

    /// Properties of a message, and the identifier of the subscription that it matched.
    fn properties_arrive(broker: &Broker) {
        run(async {
            let client = connect(broker, Version::V5).await;
            let more = SubscribeOptions { identifier: Some(268_435_455), ..SubscribeOptions::default() };
            let mut messages = client.subscribe_many([("props", QoS::AtLeastOnce)], more).await.expect("a subscription");
            let mut message = Message::new(topic("props"), "x", QoS::AtLeastOnce);
            message.properties = Properties::builder()
                .with(Property::PayloadFormatIndicator(true))
                .with(Property::MessageExpiryInterval(500))
                .with(Property::ContentType("text/plain"))
                .with(Property::ResponseTopic("reply/to"))
                .with(Property::CorrelationData(&[0, 255]))
                .with(Property::UserProperty("b", "1"))
                .with(Property::UserProperty("a", "2"))
                .with(Property::UserProperty("b", "3"))
                .build();
            client.publish_message(message).await.expect("an acknowledgement");
            let got = next(&mut messages).await.properties;
            assert_eq!(got.payload_format_indicator(), Some(true));
            assert!(got.message_expiry_interval().is_some_and(|left| (400..=500).contains(&left)), "{got:?}");
            assert_eq!(got.content_type(), Some("text/plain"));
            assert_eq!(got.response_topic(), Some("reply/to"));
            assert_eq!(got.correlation_data(), Some(&[0, 255][..]));
            assert_eq!(got.user_properties().collect::<Vec<_>>(), [("b", "1"), ("a", "2"), ("b", "3")]);
            assert_eq!(got.subscription_identifiers().collect::<Vec<_>>(), [268_435_455]);
        });
    }

    /// No Local, Retain As Published and Retain Handling.
    fn subscription_options_are_kept(broker: &Broker) {
        run(async {
            let own = connect(broker, Version::V5).await;
            let other = connect(broker, Version::V5).await;
            let mut kept = Message::new(topic("options/kept"), "old", QoS::AtLeastOnce);
            kept.retain = true;
            other.publish_message(kept).await.expect("an acknowledgement");
            let qos = QoS::AtLeastOnce;
            let retain_handling = RetainHandling::DoNotSend;
            let options = SubscriptionOptions { qos, no_local: true, retain_as_published: true, retain_handling };
            let mut messages = own.subscribe("options/+", options).await.expect("a subscription");
            own.publish("options/own", "x", QoS::AtLeastOnce).await.expect("an acknowledgement");
            let mut flagged = Message::new(topic("options/other"), "x", QoS::AtLeastOnce);
            flagged.retain = true;
            other.publish_message(flagged).await.expect("an acknowledgement");
            let message = next(&mut messages).await;
            assert_eq!((message.topic.as_str(), message.retain), ("options/other", true));
        });
    }

    /// Topics travel as aliases, both ways, and arrive as themselves.
    fn aliases_stand_for_topics(broker: &Broker) {
        run(async {
            for policy in [AliasPolicy::FirstCome, AliasPolicy::Lru] {
                let publisher = builder(broker, Version::V5).topic_alias(policy).connect().await.expect("a connection");
                let subscriber = connect(broker, Version::V5).await;
                let mut messages = subscriber.subscribe("alias/#", QoS::AtLeastOnce).await.expect("a subscription");
                for number in 0..60 {
                    let topic = format!("alias/{}", number % 13);
                    publisher.publish(&topic, number.to_string(), QoS::AtLeastOnce).await.expect("an acknowledgement");
                    let message = next(&mut messages).await;
                    assert_eq!((message.topic.as_str(), &message.payload[..]), (&topic[..], number.to_string().as_bytes()));
                }
            }
        });
    }

    /// Members of a shared subscription have each message once between them.
    fn shared_subscriptions_share(broker: &Broker) {
        run(async {
            let publisher = connect(broker, Version::V5).await;
            let (first, second) = (connect(broker, Version::V5).await, connect(broker, Version::V5).await);
            let mut left = first.subscribe("$share/crew/work/+", QoS::AtLeastOnce).await.expect("a subscription");
            let mut right = second.subscribe("$share/crew/work/+", QoS::AtLeastOnce).await.expect("a subscription");
            for number in 0..60 {
                publisher.publish("work/x", number.to_string(), QoS::AtLeastOnce).await.expect("an acknowledgement");
            }
            let (mut seen, mut shares) = (Vec::new(), [0, 0]);
            while seen.len() < 60 {
                let (member, message) = tokio::select! {
                    message = left.recv() => (0, message),
                    message = right.recv() => (1, message),
                };
                shares[member] += 1;
                let payload = message.expect("a message").payload;
                seen.push(String::from_utf8_lossy(&payload).parse::<i32>().expect("a number"));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..60).collect::<Vec<_>>());
            assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
        });
    }

    /// A second client with the same identifier ends the first, which does not fight back.
    fn a_takeover_is_told(broker: &Broker) {
        run(async {
            let taken = || builder(broker, Version::V5).client_id("taken").connect();
            let first = taken().await.expect("a connection");
            let mut events = first.events();
            let second = taken().await.expect("a connection");
            let reason = loop {
                if let Event::Disconnected { reason, .. } = events.recv().await.expect("an event") {
                    break reason;
                }
            };
            if broker.is_mosquitto() {
                return; // (It closes without a word, so that the first cannot know that it should stay away.)
            }
            assert!(matches!(reason, DisconnectReason::ByServer(packet) if packet.reason == ReasonCode::SessionTakenOver));
            let mut messages = second.subscribe("taken", QoS::AtLeastOnce).await.expect("a subscription");
            second.publish("taken", "x", QoS::AtLeastOnce).await.expect("an acknowledgement");
            assert_eq!(text(&mut messages).await, "x");
        });
    }
}

/// What is published while the broker is away is sent when it is back, to subscriptions that the client has made again.
fn survives_a_crash(mut broker: Broker) {
    run(async {
        for version in VERSIONS {
            let backoff =
                Backoff { min: Duration::from_millis(50), max: Duration::from_millis(200), ..Backoff::default() };
            let client = builder(&broker, version).reconnect(backoff).connect().await.expect("a connection");
            let mut events = client.events();
            let mut messages = client.subscribe("after/crash", QoS::AtLeastOnce).await.expect("a subscription");
            broker.crash_and_restart();
            let delivery = client.try_publish("after/crash", "x", QoS::AtLeastOnce).expect("room");
            delivery.await.expect("an acknowledgement");
            assert_eq!(text(&mut messages).await, "x");
            while !matches!(events.recv().await.expect("an event"), Event::Connected(_)) {}
            client.end().await.expect("an end");
        }
    });
}

#[test]
fn it_survives_a_crash_of_our_broker() {
    survives_a_crash(Broker::start());
}

#[test]
fn it_survives_a_crash_of_mosquitto() {
    if let Some(broker) = Broker::mosquitto() {
        survives_a_crash(broker);
    }
}
