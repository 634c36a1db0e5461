//! The contract, passed by a store in memory and by fjall.
use mqtt_session::broker::{Completion, Contents, LoadRequest, MemoryStore, StoreBatch};
use mqtt_store_contract::Harness;
use mqtt_store_fjall::{Durability, FjallStore, OpenError};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Keeps everything at once.
struct InMemory(MemoryStore, VecDeque<Completion>);

impl Harness for InMemory {
    fn create() -> Self {
        Self(MemoryStore::new(), VecDeque::new())
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.apply(&batch);
        self.1.push_back(Completion::Stored { upto: batch.seq });
    }

    fn load(&mut self, request: LoadRequest) {
        self.1.push_back(Completion::Loaded(self.0.load(&request)));
    }

    fn answer(&mut self) -> Completion {
        self.1.pop_front().unwrap()
    }

    fn reopen(self) -> (Self, Contents) {
        let contents = self.0.contents();
        (self, contents)
    }

    fn crash(self) -> (Self, Contents) {
        self.reopen()
    }
}

/// A new folder for a test.
fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // In memory where that is possible: what is tested here is no disk.
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { PathBuf::from(env!("CARGO_TARGET_TMPDIR")) };
    let path = place.join(format!("store-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path); // of an earlier process with the same number
    path
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

struct Fjall {
    path: PathBuf,
    store: Option<FjallStore>,
    answers: Receiver<Completion>,
}

impl Fjall {
    fn open(path: PathBuf) -> (Self, Contents) {
        let (mut store, contents, report) = FjallStore::open(&path, Durability::Os).unwrap();
        assert_eq!(report.lost, []);
        let (sender, answers) = channel();
        store.start(move |completion| drop(sender.send(completion))).unwrap();
        (Self { path, store: Some(store), answers }, contents)
    }
}

impl Harness for Fjall {
    fn create() -> Self {
        Self::open(folder()).0
    }

    fn write(&mut self, batch: StoreBatch) {
        self.store.as_mut().unwrap().write(batch);
    }

    fn load(&mut self, request: LoadRequest) {
        self.store.as_mut().unwrap().load(request);
    }

    fn answer(&mut self) -> Completion {
        self.answers.recv_timeout(Duration::from_mins(1)).unwrap()
    }

    fn reopen(mut self) -> (Self, Contents) {
        drop(self.store.take());
        Self::open(std::mem::take(&mut self.path))
    }

    fn crash(self) -> (Self, Contents) {
        let place = folder();
        copy(&self.path, &place);
        Self::open(place)
    }

    /// A journal, which is used again when it is full.
    const KEPT: u64 = 66 << 20;

    fn bytes(&mut self) -> Option<u64> {
        Some(size(&self.path))
    }
}

/// Bytes of the files in a folder, holes left out.
fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let entries = entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    entries.map(|(path, metadata)| if metadata.is_dir() { size(&path) } else { metadata.blocks() * 512 }).sum()
}

impl Drop for Fjall {
    fn drop(&mut self) {
        drop(self.store.take());
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[test]
fn in_memory() {
    mqtt_store_contract::holds::<InMemory>();
}

#[test]
fn fjall() {
    mqtt_store_contract::holds::<Fjall>();
}

#[test]
fn a_second_user_is_refused() {
    let path = folder();
    let first = FjallStore::open(&path, Durability::Disk).unwrap();
    let error = FjallStore::open(&path, Durability::Disk).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(matches!(FjallStore::check(&path), Err(OpenError::InUse(_))));
    drop(first);
    FjallStore::check(&path).unwrap();
    assert!(matches!(FjallStore::check(&path.join("nothing")), Err(OpenError::Missing(_))));
    assert!(!path.join("nothing").exists());
    std::fs::remove_dir_all(&path).unwrap();
}
