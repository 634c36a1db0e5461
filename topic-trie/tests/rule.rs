//! Section 4.7 example by example: the plain rule, the subscription trie and the retained store must agree.

use topic_trie::{
    Cursor, FilterError, MAX_BYTES, RetainedStore, Scan, Scratch, Seed, SubscriptionTrie, TopicError, matches,
    valid_filter, valid_topic,
};

/// Whether `filter` matches `topic`, asked in all three ways.
fn ask(filter: &str, topic: &str) -> bool {
    let answer = matches(filter, topic);

    let mut trie = SubscriptionTrie::new(Seed([1, 2]));
    trie.insert(filter, 7, ()).unwrap();
    let mut hits = 0;
    trie.matches(topic, &mut Scratch::new(), |key, ()| hits += key);
    assert_eq!(hits, 7 * i32::from(answer), "trie: {filter} on {topic}");

    let mut store = RetainedStore::new(Seed([3, 4]));
    store.insert(topic, 9).unwrap();
    let mut hits = Vec::new();
    let scan = store.scan(filter, &mut Cursor::new(), usize::MAX, |name, value| hits.push((name.to_owned(), *value)));
    assert_eq!(scan, Scan::Done);
    let expected = answer.then(|| (topic.to_owned(), 9));
    assert_eq!(hits, Vec::from_iter(expected), "store: {filter} on {topic}");
    answer
}

#[test]
fn multi_level_wildcard() {
    // The parent, and any number of levels below it.
    for topic in ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"] {
        assert!(ask("sport/tennis/player1/#", topic), "{topic}");
        assert!(ask("#", topic), "{topic}");
    }
    assert!(ask("sport/#", "sport"));
    assert!(ask("sport/#", "sport/"));
    assert!(!ask("sport/#", "sports"));
    assert!(!ask("sport/tennis/player1/#", "sport/tennis"));
    assert!(ask("/#", "/"));
    assert!(ask("/#", "/finance"));
    assert!(!ask("/#", "finance"));
}

#[test]
fn single_level_wildcard() {
    assert!(ask("sport/tennis/+", "sport/tennis/player1"));
    assert!(ask("sport/tennis/+", "sport/tennis/player2"));
    assert!(!ask("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert!(!ask("sport/+", "sport"));
    assert!(ask("sport/+", "sport/"));
    assert!(ask("+/+", "/finance"));
    assert!(ask("/+", "/finance"));
    assert!(!ask("+", "/finance"));
    assert!(ask("+/tennis/#", "sport/tennis"));
    assert!(ask("sport/+/player1", "sport/tennis/player1"));
    assert!(ask("+/+/+", "//"));
}

#[test]
fn dollar_topics_are_hidden_from_leading_wildcards() {
    // [MQTT-4.7.2-1]
    assert!(!ask("#", "$SYS/monitor/Clients"));
    assert!(!ask("+/monitor/Clients", "$SYS/monitor/Clients"));
    assert!(!ask("+/#", "$SYS"));
    assert!(!ask("+", "$SYS"));
    assert!(ask("$SYS/#", "$SYS/monitor/Clients"));
    assert!(ask("$SYS/#", "$SYS"));
    assert!(ask("$SYS/monitor/+", "$SYS/monitor/Clients"));
    assert!(ask("$SYS/+/Clients", "$SYS/monitor/Clients"));
    assert!(ask("a/+", "a/$SYS"));
    assert!(ask("#", "a/$SYS"));
    assert!(ask("+/$SYS", "/$SYS"));
}

#[test]
fn nothing_is_normalised() {
    // [MQTT-4.7.3-4] Letters differ from their other case, and a composed letter from its parts.
    assert!(!ask("ACCOUNTS", "Accounts"));
    assert!(!ask("caf\u{e9}/+", "cafe\u{301}/x"));
    assert!(ask("caf\u{e9}/+", "caf\u{e9}/x"));
    assert!(ask("a b", "a b"));
    assert!(!ask("a", "a/"));
    assert!(!ask("/a", "a"));
    assert!(!ask("a//b", "a/b"));
    assert!(ask("a/+/b", "a//b"));
    assert!(ask("/", "/"));
}

#[test]
fn filters() {
    for filter in
        ["#", "+", "/", "//", "sport/tennis/#", "+/tennis/#", "sport/+/player1", "a b", "$share/g/#", "+/#", "é/#"]
    {
        assert!(valid_filter(filter), "{filter}");
    }
    let error = |filter: &str| SubscriptionTrie::new(Seed::default()).insert(filter, 1, ()).unwrap_err();
    // [MQTT-4.7.1-1] [3.1.1: MQTT-4.7.1-2]
    for filter in ["sport/tennis#", "sport/tennis/#/ranking", "#/", "##", "a/#b", "#a", "a/b/c/d/e/f/g#"] {
        assert_eq!(error(filter), FilterError::MisplacedHash, "{filter}");
        assert!(!valid_filter(filter));
    }
    // [MQTT-4.7.1-2] [3.1.1: MQTT-4.7.1-3]
    for filter in ["sport+", "+a", "a/+b/c", "++", "a/b+/c", "/+/long level/+x"] {
        assert_eq!(error(filter), FilterError::MisplacedPlus, "{filter}");
        assert!(!valid_filter(filter));
    }
    // [MQTT-4.7.3-1]
    assert_eq!(error(""), FilterError::Empty);
    // [MQTT-4.7.3-2]
    assert_eq!(error("a/\0/#"), FilterError::NullCharacter);
    assert_eq!(error("0123456\0"), FilterError::NullCharacter);
    // [MQTT-4.7.3-3]
    assert_eq!(error(&"a".repeat(MAX_BYTES + 1)), FilterError::TooLong);
    assert!(valid_filter(&"a".repeat(MAX_BYTES)));
}

#[test]
fn topics() {
    for topic in ["/", "//", "a", "$SYS/x", "a b", "Accounts payable", "é", "0123456789abcdef"] {
        assert!(valid_topic(topic), "{topic}");
    }
    let error = |topic: &str| RetainedStore::new(Seed::default()).insert(topic, ()).unwrap_err();
    // [MQTT-4.7.0-1] [3.1.1: MQTT-4.7.1-1]
    for topic in ["#", "+", "a/+/b", "a/#", "a+", "0123456789#"] {
        assert_eq!(error(topic), TopicError::Wildcard, "{topic}");
        assert!(!valid_topic(topic));
    }
    // [MQTT-4.7.3-1]
    assert_eq!(error(""), TopicError::Empty);
    // [MQTT-4.7.3-2]
    assert_eq!(error("a\0"), TopicError::NullCharacter);
    // [MQTT-4.7.3-3]
    assert_eq!(error(&"é".repeat(MAX_BYTES)), TopicError::TooLong);
    assert!(valid_topic(&"a".repeat(MAX_BYTES)));
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(FilterError::MisplacedHash.to_string(), "`#` must be the whole last level of a topic filter");
    assert_eq!(TopicError::Wildcard.to_string(), "a topic name must not contain `+` or `#`");
}

#[test]
fn an_invalid_filter_changes_and_finds_nothing() {
    let mut trie = SubscriptionTrie::new(Seed::default());
    trie.insert("a/#", 1, ()).unwrap();
    let generation = trie.generation();
    assert!(trie.insert("a/#/b", 1, ()).is_err());
    assert_eq!(trie.remove("a/#/b", 1), None);
    assert_eq!(trie.subscribers("a/#/b").len(), 0);
    assert_eq!((trie.generation(), trie.len()), (generation, 1));

    let mut store = RetainedStore::new(Seed::default());
    store.insert("a/b", ()).unwrap();
    assert_eq!(store.scan("a/#/b", &mut Cursor::new(), 9, |_, ()| panic!("found")), Scan::Done);
}
