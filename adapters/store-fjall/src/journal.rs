//! The journals of the database, read without it: after a crash the last batch of a journal may be torn, which is no
//! damage; a hole in front of whole batches is. The database tells neither from the other.
//!
//! Invariant: only what no whole batch follows is cut off.
use std::fs::{self, File};
use std::hash::Hasher as _;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Of an item without its key and value.
const ITEM_HEADER: usize = 1 + 1 + 8 + 2 + 4 + 4;

/// Changes that were made together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) sequence: u64,
    pub(crate) items: Vec<Item>,
    /// Bytes in the journal.
    length: u64,
}

#[derive(Debug)]
pub(crate) struct Item {
    /// The number of its tree.
    pub(crate) tree: u64,
    pub(crate) key: Vec<u8>,
    /// `None`: it is removed.
    pub(crate) value: Option<Vec<u8>>,
}

/// A journal with a hole.
#[derive(Debug)]
pub(crate) struct Hole {
    pub(crate) file: PathBuf,
    /// Where it begins, and where the next whole batch does.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The journals of a database, oldest first.
pub(crate) fn files(database: &Path) -> io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl")
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok())
        {
            numbered.push((number, path));
        }
    }
    numbered.sort_unstable();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// Reads all journals; cuts torn ends off, and gives the holes.
pub(crate) fn mend(database: &Path) -> io::Result<Vec<Hole>> {
    let mut holes = Vec::new();
    for file in files(database)? {
        let before = holes.len();
        let end = scan(&file, |_| Ok(()), |hole| holes.push(hole))?;
        if holes.len() == before && end.torn {
            tracing::info!(file = %file.display(), at = end.at, "a batch that was not finished is cut off");
            let file = File::options().write(true).open(&file)?;
            file.set_len(end.at)?;
            file.sync_all()?;
        }
    }
    Ok(holes)
}

/// Where whole batches end, and whether something that is none follows.
pub(crate) struct End {
    at: u64,
    torn: bool,
}

/// Gives all whole batches of a journal, and the holes between them.
pub(crate) fn scan(
    path: &Path,
    mut whole: impl FnMut(Batch) -> io::Result<()>,
    mut hole: impl FnMut(Hole),
) -> io::Result<End> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut at = 0;
    loop {
        match read_batch(&mut reader) {
            Ok(batch) => {
                at += batch.length;
                whole(batch)?;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
                reader.seek(SeekFrom::Start(at))?;
                let Some(next) = next_batch(&mut reader, at)? else {
                    reader.seek(SeekFrom::Start(at))?;
                    return Ok(End { at, torn: !only_zeros(&mut reader)? });
                };
                hole(Hole { file: path.to_owned(), from: at, to: next });
                at = next;
                reader.seek(SeekFrom::Start(at))?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn only_zeros(reader: &mut BufReader<File>) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Where the next whole batch behind `at` begins.
fn next_batch(reader: &mut BufReader<File>, at: u64) -> io::Result<Option<u64>> {
    if only_zeros(reader)? {
        return Ok(None);
    }
    reader.seek(SeekFrom::Start(at))?;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest)?;
    let starts = (1..rest.len()).filter(|start| rest[*start] == START);
    let next = starts.filter(|start| read_batch(&mut &rest[*start..]).is_ok()).map(|start| at + start as u64).next();
    Ok(next)
}

/// A batch, if one begins here.
fn read_batch(reader: &mut impl Read) -> io::Result<Batch> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut header = [0; 13];
    reader.read_exact(&mut header)?;
    if header[0] != START {
        return Err(invalid());
    }
    let count = u32::from_le_bytes(number(&header[1..]));
    let mut batch = Batch { sequence: u64::from_le_bytes(number(&header[5..])), length: 13, ..Batch::default() };
    let mut sum = Xxh3::default();
    for _ in 0..count {
        let mut header = [0; 1 + ITEM_HEADER];
        reader.read_exact(&mut header)?;
        // Kind, type of value, compression (none), tree, lengths of the key, the value, and the value as it lies there.
        let (kind, removed, tree) = (header[0], header[1], u64::from_le_bytes(number(&header[3..])));
        let [key, value, stored] = [
            usize::from(u16::from_le_bytes(number(&header[11..]))),
            u32::from_le_bytes(number(&header[13..])) as usize,
            u32::from_le_bytes(number(&header[17..])) as usize,
        ];
        if kind != ITEM || removed > 2 || header[2] != 0 || value != stored {
            return Err(invalid());
        }
        let (key, value) = (exactly(reader, key)?, exactly(reader, value)?);
        batch.length += (header.len() + key.len() + value.len()) as u64;
        for part in [&header[..], &key, &value] {
            sum.write(part);
        }
        batch.items.push(Item { tree, key, value: (removed == 0).then_some(value) });
    }
    let mut end = [0; 13];
    reader.read_exact(&mut end)?;
    let right = end[0] == END && end[9..] == TRAILER && u64::from_le_bytes(number(&end[1..])) == sum.finish();
    batch.length += 13;
    if right { Ok(batch) } else { Err(invalid()) }
}

fn number<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn exactly(reader: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(1 << 16)); // the length may be nonsense
    reader.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}
