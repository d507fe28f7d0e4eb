//! What gix reports, in our words. In: its error. Out: which kind of failure it
//! is, with all causes on one line.

use crate::error::SourceError;
use crate::location::RepoUrl;

pub(super) fn git_error(repo: &RepoUrl, error: &gix::Error) -> SourceError {
    SourceError::Git { repo: repo.to_string(), reason: chain(error) }
}

/// All causes of an error on one line.
fn chain(error: &gix::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string().replace('\n', " ");
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// Whether the disk has taken no more, at any place in an error.
fn is_disk_full(error: &gix::Error) -> bool {
    const KINDS: [std::io::ErrorKind; 4] = [
        std::io::ErrorKind::StorageFull,
        std::io::ErrorKind::QuotaExceeded,
        std::io::ErrorKind::FileTooLarge,
        std::io::ErrorKind::ReadOnlyFilesystem,
    ];
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| KINDS.contains(&error.kind())) {
            return true;
        }
        next = error.source();
    }
    // Some layers keep the words alone.
    chain(error).contains("No space left on device")
}

pub(super) fn transport_error(repo: &RepoUrl, error: &gix::Error) -> SourceError {
    let reason = repo.mask(&chain(error));
    if is_disk_full(error) {
        return SourceError::Git { repo: repo.to_string(), reason };
    }
    // Neither a port nor a path may look like a status.
    let lower = reason.replace(&repo.to_string(), "").to_lowercase();
    let lower = lower.split(" for url (").next().unwrap_or_default();
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let repo = repo.to_string();
    let refused = [
        "401 unauthorized",
        "403 forbidden",
        "authentication",
        "credential",
        "permission denied",
        "could not obtain identity",
    ];
    if any(&refused) {
        SourceError::Credentials { repo, reason }
    } else if any(&["404 not found", "repository not found", "does not appear to be a git repository"]) {
        SourceError::NotARepository { location: repo }
    } else {
        SourceError::Network { repo, reason }
    }
}
