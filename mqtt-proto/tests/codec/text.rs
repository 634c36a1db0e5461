//! The text types: what they take, how they compare, and whose memory they hold.
use bytes::Bytes;
use mqtt_proto::{ClientId, TextError, TopicFilter, TopicName, Utf8String};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

#[test]
fn limits_of_length() {
    // [MQTT-4.7.3-3]
    let longest = "x".repeat(65_535);
    let too_long = "x".repeat(65_536);
    assert_eq!(Utf8String::try_from(longest.as_str()).unwrap().len(), 65_535);
    assert!(TopicName::try_from(longest.as_str()).is_ok() && TopicFilter::try_from(longest).is_ok());
    assert_eq!(Utf8String::try_from(too_long.as_str()), Err(TextError::TooLong));
    assert_eq!(TopicName::try_from(too_long.as_str()), Err(TextError::TooLong));
    assert_eq!(TopicFilter::try_from(too_long.as_str()), Err(TextError::TooLong));
    assert_eq!(ClientId::try_from(too_long), Err(TextError::TooLong));
}

#[test]
fn empty_texts() {
    assert_eq!(Utf8String::try_from("").unwrap(), Utf8String::new());
    assert_eq!(ClientId::try_from("").unwrap(), ClientId::new());
    // [MQTT-4.7.3-1]
    assert_eq!(TopicName::try_from(""), Err(TextError::Empty));
    assert_eq!(TopicFilter::try_from(""), Err(TextError::Empty));
}

#[test]
fn shared_filters_take_themselves_apart() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    let filter = TopicFilter::from_static("$share/group/sport/+/#");
    assert_eq!((filter.share_name(), filter.filter()), (Some("group"), "sport/+/#"));
    assert_eq!(&*filter, "$share/group/sport/+/#");
    assert!(filter.is_shared() && filter.has_wildcard());
    let finance = TopicFilter::from_static("$share/g//finance");
    assert_eq!((finance.share_name(), finance.filter(), finance.has_wildcard()), (Some("g"), "/finance", false));
    let plain = TopicFilter::from_static("a/b");
    assert_eq!((plain.share_name(), plain.filter(), plain.is_shared()), (None, "a/b", false));
    assert_eq!(TopicFilter::try_from("$share//a"), Err(TextError::ShareName));
    assert_eq!(TopicFilter::try_from("$share/g"), Err(TextError::Share));
}

#[test]
fn texts_behave_as_str() {
    let name = TopicName::from_static("a/b");
    assert_eq!(
        (format!("{name}"), format!("{name:?}"), format!("{name:>5}")),
        ("a/b".into(), "\"a/b\"".into(), "  a/b".into())
    );
    assert_eq!(name, "a/b");
    assert_eq!("a/b".parse::<TopicName>(), Ok(name.clone()));
    assert_eq!(TopicName::try_from(Bytes::from_static(b"a/b")), Ok(name.clone()));
    assert!(name < TopicName::from_static("a/c"));
    // Maps keyed by the types are asked by `&str`.
    assert_eq!(HashMap::from([(name.clone(), 1)]).get("a/b"), Some(&1));
    assert_eq!(HashMap::from([(TopicFilter::from_static("$share/g/x"), 2)]).get("$share/g/x"), Some(&2));
    assert_eq!(BTreeMap::from([(ClientId::from_static("c"), 3)]).get("c"), Some(&3));
}

/// [MQTT-4.7.3-4], [MQTT-1.5.4-3] [3.1.1: MQTT-1.5.3-3]
#[test]
fn nothing_is_normalised() {
    assert_ne!(TopicName::from_static("\u{e9}"), TopicName::from_static("e\u{301}"));
    assert_ne!(TopicName::from_static("\u{feff}a"), TopicName::from_static("a"));
    assert_ne!(TopicName::from_static("A"), TopicName::from_static("a"));
    assert_ne!(TopicFilter::from_static("a/"), TopicFilter::from_static("a"));
}

#[test]
fn compact_lets_go_of_the_frame() {
    let frame = Bytes::from_static(b"a/bxxxxxxxx");
    let name = TopicName::try_from(frame.slice(..3)).unwrap();
    assert_eq!(name.as_bytes().as_ptr(), frame.as_ptr());
    let copy = name.compact();
    assert_eq!(copy, name);
    assert_ne!(copy.as_bytes().as_ptr(), frame.as_ptr());
    assert_eq!(TopicFilter::from_static("$share/g/x").compact().share_name(), Some("g"));
    let client = ClientId::try_from(frame.slice(..3)).unwrap();
    assert_eq!(client.compact(), client);
    assert_ne!(client.compact().as_bytes().as_ptr(), frame.as_ptr());
}

#[test]
#[should_panic(expected = "topic name")]
fn from_static_panics_on_nonsense() {
    let _ = TopicName::from_static("a/+");
}

#[test]
fn refusals_explain_themselves() {
    for error in [TextError::TooLong, TextError::NotUtf8, TextError::Null, TextError::Empty, TextError::Wildcard] {
        assert!(error.to_string().len() > 8);
    }
}

/// [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-4.7.0-1] Texts are looked at eight bytes at a time: no place in them may hide anything.
#[test]
fn what_is_not_allowed_is_found_at_every_place() {
    for filler in [b'a', b'x', b'~', b' ', 0x01, 0x7F] {
        for len in 1..=40 {
            let sound = vec![filler; len];
            assert!(TopicName::try_from(Bytes::from(sound.clone())).is_ok());
            for at in 0..len {
                for bad in [0x00, 0x80, 0x81, 0xC1, 0xF5, 0xFF] {
                    let mut bytes = sound.clone();
                    bytes[at] = bad;
                    assert!(
                        Utf8String::try_from(Bytes::from(bytes)).is_err(),
                        "{bad} at {at} of {len}, among {filler}"
                    );
                }
                for wildcard in [b'+', b'#'] {
                    let mut bytes = sound.clone();
                    bytes[at] = wildcard;
                    assert!(TopicName::try_from(Bytes::from(bytes)).is_err(), "{wildcard} at {at} of {len}");
                }
            }
        }
    }
}

/// The rules of section 4.7, one level at a time.
fn naive_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    !text.is_empty()
        && levels.iter().enumerate().all(|(i, level)| match *level {
            "+" => true,
            "#" => i + 1 == levels.len(),
            level => !level.contains(['+', '#']),
        })
}

/// Section 4.8.2.
fn naive_shared(text: &str) -> bool {
    match text.strip_prefix("$share/") {
        None => naive_filter(text),
        Some(shared) => shared
            .split_once('/')
            .is_some_and(|(name, filter)| !name.is_empty() && !name.contains(['+', '#']) && naive_filter(filter)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    #[test]
    fn filters_are_judged_as_the_rules_say(text in "(\\$share/)?[a/+#ü$]{0,10}") {
        prop_assert_eq!(TopicFilter::try_from(text.as_str()).is_ok(), naive_shared(&text));
    }

    /// [MQTT-3.3.2-2], [MQTT-4.7.3-2], [MQTT-1.5.4-1]: the fast walk sees what a slow one sees, at any length.
    #[test]
    fn names_are_judged_as_the_rules_say(
        mut bytes in prop::collection::vec(prop_oneof![9 => b'a'..=b'z', 1 => Just(b'/')], 1..40),
        odd in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(b'+'), Just(b'#'), any::<u8>()]), 0..3),
    ) {
        for (at, byte) in odd {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let text = str::from_utf8(&bytes).is_ok() && !bytes.contains(&0);
        let name = text && !bytes.contains(&b'+') && !bytes.contains(&b'#');
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(Utf8String::try_from(bytes.clone()).is_ok(), text);
        prop_assert_eq!(TopicName::try_from(bytes).is_ok(), name);
    }
}

/// Both ways to compare filters give the order of their texts.
#[test]
fn filters_are_ordered_as_their_texts() {
    let [a, b] = ["a", "a/#"].map(|text| TopicFilter::try_from(text).unwrap());
    assert!(a < b);
    assert_eq!(a.partial_cmp(&b), Some(a.cmp(&b)));
    assert_eq!(a.partial_cmp(&a), Some(core::cmp::Ordering::Equal));
}
