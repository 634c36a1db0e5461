//! Properties: the builder, the lazy readers, and what a Server forwards.
use mqtt_proto::*;

fn everything() -> Properties {
    Properties::builder()
        .with(Property::TopicAlias(3))
        .with(Property::PayloadFormatIndicator(true))
        .with(Property::MessageExpiryInterval(60))
        .with(Property::ContentType("text"))
        .with(Property::ResponseTopic("re/ply"))
        .with(Property::SubscriptionIdentifier(1))
        .with(Property::CorrelationData(b"\0\xFF"))
        .with(Property::UserProperty("b", "1"))
        .with(Property::SubscriptionIdentifier(268_435_455))
        .with(Property::UserProperty("a", "2"))
        .with(Property::UserProperty("b", "1"))
        .build()
}

#[test]
fn readers() {
    let properties = everything();
    assert_eq!(properties.topic_alias(), Some(3));
    assert_eq!(properties.payload_format_indicator(), Some(true));
    assert_eq!(properties.message_expiry_interval(), Some(60));
    assert_eq!(properties.content_type(), Some("text"));
    assert_eq!(properties.response_topic(), Some("re/ply"));
    assert_eq!(properties.correlation_data(), Some(&b"\0\xFF"[..]));
    assert_eq!(properties.subscription_identifiers().collect::<Vec<_>>(), [1, 268_435_455]);
    // In order.
    assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("b", "1"), ("a", "2"), ("b", "1")]);
    assert_eq!(properties.iter().count(), 11);
    assert_eq!(properties.iter().collect::<Properties>(), properties);
    assert!(properties.contains(PropertyId::TopicAlias) && !properties.contains(PropertyId::ReasonString));
    // Missing ones stay missing; defaults are for the reader.
    assert_eq!(properties.receive_maximum(), None);
    assert_eq!(properties.maximum_qos(), None);
}

/// Every property of the table: built, read back by the iterator, and alone.
#[test]
fn readers_of_every_property() {
    let built = Properties::builder()
        .with(Property::SessionExpiryInterval(u32::MAX))
        .with(Property::AssignedClientIdentifier("id"))
        .with(Property::ServerKeepAlive(7))
        .with(Property::AuthenticationMethod("m"))
        .with(Property::AuthenticationData(b"d"))
        .with(Property::RequestProblemInformation(false))
        .with(Property::WillDelayInterval(5))
        .with(Property::RequestResponseInformation(true))
        .with(Property::ResponseInformation("ri"))
        .with(Property::ServerReference("sr"))
        .with(Property::ReasonString("rs"))
        .with(Property::ReceiveMaximum(9))
        .with(Property::TopicAliasMaximum(0))
        .with(Property::MaximumQoS(false))
        .with(Property::RetainAvailable(true))
        .with(Property::MaximumPacketSize(100))
        .with(Property::WildcardSubscriptionAvailable(false))
        .with(Property::SubscriptionIdentifierAvailable(true))
        .with(Property::SharedSubscriptionAvailable(false))
        .build();
    let view = built.as_ref();
    assert_eq!(view.session_expiry_interval(), Some(u32::MAX));
    assert_eq!(view.assigned_client_identifier(), Some("id"));
    assert_eq!(view.server_keep_alive(), Some(7));
    assert_eq!(view.authentication_method(), Some("m"));
    assert_eq!(view.authentication_data(), Some(&b"d"[..]));
    assert_eq!(view.request_problem_information(), Some(false));
    assert_eq!(view.will_delay_interval(), Some(5));
    assert_eq!(view.request_response_information(), Some(true));
    assert_eq!(view.response_information(), Some("ri"));
    assert_eq!(view.server_reference(), Some("sr"));
    assert_eq!(view.reason_string(), Some("rs"));
    assert_eq!(view.receive_maximum(), Some(9));
    assert_eq!(view.topic_alias_maximum(), Some(0));
    assert_eq!(view.maximum_qos(), Some(QoS::AtMostOnce));
    assert_eq!(built.maximum_qos(), Some(QoS::AtMostOnce));
    assert_eq!(view.retain_available(), Some(true));
    assert_eq!(view.maximum_packet_size(), Some(100));
    assert_eq!(view.wildcard_subscription_available(), Some(false));
    assert_eq!(view.subscription_identifier_available(), Some(true));
    assert_eq!(view.shared_subscription_available(), Some(false));
    assert_eq!(view.to_properties(), built);
    assert!(PropertiesRef::from(&built) == view);
    assert_eq!(built.compact(), built);
    assert_ne!(built.compact().raw().as_ptr(), built.raw().as_ptr());
}

#[test]
fn forwardable_drops_what_is_for_one_receiver() {
    let forwarded = everything().forwardable();
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
    let expected = [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text"),
        Property::ResponseTopic("re/ply"),
        Property::CorrelationData(b"\0\xFF"),
        Property::UserProperty("b", "1"),
        Property::UserProperty("a", "2"),
        Property::UserProperty("b", "1"),
    ];
    assert_eq!(forwarded.iter().collect::<Vec<_>>(), expected);
    assert_eq!(forwarded, expected.into_iter().collect());
    // Nothing to drop, nothing to copy.
    assert_eq!(forwarded.forwardable().raw().as_ptr(), forwarded.raw().as_ptr());
    let only_own: Properties = [Property::TopicAlias(1), Property::MessageExpiryInterval(2)].into_iter().collect();
    assert_eq!(only_own.forwardable(), Properties::new());
}

#[test]
fn the_builder_refuses_what_decoding_would() {
    let mut builder = Properties::builder();
    let long = "x".repeat(65_536);
    let refused = [
        Property::TopicAlias(0),
        Property::ReceiveMaximum(0),
        Property::MaximumPacketSize(0),
        Property::SubscriptionIdentifier(0),
        Property::SubscriptionIdentifier(268_435_456),
        Property::SubscriptionIdentifier(u32::MAX),
        Property::ResponseTopic("a/+"),
        Property::ResponseTopic(""),
        Property::ReasonString("\0"),
        Property::UserProperty("a", "\0"),
        Property::UserProperty(&long, ""),
        Property::ContentType(&long),
        Property::CorrelationData(long.as_bytes()),
    ];
    for property in refused {
        assert!(matches!(builder.push(property), Err(EncodeError::Invalid(_))), "{:?}", property.id());
    }
    // Nothing was added.
    assert!(builder.clone().build().is_empty());
    builder.push(Property::ContentType("a")).unwrap();
    assert!(builder.push(Property::ContentType("a")).is_err());
    assert_eq!(builder.build().iter().count(), 1);
}

#[test]
#[should_panic(expected = "topic alias 0")]
fn chains_panic_on_misuse() {
    let _ = Properties::builder().with(Property::TopicAlias(0));
}

#[test]
fn the_table_answers() {
    assert_eq!(PropertyId::ALL.len(), 27);
    for id in PropertyId::ALL {
        assert_eq!(PropertyId::new(*id as u8), Some(*id));
    }
    assert_eq!((0..=255).filter(|byte| PropertyId::new(*byte).is_some()).count(), 27);
    assert!(PropertyId::UserProperty.allowed_in(PacketType::Auth) && PropertyId::UserProperty.allowed_in_will());
    assert!(!PropertyId::UserProperty.allowed_in(PacketType::PingReq));
    assert!(PropertyId::WillDelayInterval.allowed_in_will());
    assert!(!PropertyId::WillDelayInterval.allowed_in(PacketType::Connect));
    assert!(PropertyId::SubscriptionIdentifier.repeatable_in(PacketType::Publish));
    assert!(!PropertyId::SubscriptionIdentifier.repeatable_in(PacketType::Subscribe));
}

#[test]
fn debug_shows_the_properties() {
    let properties: Properties = [Property::TopicAlias(7)].into_iter().collect();
    assert_eq!(format!("{properties:?}"), "[TopicAlias(7)]");
}

#[test]
fn a_view_is_empty_where_there_is_nothing() {
    assert!(Properties::new().as_ref().is_empty());
    assert!(!everything().as_ref().is_empty());
}
