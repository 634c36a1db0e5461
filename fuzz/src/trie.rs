//! Subscription trie and retained store against lists that are searched from end to end (section 4.7).
use arbitrary::{Arbitrary, Unstructured};
use std::collections::{BTreeMap, BTreeSet};
use topic_trie::{Cursor, RetainedStore, Scan, Scratch, Seed, SubscriptionTrie, matches, valid_filter, valid_topic};

/// Levels that meet each other often, and everything that has a meaning.
const LEVELS: [&str; 8] = ["a", "b", "", "+", "#", "$x", "é", "a+"];

/// A topic name or filter, valid or not.
#[derive(Debug)]
struct Text(String);

impl<'a> Arbitrary<'a> for Text {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let levels = u.int_in_range(1..=5)?;
        let text: arbitrary::Result<Vec<&str>> = (0..levels).map(|_| u.choose(&LEVELS).copied()).collect();
        Ok(Self(text?.join("/")))
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Subscribe { filter: Text, key: u8, value: u16 },
    Unsubscribe { filter: Text, key: u8 },
    Match { topic: Text },
    Retain { topic: Text, value: u16 },
    Forget { topic: Text },
    Scan { filter: Text },
    Continue { budget: u8 },
    Shrink,
}

/// Runs the steps that the bytes describe on the structures and on the lists, and compares.
///
/// # Panics
/// Where they differ.
pub fn trie(data: &[u8]) {
    let mut steps = Unstructured::new(data);
    let Ok(seed) = steps.arbitrary() else { return };
    let mut pair = Pair::new(Seed(seed));
    while !steps.is_empty() {
        let Ok(step) = steps.arbitrary() else { break };
        pair.step(step);
    }
    pair.finish();
}

/// The structures and what they should hold.
struct Pair {
    trie: SubscriptionTrie<u8, u16>,
    subscriptions: BTreeMap<(String, u8), u16>,
    store: RetainedStore<u16>,
    retained: BTreeMap<String, u16>,
    scratch: Scratch,
    scan: Option<Running>,
}

/// A scan between two of its calls.
struct Running {
    filter: String,
    cursor: Cursor,
    reported: Vec<String>,
    /// Matching topics that were there from the start and did not go.
    stayed: BTreeSet<String>,
}

impl Pair {
    fn new(seed: Seed) -> Self {
        Self {
            trie: SubscriptionTrie::new(seed),
            subscriptions: BTreeMap::new(),
            store: RetainedStore::new(seed),
            retained: BTreeMap::new(),
            scratch: Scratch::new(),
            scan: None,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Subscribe { filter: Text(filter), key, value } => self.subscribe(filter, key, value),
            Step::Unsubscribe { filter: Text(filter), key } => {
                let expected = self.subscriptions.remove(&(filter.clone(), key));
                assert_eq!(self.trie.remove(&filter, key), expected, "remove {filter}");
            }
            Step::Match { topic: Text(topic) } => self.match_topic(&topic),
            Step::Retain { topic: Text(topic), value } => {
                let outcome = self.store.insert(&topic, value);
                assert_eq!(outcome.is_ok(), valid_topic(&topic), "{topic}");
                if let Ok(before) = outcome {
                    assert_eq!(before, self.retained.insert(topic, value));
                }
            }
            Step::Forget { topic: Text(topic) } => {
                assert_eq!(self.store.remove(&topic), self.retained.remove(&topic), "forget {topic}");
                if let Some(scan) = &mut self.scan {
                    scan.stayed.remove(&topic);
                }
            }
            Step::Scan { filter: Text(filter) } => self.begin_scan(filter),
            Step::Continue { budget } => self.continue_scan(usize::from(budget)),
            Step::Shrink => {
                self.trie.shrink_to_fit();
                self.store.shrink_to_fit();
            }
        }
        assert_eq!(self.trie.len(), self.subscriptions.len());
        assert_eq!(self.store.len(), self.retained.len());
    }

    fn subscribe(&mut self, filter: String, key: u8, value: u16) {
        let generation = self.trie.generation();
        let outcome = self.trie.insert(&filter, key, value);
        assert_eq!(outcome.is_ok(), valid_filter(&filter), "{filter}");
        if let Ok(before) = outcome {
            assert_ne!(self.trie.generation(), generation, "a cache would not notice {filter}");
            assert_eq!(self.trie.get(&filter, key), Some(&value));
            assert_eq!(before, self.subscriptions.insert((filter, key), value));
        }
    }

    fn match_topic(&mut self, topic: &str) {
        if !valid_topic(topic) {
            return;
        }
        let mut found = Vec::new();
        self.trie.matches(topic, &mut self.scratch, |key, value| found.push((key, *value)));
        found.sort_unstable();
        let is_match = |((filter, _), _): &(&(String, u8), &u16)| matches(filter, topic);
        let mut expected: Vec<(u8, u16)> =
            self.subscriptions.iter().filter(is_match).map(|((_, key), value)| (*key, *value)).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "match {topic}");
        assert_eq!(self.store.get(topic), self.retained.get(topic));
    }

    fn begin_scan(&mut self, filter: String) {
        let is_valid = valid_filter(&filter);
        let stayed = self.retained.keys().filter(|topic| is_valid && matches(&filter, topic)).cloned().collect();
        self.scan = Some(Running { filter, cursor: Cursor::new(), reported: Vec::new(), stayed });
    }

    fn continue_scan(&mut self, budget: usize) {
        let Some(mut scan) = self.scan.take() else { return };
        let Running { filter, cursor, reported, .. } = &mut scan;
        let retained = &self.retained;
        let outcome = self.store.scan(filter, cursor, budget, |topic, value| {
            assert_eq!(retained.get(topic), Some(value), "{topic} is not retained");
            assert!(matches(filter, topic), "{filter} does not match {topic}");
            reported.push(topic.to_owned());
        });
        match outcome {
            Scan::More => self.scan = Some(scan),
            Scan::Done => {
                let unique: BTreeSet<String> = scan.reported.iter().cloned().collect();
                assert_eq!(unique.len(), scan.reported.len(), "{} reported twice: {:?}", scan.filter, scan.reported);
                assert!(unique.is_superset(&scan.stayed), "{} missed of {:?}", scan.filter, scan.stayed);
            }
        }
    }

    /// Ends the scan, lists everything, and takes it away again.
    fn finish(mut self) {
        let mut calls = 0;
        while self.scan.is_some() {
            self.continue_scan(1);
            calls += 1;
            assert!(calls < 100_000, "a scan does not end");
        }
        let mut listed = BTreeMap::new();
        self.trie.for_each(|filter, key, value| assert_eq!(listed.insert((filter.to_owned(), key), *value), None));
        assert_eq!(listed, self.subscriptions);
        for (filter, key) in listed.into_keys() {
            assert!(self.trie.remove(&filter, key).is_some());
        }
        for topic in self.retained.keys() {
            assert!(self.store.remove(topic).is_some());
        }
        assert!(self.trie.is_empty() && self.store.is_empty());
        // The root stays; everything else is given back.
        assert_eq!((self.trie.memory().node_count, self.store.memory().node_count), (1, 1));
    }
}
