//! `-D PACKET PROPERTY VALUE`: properties of MQTT 5.0 on the command line (section 2.2.2).
//!
//! Invariant: a property goes into a packet only if the standard has it there.
use mqtt_tokio::client::{ClientConfig, Properties, Property};
use mqtt_tokio::proto::PropertiesBuilder;

pub(super) const HELP: &str = "A property (MQTT 5.0), such as `-D publish content-type text/plain` or `-D publish \
                               user-property NAME VALUE`; PACKET is connect, will, disconnect, and publish or \
                               subscribe; may be repeated";

/// Packets that properties can be given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Connect,
    Will,
    Publish,
    Subscribe,
    Disconnect,
}

const PACKETS: [(&str, Packet); 5] = [
    ("connect", Packet::Connect),
    ("will", Packet::Will),
    ("publish", Packet::Publish),
    ("subscribe", Packet::Subscribe),
    ("disconnect", Packet::Disconnect),
];

const MESSAGE: [&str; 5] =
    ["payload-format-indicator", "message-expiry-interval", "content-type", "response-topic", "correlation-data"];

impl Packet {
    /// The properties that it takes beside user-property.
    fn takes(self, property: &str) -> bool {
        match self {
            Self::Publish => MESSAGE.contains(&property),
            Self::Will => MESSAGE.contains(&property) || property == "will-delay-interval",
            Self::Subscribe => property == "subscription-identifier",
            Self::Disconnect => matches!(property, "session-expiry-interval" | "reason-string"),
            Self::Connect => matches!(
                property,
                "session-expiry-interval"
                    | "receive-maximum"
                    | "maximum-packet-size"
                    | "topic-alias-maximum"
                    | "request-response-information"
                    | "request-problem-information"
                    | "authentication-method"
                    | "authentication-data"
            ),
        }
    }
}

/// One property of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    packet: Packet,
    name: String,
    /// The first value: the name of a user-property.
    key: String,
    value: String,
}

/// All properties of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(Vec<Setting>);

impl Settings {
    /// Reads the words behind all `-D`; `packets` are those that the command sends.
    pub(super) fn parse(words: &[String], packets: &[Packet]) -> Result<Self, String> {
        let mut words = words.iter();
        let mut settings = Vec::new();
        while let Some(packet) = words.next() {
            let known = PACKETS.iter().find(|(name, packet_type)| name == packet && packets.contains(packet_type));
            let Some((_, packet)) = known else {
                let names: Vec<_> =
                    PACKETS.iter().filter(|(_, known)| packets.contains(known)).map(|(n, _)| *n).collect();
                return Err(format!("-D {packet}: expected one of {}", names.join(", ")));
            };
            let (Some(name), Some(first)) = (words.next(), words.next()) else {
                return Err("-D: expected PACKET PROPERTY VALUE".to_owned());
            };
            let (key, value) = if name == "user-property" {
                let value = words.next().ok_or("-D … user-property: expected NAME VALUE")?;
                (first.clone(), value.clone())
            } else if packet.takes(name) {
                (String::new(), first.clone())
            } else {
                return Err(format!("-D: this packet has no property `{name}`"));
            };
            let setting = Setting { packet: *packet, name: name.clone(), key, value };
            setting.property()?;
            settings.push(setting);
        }
        Ok(Self(settings))
    }

    /// Whether there is any.
    pub(super) fn is_used(&self) -> bool {
        !self.0.is_empty()
    }

    /// The properties of one packet as they travel.
    pub(super) fn properties(&self, packet: Packet) -> Properties {
        let mut builder = PropertiesBuilder::default();
        for property in self.of(packet) {
            // Values were checked when they were read; a repeated one is refused here, and the first stays.
            let _ = builder.push(property);
        }
        builder.build()
    }

    /// The `subscription-identifier` of SUBSCRIBE.
    pub(super) fn subscription_identifier(&self) -> Option<u32> {
        self.of(Packet::Subscribe).find_map(|property| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    /// The User Properties of one packet.
    pub(super) fn user_properties(&self, packet: Packet) -> Properties {
        self.of(packet).filter(|property| matches!(property, Property::UserProperty(..))).collect()
    }

    /// Puts the properties of CONNECT where the client keeps them.
    pub(super) fn configure(&self, config: &mut ClientConfig) {
        for property in self.of(Packet::Connect) {
            match property {
                Property::SessionExpiryInterval(seconds) => config.session_expiry = seconds,
                Property::ReceiveMaximum(maximum) => config.receive_maximum = maximum,
                Property::MaximumPacketSize(bytes) => config.maximum_packet_size = bytes,
                Property::TopicAliasMaximum(maximum) => config.topic_alias_maximum = maximum,
                Property::RequestResponseInformation(wanted) => config.request_response_information = wanted,
                Property::RequestProblemInformation(wanted) => config.request_problem_information = wanted,
                Property::AuthenticationMethod(method) => config.auth_method = Some(method.to_owned()),
                Property::AuthenticationData(data) => config.auth_data = Some(data.to_vec().into()),
                _ => {}
            }
        }
        config.user_properties = self.user_properties(Packet::Connect);
    }

    fn of(&self, packet: Packet) -> impl Iterator<Item = Property<'_>> {
        self.0.iter().filter(move |setting| setting.packet == packet).filter_map(|setting| setting.property().ok())
    }
}

impl Setting {
    /// The property; its value has the property's type and range.
    fn property(&self) -> Result<Property<'_>, String> {
        let Self { packet: _, name, key, value } = self;
        let wrong = |expected: &str| format!("-D … {name} {value}: expected {expected}");
        let number = || value.parse::<u32>().map_err(|_| wrong("a number of at most 4294967295"));
        let small = || value.parse::<u16>().map_err(|_| wrong("a number of at most 65535"));
        let flag = || match value.as_str() {
            "0" | "false" => Ok(false),
            "1" | "true" => Ok(true),
            _ => Err(wrong("0 or 1")),
        };
        Ok(match name.as_str() {
            "user-property" => Property::UserProperty(key, value),
            "payload-format-indicator" => Property::PayloadFormatIndicator(flag()?),
            "message-expiry-interval" => Property::MessageExpiryInterval(number()?),
            "content-type" => Property::ContentType(value),
            "response-topic" => Property::ResponseTopic(value),
            "correlation-data" => Property::CorrelationData(value.as_bytes()),
            "will-delay-interval" => Property::WillDelayInterval(number()?),
            "subscription-identifier" => match number()? {
                identifier @ 1..=268_435_455 => Property::SubscriptionIdentifier(identifier),
                _ => return Err(wrong("a number from 1 to 268435455")),
            },
            "session-expiry-interval" => Property::SessionExpiryInterval(number()?),
            "receive-maximum" => Property::ReceiveMaximum(small()?),
            "maximum-packet-size" => Property::MaximumPacketSize(number()?),
            "topic-alias-maximum" => Property::TopicAliasMaximum(small()?),
            "request-response-information" => Property::RequestResponseInformation(flag()?),
            "request-problem-information" => Property::RequestProblemInformation(flag()?),
            "authentication-method" => Property::AuthenticationMethod(value),
            "authentication-data" => Property::AuthenticationData(value.as_bytes()),
            "reason-string" => Property::ReasonString(value),
            _ => return Err(format!("-D: there is no property `{name}`")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Packet; 5] = [Packet::Connect, Packet::Will, Packet::Publish, Packet::Subscribe, Packet::Disconnect];

    fn parse(text: &str) -> Result<Settings, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Settings::parse(&words, &ALL)
    }

    #[test]
    fn properties_go_to_their_packets() {
        let settings = parse(
            "publish content-type text/plain publish user-property a b connect receive-maximum 7 \
             subscribe subscription-identifier 9 publish user-property c d",
        )
        .unwrap();
        let publish = settings.properties(Packet::Publish);
        assert_eq!(publish.content_type(), Some("text/plain"));
        assert_eq!(publish.user_properties().collect::<Vec<_>>(), [("a", "b"), ("c", "d")]);
        assert_eq!(settings.subscription_identifier(), Some(9));
        let mut config = ClientConfig::default();
        settings.configure(&mut config);
        assert_eq!(config.receive_maximum, 7);
        assert!(settings.properties(Packet::Will).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, part) in [
            ("pingreq user-property a b", "expected one of connect"),
            ("publish", "PACKET PROPERTY VALUE"),
            ("publish user-property a", "NAME VALUE"),
            ("publish topic-alias 5", "no property `topic-alias`"),
            ("subscribe content-type x", "no property `content-type`"),
            ("publish message-expiry-interval soon", "a number"),
            ("connect receive-maximum 70000", "65535"),
            ("publish payload-format-indicator 2", "0 or 1"),
            ("subscribe subscription-identifier 0", "from 1"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert!(Settings::parse(&["publish".to_owned()], &[Packet::Connect]).unwrap_err().contains("one of connect"));
    }
}
