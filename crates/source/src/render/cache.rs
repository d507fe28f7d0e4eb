//! Renders kept on disk, keyed by everything they depend on. Of a render that
//! holds a Secret only the fact is kept that it is the same twice. A file that
//! cannot be read counts as absent, and a disk that takes nothing only costs
//! time. What nobody has read for a month goes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gitops_core::desired::Rendered;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Part of the key: what rendering means. Raise it when that changes.
const VERSION: u32 = 5;
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
    pub(super) fn read(&self, take: &mut dyn FnMut(Rendered)) -> bool {
        let kept = self.give(take);
        count(kept);
        kept
    }

    fn give(&self, take: &mut dyn FnMut(Rendered)) -> bool {
        let Ok(bytes) = std::fs::read(&self.path) else { return false };
        let sound = |line: &&[u8]| serde_json::from_slice::<Shape>(line).is_ok();
        let Some(lines) = whole(&bytes).filter(|lines| lines.iter().all(sound)) else {
            tracing::warn!(path = %self.path.display(), "a kept render is broken; rendering anew");
            return false;
        };
        for line in lines {
            match serde_json::from_slice(line) {
                Ok(rendered) => take(rendered),
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

    /// The same of a small one, at once; none when nothing is kept, or when it is
    /// broken.
    pub(super) fn objects(&self) -> Option<Vec<Rendered>> {
        let bytes = std::fs::read(&self.path).ok()?;
        let read =
            |lines: Vec<&[u8]>| lines.into_iter().map(|line| serde_json::from_slice(line).ok()).collect();
        let objects: Option<Vec<Rendered>> = whole(&bytes).and_then(read);
        if objects.is_none() {
            tracing::warn!(path = %self.path.display(), "what is kept of some files is broken; reading them anew");
        }
        self.in_use();
        objects
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
        Writer { path: self.path.clone(), file: file.ok(), count: 0, secret: false }
    }

    /// Whether a render that is not kept was found to be the same twice.
    pub(super) fn is_steady(&self) -> bool {
        self.path.with_extension("steady").is_file()
    }
}

/// The lines of a file but for the last one, which says how many there are: one
/// that was cut short is broken.
fn whole(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let count: usize = std::str::from_utf8(lines.pop()?).ok()?.parse().ok()?;
    (count == lines.len()).then_some(lines)
}

/// What a line has to look like.
#[derive(Deserialize)]
#[allow(dead_code, reason = "only whether it can be read counts")]
struct Shape {
    value: IgnoredAny,
    file: IgnoredAny,
    line: u32,
    lines: IgnoredAny,
}

/// A render on its way to the disk.
pub(super) struct Writer {
    path: PathBuf,
    file: Option<std::io::BufWriter<tempfile::NamedTempFile>>,
    count: usize,
    secret: bool,
}

impl Writer {
    pub(super) fn add(&mut self, object: &Rendered) {
        if object.value.get("kind").is_some_and(|kind| kind == "Secret") {
            self.withhold();
        }
        let Some(file) = &mut self.file else { return };
        self.count += 1;
        let written = serde_json::to_writer(&mut *file, object).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| file.write_all(b"\n")) {
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
            let done = writeln!(file, "{}", self.count);
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
