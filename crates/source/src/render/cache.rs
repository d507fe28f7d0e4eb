//! Renders kept on disk, keyed by everything they depend on. Of a render that
//! holds a Secret only the fact is kept that it is the same twice. A file that
//! cannot be read counts as absent, and a disk that takes nothing only costs
//! time. What nobody has read for a month goes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gitops_core::desired::Given;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Part of the key: what rendering means. Raise it when that changes.
const VERSION: u32 = 7;
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A folder is swept once in so long.
const SWEEP: Duration = Duration::from_secs(3600);

static KEPT: AtomicU64 = AtomicU64::new(0);
static ANEW: AtomicU64 = AtomicU64::new(0);

/// What became of the sources that this process was to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renders {
    /// Found in the cache.
    pub kept: u64,
    pub anew: u64,
}

/// Since the process began.
pub fn renders() -> Renders {
    Renders { kept: KEPT.load(Ordering::Relaxed), anew: ANEW.load(Ordering::Relaxed) }
}

/// Counts a source that was to be rendered.
pub(super) fn count(kept: bool) {
    if kept { &KEPT } else { &ANEW }.fetch_add(1, Ordering::Relaxed);
}

pub(super) struct Entry {
    path: PathBuf,
}

impl Entry {
    pub(super) fn new(cache: &Path, key: &impl Serialize) -> Self {
        let key = serde_json::to_vec(&(VERSION, key)).unwrap_or_default();
        let name = hex::encode(Sha256::digest(key));
        Self { path: cache.join("renders").join(&name[..2]).join(format!("{name}.json")) }
    }

    /// Gives away what is kept, one object a line; false when nothing is, or
    /// when it is broken. It is checked to its end before anything is given.
    pub(super) fn read(&self, take: &mut dyn FnMut(Given)) -> bool {
        let kept = self.give(take);
        count(kept);
        kept
    }

    fn give(&self, take: &mut dyn FnMut(Given)) -> bool {
        let Ok(bytes) = std::fs::read(&self.path) else { return false };
        let Some(lines) = whole(&bytes) else {
            tracing::warn!(path = %self.path.display(), "a kept render is broken; rendering anew");
            return false;
        };
        let mut last = Arc::from("");
        for line in lines {
            match read(line, &mut last) {
                Ok(given) => take(given),
                Err(error) => {
                    // What was given stands, so the caller will complain; the
                    // next render is a new one.
                    tracing::warn!(path = %self.path.display(), %error, "a kept render is broken");
                    let _ = std::fs::remove_file(&self.path);
                    return false;
                }
            }
        }
        self.in_use();
        true
    }

    /// The same of a small one, at once, and not counted; none when nothing is kept, or
    /// when it is broken.
    pub(super) fn objects(&self) -> Option<Vec<Given>> {
        let mut objects = Vec::new();
        self.give(&mut |given| objects.push(given)).then_some(objects)
    }

    /// The sweep leaves it. What was read today is not marked again.
    fn in_use(&self) {
        if age(&self.path).is_some_and(|age| age > DAY) {
            let _ = std::fs::File::open(&self.path).and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    /// Keeps what it is given, if all of it comes.
    pub(super) fn writer(&self) -> Writer {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let file = std::fs::create_dir_all(folder).and_then(|()| tempfile::NamedTempFile::new_in(folder));
        let file = file.map(std::io::BufWriter::new).inspect_err(|error| {
            tracing::warn!(path = %self.path.display(), %error, "this render is not kept");
        });
        Writer {
            path: self.path.clone(),
            file: file.ok(),
            count: 0,
            sum: crc32fast::Hasher::new(),
            secret: false,
        }
    }

    /// Whether a render that is not kept was found to be the same twice.
    pub(super) fn is_steady(&self) -> bool {
        self.path.with_extension("steady").is_file()
    }
}

/// The lines of a file but for the last one, which says how many there are, and their
/// CRC-32: a file that was cut short or damaged is broken.
fn whole(bytes: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (body, last) = text.split_at(text.rfind('\n').map_or(0, |at| at + 1));
    let (count, sum) = last.split_once(' ')?;
    let lines: Vec<&str> = body.lines().collect();
    let is_whole = count.parse() == Ok(lines.len()) && sum.parse() == Ok(crc32fast::hash(body.as_bytes()));
    is_whole.then_some(lines)
}

/// One line's object. Those of one file share its name.
fn read(line: &str, last: &mut Arc<str>) -> serde_json::Result<Given> {
    let mut given = Given::of_line(line)?;
    if given.file() == last {
        given.set_file(last.clone());
    } else {
        *last = given.file().clone();
    }
    Ok(given)
}

/// A render on its way to the disk.
pub(super) struct Writer {
    path: PathBuf,
    file: Option<std::io::BufWriter<tempfile::NamedTempFile>>,
    count: usize,
    /// Of what is written so far.
    sum: crc32fast::Hasher,
    secret: bool,
}

impl Writer {
    pub(super) fn add(&mut self, object: &Given) {
        if object.is_secret() {
            self.withhold();
        }
        let Some(file) = &mut self.file else { return };
        self.count += 1;
        let written = object.to_line().map_err(std::io::Error::from).and_then(|mut line| {
            line.push('\n');
            self.sum.update(line.as_bytes());
            file.write_all(line.as_bytes())
        });
        if let Err(error) = written {
            self.failed(&error);
        }
    }

    /// Nothing of it may be kept: it holds what was decrypted.
    pub(super) fn withhold(&mut self) {
        self.secret = true;
        self.file = None;
    }

    pub(super) fn finish(mut self) {
        let result = if self.secret {
            std::fs::write(self.path.with_extension("steady"), b"")
        } else if let Some(mut file) = self.file.take() {
            let done = writeln!(file, "{} {}", self.count, self.sum.clone().finalize());
            done.and_then(|()| file.into_inner().map_err(std::io::IntoInnerError::into_error))
                .and_then(|file| file.persist(&self.path).map_err(|error| error.error))
                .map(drop)
        } else {
            return;
        };
        match result {
            Ok(()) => sweep(self.path.parent().unwrap_or(Path::new("."))),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "a render could not be kept");
        self.file = None;
    }
}

/// How long ago a file was written, or marked as in use.
fn age(path: &Path) -> Option<Duration> {
    path.metadata().and_then(|file| file.modified()).ok()?.elapsed().ok()
}

/// Removes what is old from a folder that something was just put into.
fn sweep(folder: &Path) {
    static SWEPT: Mutex<BTreeMap<PathBuf, Instant>> = Mutex::new(BTreeMap::new());
    let last = SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.into(), Instant::now());
    if last.is_some_and(|last| last.elapsed() < SWEEP) {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if age(&entry.path()).is_some_and(|age| age > MONTH) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
