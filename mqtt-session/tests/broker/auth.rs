//! Who a client is and what it may do: requests, the AUTH exchange, grants, authorizations (sections 3.15, 4.12 and 5.4).
use crate::common::*;
use bytes::Bytes;
use mqtt_session::broker::*;
use mqtt_session::proto::*;
use std::sync::Arc;
use std::time::Duration;

fn bench() -> Bench {
    Bench::with(|config| config.authentication = Authentication::Request)
}

/// CONNECT with this Authentication Method.
fn enhanced(method: &str, data: Option<&[u8]>) -> Connect {
    let method = Some(Property::AuthenticationMethod(method));
    with(connect(Version::V5, "c"), method.into_iter().chain(data.map(Property::AuthenticationData)))
}

fn auth(reason: ReasonCode, method: &str, data: &[u8]) -> Auth {
    let properties = properties([Property::AuthenticationMethod(method), Property::AuthenticationData(data)]);
    Auth { reason, properties }
}

fn accepted(identity: Option<&str>, data: Option<&'static [u8]>) -> AuthOutcome {
    let identity = identity.map(String::from);
    AuthOutcome::Accept { identity, grant: Arc::new(Grant::everything()), data: data.map(Bytes::from_static) }
}

/// A client that is connected by a method, as somebody.
fn connected(bench: &mut Bench) -> Client {
    let client = bench.open(enhanced("m", None));
    let id = bench.authenticate().id;
    bench.answer(id, accepted(Some("somebody"), None));
    assert!(matches!(bench.recv(client), Some(Packet::ConnAck(_))));
    client
}

#[test]
fn the_outside_learns_what_connect_says() {
    for version in VERSIONS {
        let mut bench = bench();
        let username = Some(Utf8String::try_from("user").unwrap());
        let password = Some(Bytes::from_static(b"secret"));
        let client = bench.open(Connect { username, password, ..connect(version, "c") });
        let asked = bench.authenticate();
        assert_eq!((asked.connection, asked.stage, asked.version), (client.0, AuthStage::Connect, version));
        assert_eq!((&*asked.client_id, &*asked.peer.address), ("c", "test"));
        assert_eq!(asked.username.as_deref(), Some("user"));
        assert_eq!(asked.password.as_deref(), Some(&b"secret"[..]));
        assert_eq!((asked.method, asked.data), (None, None));
        bench.assert_silent(client);
        bench.answer(asked.id, accepted(None, Some(b"ignored")));
        match bench.recv(client) {
            // [MQTT-4.12.0-6]: no method, no data
            Some(Packet::ConnAck(connack)) => assert!(!connack.properties.contains(PropertyId::AuthenticationData)),
            other => panic!("{other:?}"),
        }
        // The identifier that was assigned is known already.
        let nameless = bench.open(connect(Version::V5, ""));
        let asked = bench.authenticate();
        assert!(!asked.client_id.is_empty());
        bench.answer(asked.id, accepted(None, None));
        match bench.recv(nameless) {
            Some(Packet::ConnAck(connack)) => {
                assert_eq!(connack.properties.assigned_client_identifier(), Some(&*asked.client_id));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refusal_may_say_why() {
    // [MQTT-3.1.4-2], [MQTT-3.1.2-29]: CONNACK may carry it whatever Request Problem Information says
    for wish in [None, Some(true), Some(false)] {
        let mut bench = bench();
        let wish = wish.map(Property::RequestProblemInformation);
        let client = bench.open(with(connect(Version::V5, "c"), wish));
        bench.refuse(ReasonCode::Banned, Some("go away"));
        let connack = bench.refusal(client).unwrap();
        assert_eq!((connack.reason, connack.properties.reason_string()), (ReasonCode::Banned, Some("go away")));
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        let mut bench = bench();
        let client = bench.open(connect(version, "c"));
        bench.refuse(ReasonCode::Banned, Some("go away"));
        assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::NotAuthorized);
    }
}

#[test]
fn input_waits_until_the_client_is_known() {
    // [MQTT-3.1.4-6], [MQTT-3.2.0-1]
    for version in VERSIONS {
        let mut bench = bench();
        let client = bench.open(connect(version, "c"));
        assert!(!bench.broker.wants_read(client.0));
        bench.send(client, message("a", "x", QoS::AtLeastOnce));
        bench.send(client, Packet::PingReq);
        bench.assert_silent(client);
        bench.accept(None, Grant::everything()); // Output::Readable lets the harness hand the input in
        let packets = bench.recv_all(client);
        assert!(matches!(&packets[..], [Packet::ConnAck(_), Packet::PubAck(_), Packet::PingResp]), "{packets:?}");
        assert!(bench.broker.wants_read(client.0));
    }
}

#[test]
fn an_exchange_takes_as_many_steps_as_it_needs() {
    // [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5], [MQTT-3.15.2-1], [MQTT-3.15.2-2], [MQTT-3.15.2-3]
    let mut bench = bench();
    let hello = enhanced("m", Some(b"hello"));
    let client =
        bench.open(Connect { username: Some("name".try_into().unwrap()), password: Some("secret".into()), ..hello });
    let first = bench.authenticate();
    assert_eq!((first.stage, first.method.as_deref()), (AuthStage::Connect, Some("m")));
    assert_eq!((first.username.as_deref(), first.password.as_deref()), (Some("name"), Some(&b"secret"[..])));
    assert_eq!(first.data.as_deref(), Some(&b"hello"[..]));
    let mut id = first.id;
    for step in [b"1", b"2", b"3"] {
        bench.answer(id, AuthOutcome::Continue { data: Some(Bytes::from_static(step)) });
        assert_eq!(bench.recv(client), Some(auth(ReasonCode::ContinueAuthentication, "m", step).into()));
        bench.send(client, auth(ReasonCode::ContinueAuthentication, "m", step));
        let next = bench.authenticate();
        assert_eq!((next.stage, next.data.as_deref()), (AuthStage::Continue, Some(&step[..])));
        assert_eq!((next.username.as_deref(), next.password), (Some("name"), None));
        id = next.id;
    }
    bench.answer(id, accepted(None, Some(b"done")));
    match bench.recv(client) {
        Some(Packet::ConnAck(connack)) => {
            assert_eq!(connack.reason, ReasonCode::Success);
            assert_eq!(connack.properties.authentication_method(), Some("m"));
            assert_eq!(connack.properties.authentication_data(), Some(&b"done"[..]));
        }
        other => panic!("{other:?}"),
    }
    // A challenge without data has none.
    let client = bench.open(enhanced("m", None));
    let id = bench.authenticate().id;
    bench.answer(id, AuthOutcome::Continue { data: None });
    match bench.recv(client) {
        Some(Packet::Auth(auth)) => assert_eq!(auth.properties.authentication_data(), None),
        other => panic!("{other:?}"),
    }
    // Nor does an answer without data have that of CONNECT.
    let client = bench.open(enhanced("m", Some(b"hello")));
    let id = bench.authenticate().id;
    bench.answer(id, AuthOutcome::Continue { data: None });
    let method = properties([Property::AuthenticationMethod("m")]);
    bench.send(client, Auth { reason: ReasonCode::ContinueAuthentication, properties: method });
    assert_eq!(bench.authenticate().data, None);
}

/// An empty reason is none, and one that may not fit is left out [MQTT-3.2.2-19].
#[test]
fn a_reason_string_is_never_empty_and_fits() {
    let words = "x".repeat(40);
    for (room, words, expected) in
        [(1000, "", None), (104, &*words, Some(&*words)), (103, &*words, None), (1000, "why", Some("why"))]
    {
        let mut bench = bench();
        let client = bench.open(with(connect(Version::V5, "c"), [Property::MaximumPacketSize(room)]));
        bench.refuse(ReasonCode::Banned, Some(words));
        assert_eq!(bench.refusal(client).unwrap().properties.reason_string(), expected, "{room}");
    }
}

#[test]
fn an_exchange_that_fails_ends_in_connack() {
    // [MQTT-4.12.0-4]
    let mut bench = bench();
    let client = bench.open(enhanced("m", None));
    let id = bench.authenticate().id;
    bench.answer(id, AuthOutcome::Continue { data: None });
    bench.recv(client);
    bench.send(client, auth(ReasonCode::ContinueAuthentication, "m", b"wrong"));
    bench.refuse(ReasonCode::NotAuthorized, None);
    assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::NotAuthorized);
}

#[test]
fn a_client_without_method_is_sent_no_auth() {
    // [MQTT-4.12.0-6]
    for version in VERSIONS {
        let mut bench = bench();
        let client = bench.open(connect(version, "c"));
        let id = bench.authenticate().id;
        bench.answer(id, AuthOutcome::Continue { data: None });
        let expected = if version.is_v5() { ReasonCode::BadAuthenticationMethod } else { ReasonCode::NotAuthorized };
        assert_eq!(bench.refusal(client).unwrap().reason, expected);
    }
}

#[test]
fn a_method_that_nobody_knows_is_refused() {
    // [MQTT-4.12.0-1]
    let mut open = Bench::new();
    let client = open.open(enhanced("m", None));
    assert_eq!(open.refusal(client).unwrap().reason, ReasonCode::BadAuthenticationMethod);
}

/// A client in the middle of its exchange sends this.
fn in_the_exchange(packet: impl Into<Packet>) -> Option<ReasonCode> {
    let mut bench = bench();
    let client = bench.open(enhanced("m", None));
    let id = bench.authenticate().id;
    bench.answer(id, AuthOutcome::Continue { data: None });
    bench.recv(client);
    bench.send(client, packet);
    let refusal = bench.refusal(client).map(|connack| connack.reason);
    assert_eq!(bench.broker.stats().sessions, 0);
    refusal
}

#[test]
fn only_auth_and_disconnect_belong_into_an_exchange() {
    // [MQTT-3.1.2-30]
    let protocol_error = Some(ReasonCode::ProtocolError);
    assert_eq!(in_the_exchange(Packet::PingReq), protocol_error);
    assert_eq!(in_the_exchange(message("a", "x", QoS::AtMostOnce)), protocol_error);
    assert_eq!(in_the_exchange(connect(Version::V5, "c")), protocol_error);
    assert_eq!(in_the_exchange(Disconnect::from(ReasonCode::Success)), None, "it gives up");
    // [MQTT-4.12.0-5]: another method; [MQTT-4.12.0-3]: another reason
    let other = auth(ReasonCode::ContinueAuthentication, "other", b"");
    assert_eq!(in_the_exchange(other), Some(ReasonCode::BadAuthenticationMethod));
    assert_eq!(in_the_exchange(auth(ReasonCode::ReAuthenticate, "m", b"")), protocol_error);
    assert_eq!(in_the_exchange(auth(ReasonCode::Success, "m", b"")), protocol_error);
}

#[test]
fn auth_out_of_turn_is_a_protocol_error() {
    // [MQTT-4.12.0-7]: no method, no AUTH
    let mut bench = bench();
    let (client, _) = bench.connect_as(connect(Version::V5, "c"), None, Grant::everything());
    bench.send(client, auth(ReasonCode::ReAuthenticate, "m", b""));
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    // Continue, without having been asked; Success, which only servers send.
    for reason in [ReasonCode::ContinueAuthentication, ReasonCode::Success] {
        let client = connected(&mut bench);
        bench.send(client, auth(reason, "m", b""));
        assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    }
    // Twice, before the answer.
    let client = connected(&mut bench);
    bench.send(client, auth(ReasonCode::ReAuthenticate, "m", b""));
    bench.send(client, auth(ReasonCode::ContinueAuthentication, "m", b""));
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::ProtocolError));
    // Reserved flags [MQTT-3.15.1-1], and before 5.0 there is no AUTH.
    bench.requests.clear();
    let client = connected(&mut bench);
    bench.send_bytes(client, &[0xF1, 0x00]);
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::MalformedPacket));
    let (client, _) = bench.connect_as(connect(Version::V3_1_1, "c"), None, Grant::everything());
    bench.send_bytes(client, &[0xF0, 0x00]);
    assert_eq!(bench.disconnect_reason(client), None);
}

#[test]
fn a_client_may_authenticate_again() {
    // [MQTT-4.12.1-1], [MQTT-4.12.0-5]; everything else goes on meanwhile
    let mut bench = bench();
    let client = connected(&mut bench);
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.send(client, auth(ReasonCode::ReAuthenticate, "m", b"again"));
    let asked = bench.authenticate();
    assert_eq!((asked.stage, asked.data.as_deref()), (AuthStage::ReAuthenticate, Some(&b"again"[..])));
    bench.publish(client, "a", "meanwhile", QoS::AtMostOnce);
    assert_eq!(bench.recv_texts(client), ["meanwhile"]);
    bench.answer(asked.id, AuthOutcome::Continue { data: Some(Bytes::from_static(b"?")) });
    assert_eq!(bench.recv(client), Some(auth(ReasonCode::ContinueAuthentication, "m", b"?").into()));
    bench.send(client, auth(ReasonCode::ContinueAuthentication, "m", b"!"));
    let asked = bench.authenticate();
    assert_eq!(asked.stage, AuthStage::Continue);
    let grant = Arc::new(Grant::nothing().rule(true, Access::Publish, "only/this"));
    let identity = Some("somebody".to_owned());
    bench.answer(asked.id, AuthOutcome::Accept { identity, grant, data: Some(Bytes::from_static(b"ok")) });
    assert_eq!(bench.recv(client), Some(auth(ReasonCode::Success, "m", b"ok").into()));
    // The new grant is in force.
    bench.send(client, message("a", "x", QoS::AtLeastOnce));
    assert_eq!(bench.recv(client), Some(Packet::PubAck(Ack { reason: ReasonCode::NotAuthorized, ..ack(10) })));
    // And once more.
    bench.send(client, auth(ReasonCode::ReAuthenticate, "m", b""));
    bench.accept(Some("somebody"), Grant::everything());
    assert!(matches!(bench.recv(client), Some(Packet::Auth(_))));
}

#[test]
fn a_failed_re_authentication_ends_the_connection() {
    // [MQTT-4.12.1-2], [MQTT-3.14.2-1]
    for (reason, told) in [
        (ReasonCode::NotAuthorized, ReasonCode::NotAuthorized),
        (ReasonCode::BadUserNameOrPassword, ReasonCode::NotAuthorized), // CONNACK's alone
        (ReasonCode::Banned, ReasonCode::NotAuthorized),
        (ReasonCode::ServerBusy, ReasonCode::ServerBusy),
        (ReasonCode::Success, ReasonCode::UnspecifiedError),
    ] {
        let mut bench = bench();
        let client = connected(&mut bench);
        bench.send(client, auth(ReasonCode::ReAuthenticate, "m", b""));
        bench.refuse(reason, None);
        assert_eq!(bench.disconnect_reason(client), Some(told));
    }
    // Another method [MQTT-4.12.1-1]; somebody else.
    let mut bench = bench();
    let client = connected(&mut bench);
    bench.send(client, auth(ReasonCode::ReAuthenticate, "other", b""));
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::BadAuthenticationMethod));
    let client = connected(&mut bench);
    bench.send(client, auth(ReasonCode::ReAuthenticate, "m", b""));
    bench.accept(Some("somebody else"), Grant::everything());
    assert_eq!(bench.disconnect_reason(client), Some(ReasonCode::NotAuthorized));
}

#[test]
fn each_step_has_its_own_time() {
    let mut bench = bench();
    let client = bench.open(enhanced("m", None));
    for _ in 0..3 {
        bench.sleep(Duration::from_secs(9));
        let id = bench.authenticate().id;
        bench.answer(id, AuthOutcome::Continue { data: None });
        bench.recv(client);
        bench.sleep(Duration::from_secs(9));
        bench.send(client, auth(ReasonCode::ContinueAuthentication, "m", b""));
    }
    bench.sleep(Duration::from_secs(10));
    assert_eq!(bench.refusal(client).unwrap().reason, ReasonCode::NotAuthorized);
}

#[test]
fn answers_for_connections_that_are_gone_are_ignored() {
    let mut bench = bench();
    let client = bench.open(enhanced("m", None));
    let id = bench.authenticate().id;
    bench.cut(client);
    for outcome in [accepted(None, None), AuthOutcome::Continue { data: None }] {
        bench.answer(id, outcome);
    }
    assert_eq!((bench.broker.stats().connections, bench.broker.stats().sessions), (0, 0));
    // Neither does one reach the next connection in the same place.
    let next = bench.open(connect(Version::V5, "d"));
    bench.answer(id, accepted(None, None));
    bench.assert_silent(next);
    bench.accept(None, Grant::everything().ask());
    assert!(matches!(bench.recv(next), Some(Packet::ConnAck(_))));
    bench.send(next, message("a", "x", QoS::AtLeastOnce));
    let Some(Request::Authorize { id, .. }) = bench.requests.pop_front() else { panic!() };
    bench.cut(next);
    let (last, _) = bench.connect_as(connect(Version::V5, "d"), None, Grant::everything().ask());
    let completion = Completion::Authorized { id, decision: Decision::Allow, cache_for: Duration::ZERO };
    bench.broker.handle_completion(bench.now, completion);
    bench.run();
    bench.assert_silent(last);
    assert!(!bench.is_closed(last));
}

/// May publish and subscribe below `mine`, but not `mine/secret`.
fn mine() -> Grant {
    Grant::nothing().rule(true, Access::Both, "mine/#").rule(false, Access::Both, "mine/secret")
}

#[test]
fn a_denied_publish_is_not_passed_on() {
    // Section 5.4.2; [3.1.1: MQTT-3.3.5-2]: before 5.0 there is only a positive acknowledgment
    for version in VERSIONS {
        let mut bench = bench();
        let (watcher, _) = bench.connect_as(connect(Version::V5, "w"), None, Grant::everything());
        bench.subscribe(watcher, "#", QoS::ExactlyOnce);
        let (client, _) = bench.connect_as(connect(version, "c"), None, mine());
        for topic in ["other", "mine/secret", "$SYS/broker/version"] {
            bench.send(client, message(topic, "x", QoS::AtMostOnce));
            bench.assert_silent(client);
            let reason = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::Success };
            bench.send(client, message(topic, "x", QoS::AtLeastOnce));
            assert_eq!(bench.recv(client), Some(Packet::PubAck(Ack { reason, ..ack(10) })));
            bench.send(client, message(topic, "x", QoS::ExactlyOnce));
            assert_eq!(bench.recv(client), Some(Packet::PubRec(Ack { reason, ..ack(10) })));
            if !version.is_v5() {
                bench.send(client, Packet::PubRel(ack(10)));
                assert_eq!(bench.recv(client), Some(Packet::PubComp(ack(10))));
            }
        }
        bench.assert_silent(watcher);
        assert_eq!(bench.broker.stats().publish_denied_total, 9);
        bench.publish(client, "mine/open", "allowed", QoS::ExactlyOnce);
        assert_eq!(bench.recv_texts(watcher), ["allowed"]);
        assert!(!bench.is_closed(client), "a denied publish is no reason to close");
    }
}

#[test]
fn a_denied_subscription_is_refused_alone() {
    // [MQTT-3.8.4-6]; each filter has its own answer
    for version in VERSIONS {
        let mut bench = bench();
        let (client, _) = bench.connect_as(connect(version, "c"), None, mine());
        let filters = ["mine/+", "other", "#", "mine/secret", "$share/g/mine/a", "$share/g/other"];
        let filters: Vec<_> = filters.into_iter().map(|text| (text, QoS::AtLeastOnce.into())).collect();
        let denied = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError };
        let yes = ReasonCode::GrantedQoS1;
        let reasons = bench.try_subscribe(client, &filters, Properties::new());
        assert_eq!(reasons, [yes, denied, denied, denied, yes, denied]);
        assert_eq!(bench.broker.stats().subscriptions, 2);
    }
}

#[test]
fn the_outside_decides_on_each_message() {
    for version in VERSIONS {
        let v5 = version.is_v5();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (decision, expected, reason) in [
                (Decision::Allow, Some("as sent"), ReasonCode::Success),
                (Decision::Replace(Bytes::from_static(b"changed")), Some("changed"), ReasonCode::Success),
                (Decision::Ignore, None, ReasonCode::Success),
                (Decision::Deny, None, if v5 { ReasonCode::NotAuthorized } else { ReasonCode::Success }),
            ] {
                let mut bench = bench();
                let (watcher, _) = bench.connect_as(connect(Version::V5, "w"), None, Grant::everything());
                bench.subscribe(watcher, "#", QoS::AtMostOnce);
                let (client, _) = bench.connect_as(connect(version, "c"), Some("me"), mine().ask());
                bench.send(client, Publish { retain: true, ..message("mine/a", "as sent", qos) });
                bench.assert_silent(client);
                let action = bench.authorize(decision, Duration::ZERO);
                let topic = TopicName::try_from("mine/a").unwrap();
                assert_eq!(action, Action::Publish { topic, payload: "as sent".into(), qos, retain: true });
                let acks = bench.recv_all(client);
                let answer = Ack { reason, ..ack(10) };
                match qos {
                    QoS::AtMostOnce => assert_eq!(acks, []),
                    QoS::AtLeastOnce => assert_eq!(acks, [Packet::PubAck(answer)]),
                    QoS::ExactlyOnce => assert_eq!(acks, [Packet::PubRec(answer)]),
                }
                if qos == QoS::ExactlyOnce && !reason.is_error() {
                    bench.send(client, Packet::PubRel(ack(10)));
                    assert_eq!(bench.recv_all(client), [Packet::PubComp(ack(10))]);
                }
                assert_eq!(bench.recv_texts(watcher), Vec::from_iter(expected));
                assert_eq!(bench.broker.stats().retained, u64::from(expected.is_some()));
                // What the rules deny is not asked.
                bench.send(client, message("other", "x", QoS::AtMostOnce));
                assert!(bench.requests.is_empty());
            }
        }
    }
}

#[test]
fn an_ignored_qos_2_message_is_ignored_again() {
    let mut bench = bench();
    let (client, _) = bench.connect_as(connect(Version::V5, "c"), None, Grant::everything().ask());
    bench.send(client, message("a", "x", QoS::ExactlyOnce));
    bench.authorize(Decision::Ignore, Duration::ZERO);
    bench.send(client, message("a", "x", QoS::ExactlyOnce)); // [MQTT-4.3.3-10]
    assert!(bench.requests.is_empty(), "it was decided");
    assert_eq!(bench.recv_all(client), [Packet::PubRec(ack(10)), Packet::PubRec(ack(10))]);
}

#[test]
fn packets_keep_their_order_while_one_waits() {
    // [MQTT-4.6.0-2] to [MQTT-4.6.0-5]
    let mut bench = bench();
    let (watcher, _) = bench.connect_as(connect(Version::V5, "w"), None, Grant::everything());
    bench.subscribe(watcher, "#", QoS::AtLeastOnce);
    let (client, _) = bench.connect_as(connect(Version::V5, "c"), None, Grant::everything().ask());
    for id in 1..=3 {
        let delivery = Delivery::AtLeastOnce { id: pid(id), dup: false };
        bench.send(client, Publish { delivery, ..message("a", &id.to_string(), QoS::AtMostOnce) });
    }
    bench.send(client, Packet::PingReq);
    assert!(!bench.broker.wants_read(client.0));
    for id in 1..=3 {
        assert_eq!(bench.requests.len(), 1);
        bench.authorize(if id == 2 { Decision::Deny } else { Decision::Allow }, Duration::ZERO);
    }
    let reason = ReasonCode::NotAuthorized;
    let expected = [Packet::PubAck(ack(1)), Packet::PubAck(Ack { reason, ..ack(2) }), Packet::PubAck(ack(3))];
    let packets = bench.recv_all(client);
    assert_eq!(packets[..3], expected);
    assert_eq!(packets[3..], [Packet::PingResp]);
    assert_eq!(bench.recv_texts(watcher), ["1", "3"]);
    assert!(bench.broker.wants_read(client.0));
}

#[test]
fn answers_are_remembered_as_long_as_they_say() {
    let mut bench = bench();
    let (client, _) = bench.connect_as(connect(Version::V5, "c"), None, Grant::everything().ask());
    let minute = Duration::from_mins(1);
    for (topic, decision) in [("yes", Decision::Allow), ("no", Decision::Deny)] {
        bench.send(client, message(topic, "x", QoS::AtMostOnce));
        bench.authorize(decision, minute);
    }
    let denied = bench.broker.stats().publish_denied_total;
    for topic in ["yes", "no"] {
        bench.send(client, message(topic, "x", QoS::AtMostOnce));
    }
    assert!(bench.requests.is_empty());
    assert_eq!(bench.broker.stats().publish_denied_total, denied + 1);
    // Subscribing is another question than publishing.
    let filters = vec![(filter("yes"), QoS::AtMostOnce.into())];
    let subscribe = Subscribe { id: pid(1), filters, properties: Properties::new() };
    bench.send(client, subscribe.clone());
    bench.authorize(Decision::Deny, minute);
    bench.recv_all(client);
    bench.send(client, subscribe);
    assert!(bench.requests.is_empty());
    assert!(matches!(&bench.recv_all(client)[..], [Packet::SubAck(ack)] if ack.reasons == [ReasonCode::NotAuthorized]));
    bench.sleep(minute);
    bench.send(client, message("yes", "x", QoS::AtMostOnce));
    bench.authorize(Decision::Allow, Duration::ZERO);
    bench.send(client, message("yes", "x", QoS::AtMostOnce));
    bench.authorize(Decision::Ignore, minute);
    bench.send(client, message("yes", "x", QoS::AtMostOnce));
    assert_eq!(bench.requests.len(), 1, "what is done to one message says nothing of the next");
}

#[test]
fn the_outside_decides_on_each_filter() {
    let mut bench = bench();
    let (client, _) = bench.connect_as(connect(Version::V5, "c"), None, Grant::everything().ask());
    let filters = ["a", "$share/g/b/+", "c", "d"].map(|text| (filter(text), QoS::AtLeastOnce.into()));
    let subscribe = Subscribe { id: pid(1), filters: filters.to_vec(), properties: Properties::new() };
    bench.send(client, subscribe);
    bench.send(client, Packet::PingReq);
    // Only a plain yes is a yes.
    let decisions = [Decision::Allow, Decision::Deny, Decision::Ignore, Decision::Replace(Bytes::new())];
    for ((filter, _), decision) in filters.into_iter().zip(decisions) {
        bench.assert_silent(client);
        let action = bench.authorize(decision, Duration::ZERO);
        assert_eq!(action, Action::Subscribe { filter, qos: QoS::AtLeastOnce });
    }
    let no = ReasonCode::NotAuthorized;
    match &bench.recv_all(client)[..] {
        [Packet::SubAck(suback), Packet::PingResp] => {
            assert_eq!(suback.reasons, [ReasonCode::GrantedQoS1, no, no, no]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.broker.stats().subscriptions, 1);
}
