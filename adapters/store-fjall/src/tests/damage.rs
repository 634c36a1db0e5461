//! Folders with damage, and of other versions.
use crate::disk::Disk as _;
use crate::folder::Open;
use crate::key::{Key, Table};
use crate::value::{Entry, Kept, LogRecord, Value, encode};
use crate::{Durability, FjallStore, OpenError, Opened};
use fjall::PersistMode;
use mqtt_proto::{ClientId, QoS, TopicFilter, TopicName};
use mqtt_session::broker::{
    Completion, LoadRequest, Loaded, Message, MessageId, Position, SessionRecord, StoreBatch, StoreOp, StoreSeq,
};
use mqtt_session::{Instant, UnixTime};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self::nowhere(name);
        drop(FjallStore::open(&place.0, Durability::Os).unwrap());
        place
    }

    /// In memory where that is possible.
    fn nowhere(name: &str) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = folder.join(format!("mqtt-store-fjall-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path); // of an earlier process with the same number
        Self(path)
    }

    fn copy(&self, name: &str) -> Self {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
                if from.is_dir() { copy(&from, &to) } else { _ = fs::copy(from, to).unwrap() }
            }
        }
        let place = Self::nowhere(name);
        copy(&self.0, &place.0);
        place
    }

    fn open(&self) -> (FjallStore, mqtt_session::broker::Contents, Opened) {
        FjallStore::open(&self.0, Durability::Os).unwrap()
    }

    /// Files below the database with this ending.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        fn walk(path: &Path, all: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, all) } else { all.push(path) }
            }
        }
        let mut all = Vec::new();
        walk(&self.0.join("db"), &mut all);
        all.retain(|path| path.to_str().unwrap().contains(part));
        all.sort();
        all
    }

    /// Writes the trees into files, so that journals are not needed.
    fn settle(&self) {
        let open = Open::new(&self.0.join("db")).unwrap();
        for table in Table::ALL {
            open.tree(table).rotate_memtable_and_wait().unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn losses(report: &Opened) -> Vec<String> {
    report.lost.iter().map(|lost| format!("{}: {}", lost.what, lost.why)).collect()
}

fn spoil(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x5a], at).unwrap();
}

fn session(name: &'static str) -> SessionRecord {
    SessionRecord {
        client_id: ClientId::from_static(name),
        identity: None,
        expiry: 9,
        disconnected_at: None,
        will: None,
    }
}

fn kept() -> Value {
    let message = Arc::new(Message::new(TopicName::from_static("f"), "x"));
    Value::Message(Kept { message, expires_at: None })
}

/// A folder whose session "c" has `count` messages of 100 bytes in the log of "f", and "r" retained.
fn filled(name: &str, count: u64) -> Place {
    let place = Place::new(name);
    let (mut store, _, _) = place.open();
    let (sender, answers) = channel();
    store.start(move |answer| drop(sender.send(answer))).unwrap();
    let filter = TopicFilter::from_static("f");
    let client_id = ClientId::from_static("c");
    let options = QoS::AtLeastOnce.into();
    let ops = vec![
        StoreOp::Session(session("c")),
        StoreOp::Subscription { client_id, filter: filter.clone(), options, identifier: 0 },
        StoreOp::Retained(MessageId(1), Arc::new(Message::new(TopicName::from_static("r"), "retained"))),
    ];
    let batch = |seq, ops| StoreBatch { seq: StoreSeq(seq), now: Instant::ZERO, wall: UnixTime::default(), ops };
    store.write(batch(1, ops));
    for at in 0..count {
        let message = Message::new(TopicName::from_static("f"), vec![at as u8; 100]);
        let id = MessageId(at + 2);
        let ops = vec![StoreOp::Message(id, Arc::new(message)), StoreOp::Append(filter.clone(), Position(at), id)];
        store.write(batch(at + 2, ops));
        // Some commits, not one.
        let Some(last) = (at % 10 == 9).then_some(StoreSeq(at + 2)) else { continue };
        loop {
            let answer = answers.recv_timeout(Duration::from_mins(1)).unwrap();
            if matches!(answer, Completion::Stored { upto } if upto == last) {
                break;
            }
        }
    }
    drop(store);
    place
}

fn load(store: &mut FjallStore, count: u64) -> Loaded {
    let (sender, answers) = channel();
    store.start(move |answer| drop(sender.send(answer))).unwrap();
    let filter = TopicFilter::from_static("f");
    store.load(LoadRequest { filter, from: Position(0), until: Position(count), max_bytes: u64::MAX });
    match answers.recv_timeout(Duration::from_mins(1)).unwrap() {
        Completion::Loaded(loaded) => loaded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn damaged_records_are_named_and_the_rest_is_used() {
    let place = Place::new("damage");
    let log = |name| Value::Log(LogRecord { filter: Some(TopicFilter::from_static(name)), start: 1, swept: 1 });
    let subscription = || Value::Subscription { options: QoS::AtLeastOnce.into(), identifier: 0 };
    let entry = |message| Value::Entry(Entry { message, before: 0, bytes: 1 });
    let records = [
        (Key::Session(1), Value::Session(session("whole"))),
        (Key::Session(2), Value::Session(session("broken"))),
        (Key::Log(1), log("f")),
        (Key::Subscription(1, 1), subscription()),
        (Key::Subscription(2, 1), subscription()),
        (Key::Cursor(1, 1), Value::Cursor(1)),
        (Key::Message(5), kept()),
        (Key::Message(6), kept()),
        (Key::Entry(1, 1), entry(5)),
        (Key::Entry(1, 2), entry(6)),
        (Key::Entry(1, 3), entry(6)),
        (Key::Retained(TopicName::from_static("f")), kept()),
    ];
    let open = Open::new(&place.0.join("db")).unwrap();
    for (number, (key, value)) in records.iter().enumerate() {
        let (table, bytes) = (key.table(), key.encode());
        let mut stored = encode(table, &bytes, value);
        if [1, 5, 7, 10, 11].contains(&number) {
            stored[1] ^= 0x10;
        }
        open.tree(table).insert(bytes, stored).unwrap();
    }
    open.tree(Table::State).insert([6, 1], []).unwrap();
    open.database.persist(PersistMode::SyncAll).unwrap();
    drop(open);

    let expected = [
        "the session of an unknown client (session 2): its checksum is wrong",
        "the subscription of an unknown client (session 2) to \"f\": what it belongs to is lost",
        "a part of how far \"whole\" has read the log of \"f\": its checksum is wrong",
        "a record of the table \"state\" with the unknown key [06, 01]: its checksum is wrong",
        "the entry at position 3 in the log of \"f\": its checksum is wrong",
        "the retained message of \"f\": its checksum is wrong",
    ];
    let checked = FjallStore::check(&place.0).unwrap();
    let all: Vec<_> = expected.into_iter().chain(["message 6: its checksum is wrong"]).collect();
    assert_eq!(losses(&checked.opened), all, "the check reads messages, too");
    assert_eq!(checked.quarantined, 0);
    let (mut store, contents, report) = place.open();
    assert_eq!(losses(&report), expected);
    assert_eq!((contents.sessions(), contents.subscriptions(), contents.entries()), (1, 1, 2));
    let loaded = load(&mut store, 10);
    assert_eq!(loaded.entries.iter().map(|entry| entry.at.0).collect::<Vec<_>>(), [1], "position 2 is lost");
    assert_eq!(loaded.upto, Position(10));
    drop(store);
    let (_, _, report) = place.open();
    assert_eq!(losses(&report), [""; 0], "said once");
    let checked = FjallStore::check(&place.0).unwrap();
    assert_eq!(checked.quarantined, 7, "and kept");
    assert_eq!(losses(&checked.opened), ["the entry at position 2 in the log of \"f\": message 6 is lost"]);
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let place = Place::new("format");
    let format = place.0.join("format");
    for (text, says) in [("3\n", "newer version"), ("1", "older version"), ("??", "something else")] {
        fs::write(&format, text).unwrap();
        let before: Vec<_> = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        for _ in 0..2 {
            let error = FjallStore::open(&place.0, Durability::Disk).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let after: Vec<_> = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(before, after);
    }
    fs::remove_file(&format).unwrap();
    fs::write(place.0.join("letter.txt"), "Dear Ann").unwrap();
    assert!(matches!(FjallStore::open(&place.0, Durability::Disk), Err(OpenError::Foreign(_))));
}

#[test]
fn a_torn_end_of_the_journal_is_no_damage() {
    let place = filled("torn", 50);
    let journal = place.files(".jnl").pop().unwrap();
    let bytes = fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    // The last batch was not finished, and a page of something else lies behind it.
    spoil(&journal, end - 40);
    let file = fs::File::options().write(true).open(&journal).unwrap();
    file.write_all_at(&[1, 2, 3, 1, 0, 0, 0, 9], end + 100).unwrap();
    drop(file);
    let (mut store, contents, report) = place.open();
    assert_eq!((losses(&report), report.set_aside), (vec![], None));
    assert!(contents.entries() < 50 && contents.entries() > 0, "the last commit is undone: {}", contents.entries());
    assert_eq!(load(&mut store, 50).entries.len() as u64, contents.entries());
}

#[test]
fn a_hole_in_the_journal_costs_what_was_in_it() {
    let place = filled("hole", 50);
    let journal = place.files(".jnl").pop().unwrap();
    // Between the first commits and the last ones.
    let open = fs::read(&journal).unwrap();
    let end = open.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    spoil(&journal, end / 3);
    let (store, contents, report) = place.open();
    let aside = report.set_aside.clone().expect("the database is set aside");
    assert!(aside.ends_with("damaged-1") && aside.join("version").exists());
    let losses = losses(&report);
    assert!(losses[0].starts_with("the database as it was"), "{losses:?}");
    assert!(losses.iter().any(|lost| lost.contains(".jnl, bytes")), "{losses:?}");
    drop(store);
    assert!(contents.sessions() <= 1);
    let (_, again, report) = place.open();
    assert_eq!((again, report.lost.len(), report.set_aside), (contents, 0, None), "told once");
}

#[test]
fn files_of_the_database_that_are_broken_do_not_keep_it_from_starting() {
    // Whatever happens to any one file.
    let place = filled("files", 200);
    place.settle();
    place.files(".jnl").iter().for_each(|journal| fs::remove_file(journal).unwrap());
    let tables = place.files("/tables/");
    assert!(tables.len() >= 3, "{tables:?}");
    for number in 0..place.files("").len() {
        for how in ["removed", "cut", "spoilt"] {
            let place = place.copy(&format!("file-{number}-{how}"));
            let file = place.files("").swap_remove(number);
            let length = fs::metadata(&file).unwrap().len();
            match how {
                "removed" => fs::remove_file(&file).unwrap(),
                "cut" => fs::File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap(),
                _ if length == 0 => continue,
                _ => (0..8).for_each(|part| spoil(&file, length * part / 8)),
            }
            let what = format!("{} {how}", file.display());
            let (mut store, contents, report) = place.open();
            let loaded = load(&mut store, 200);
            let whole = contents.sessions() == 1 && contents.retained() == 1 && loaded.entries.len() == 200;
            assert!(whole || !report.lost.is_empty(), "{what}: something is missing, and nothing is said");
            drop(store);
            assert!(place.open().2.set_aside.is_none(), "{what}: the second start is a plain one");
        }
    }
}

#[test]
fn a_block_that_stops_writing_in_the_background_is_found_while_it_runs() {
    let place = filled("background", 2000);
    place.settle();
    place.files(".jnl").iter().for_each(|journal| fs::remove_file(journal).unwrap());
    let (store, _, report) = place.open();
    assert_eq!(losses(&report), [""; 0]);
    drop(store);
    let file = place.files("/2/tables/").pop().unwrap();
    spoil(&file, fs::metadata(&file).unwrap().len() / 2);
    let (ledger, _, report) = crate::opening::open(&place.0).unwrap();
    assert_eq!(losses(&report), [""; 0], "nobody has read it yet");
    let mut folder = ledger.records.disk;
    for (failures, mended) in [(2, false), (3, true)] {
        folder.background = failures;
        folder.revive().unwrap();
        assert_eq!(place.0.join("damaged-1").exists(), mended);
    }
    drop(folder);
    let (mut store, contents, report) = place.open();
    assert_eq!((losses(&report), contents.entries()), (vec![], 2000));
    let found = load(&mut store, 2000).entries.len();
    assert!((1000..2000).contains(&found), "a block is lost, the rest is there: {found}");
}
