//! The contract, passed by a store in memory and by fjall.
use mqtt_session::broker::{Completion, Contents, LoadRequest, MemoryStore, StoreBatch};
use mqtt_store_contract::Harness;
use mqtt_store_fjall::{Durability, FjallStore, OpenError};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

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

const LEVELS: [Durability; 3] = [Durability::Memory, Durability::Os, Durability::Disk];

/// At the level with this number.
struct Fjall<const LEVEL: usize> {
    path: PathBuf,
    store: Option<FjallStore>,
    answers: Receiver<Completion>,
}

impl<const LEVEL: usize> Fjall<LEVEL> {
    fn open(path: PathBuf) -> (Self, Contents) {
        let (mut store, contents, report) = FjallStore::open(&path, LEVELS[LEVEL]).unwrap();
        assert_eq!(report.lost, []);
        let (sender, answers) = channel();
        store.start(move |completion| drop(sender.send(completion))).unwrap();
        (Self { path, store: Some(store), answers }, contents)
    }
}

impl<const LEVEL: usize> Harness for Fjall<LEVEL> {
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

    /// Two journals, of which one goes when all trees have written what is in it, and what is not worth a merge of files yet.
    const KEPT: u64 = (2 * 66 + 32) << 20;

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

impl<const LEVEL: usize> Drop for Fjall<LEVEL> {
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
    mqtt_store_contract::holds::<Fjall<1>>();
}

#[test]
fn fjall_at_the_level_disk() {
    mqtt_store_contract::answers_in_order::<Fjall<2>>();
    mqtt_store_contract::acknowledged_survives::<Fjall<2>>();
}

/// What was reported before it was written can be loaded all the same.
#[test]
fn fjall_at_the_level_memory() {
    mqtt_store_contract::answers_in_order::<Fjall<0>>();
    mqtt_store_contract::random_histories::<Fjall<0>>();
    mqtt_store_contract::parts_of_logs::<Fjall<0>>();
}

/// The real size; run it with --release and --nocapture to see how long it takes.
#[test]
#[ignore = "takes minutes"]
fn a_million_retained() {
    mqtt_store_contract::many_retained::<Fjall<1>>(1_000_000);
}

/// As many queued messages as retained ones above: how much they take, and that starting does not read them.
#[test]
#[ignore = "takes minutes"]
fn a_million_queued() {
    let (mut store, _) = Fjall::<1>::open(folder());
    let begun = Instant::now();
    mqtt_store_contract::fill(&mut store, 1_000_000, 200);
    println!("written in {:?}, {} bytes of files", begun.elapsed(), size(&store.path));
    let begun = Instant::now();
    let (mut store, contents) = store.reopen();
    println!("opened in {:?} with {} entries", begun.elapsed(), contents.entries());
    let begun = Instant::now();
    assert_eq!(mqtt_store_contract::drain(&mut store, 1_000_000), 1_000_000);
    println!("loaded in {:?}", begun.elapsed());
    let begun = Instant::now();
    let (store, _) = store.reopen();
    println!("opened in {:?}, {} bytes of files", begun.elapsed(), size(&store.path));
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
