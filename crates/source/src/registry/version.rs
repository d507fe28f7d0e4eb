//! Versions of charts as Helm reads them. In: a version or a range, and the
//! versions there are. Out: the newest that fits.

use semver::{Comparator, Op, Version, VersionReq};

/// `1.2.3@sha256:...` as version and digest.
pub(super) fn split_digest(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((version, digest)) => (version.trim(), Some(digest.trim())),
        None if text.starts_with("sha256:") => ("", Some(text)),
        None => (text.trim(), None),
    }
}

/// Whether a text names one version: `1.2.3`, not `1.2` or `^1.2.3`.
pub(super) fn is_exact(text: &str) -> bool {
    parse(text).is_some()
}

pub(super) fn parse(text: &str) -> Option<Version> {
    Version::parse(text.trim().trim_start_matches('v')).ok()
}

/// The newest of `there` that `wanted` takes; empty: the newest of all.
/// Versions before a release count only where the range names one.
pub(super) fn newest<'a>(
    wanted: &str,
    there: impl Iterator<Item = &'a str>,
) -> Result<Option<&'a str>, String> {
    let ranges = ranges(wanted)?;
    let known = there.filter_map(|text| Some((parse(text)?, text)));
    let fit = known.filter(|(version, _)| ranges.iter().any(|range| range.matches(version)));
    Ok(fit.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, text)| text))
}

/// `>=1.2 <2 || 3.x`: alternatives of comparisons, set apart by commas or
/// blanks.
fn ranges(text: &str) -> Result<Vec<VersionReq>, String> {
    if text.trim().is_empty() || text.trim() == "*" {
        return Ok(vec![VersionReq::STAR]);
    }
    text.split("||").map(|part| range(part.trim())).collect()
}

fn range(text: &str) -> Result<VersionReq, String> {
    let bad = |error: &dyn std::fmt::Display| {
        format!("{text:?} is neither a version nor a range of versions: {error}")
    };
    if let Some(version) = parse(text) {
        // Helm's bare version is that one, cargo's is a range.
        let exact = Comparator {
            op: Op::Exact,
            major: version.major,
            minor: Some(version.minor),
            patch: Some(version.patch),
            pre: version.pre,
        };
        return Ok(VersionReq { comparators: vec![exact] });
    }
    if let Some((from, to)) = text.split_once(" - ") {
        return VersionReq::parse(&format!(">={}, <={}", from.trim(), to.trim()))
            .map_err(|error| bad(&error));
    }
    // Operators may stand apart from their version.
    let mut joined = text.replace(',', " ");
    for operator in [">", "<", "=", "~", "^"] {
        joined = joined.replace(&format!("{operator} "), operator);
    }
    let parts: Vec<String> = joined
        .split_whitespace()
        .map(|part| {
            let part = part.replace(".x", ".*").replace(".X", ".*");
            // A bare `1.2` is `1.2.*`.
            if part.starts_with(|first: char| first.is_ascii_digit()) && !part.contains('*') {
                format!("{part}.*")
            } else {
                part
            }
        })
        .collect();
    VersionReq::parse(&parts.join(", ")).map_err(|error| bad(&error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_helm_means() {
        let there = ["1.0.0", "1.2.0", "v1.2.4", "1.10.0", "2.0.0", "2.1.0-rc.1", "no-version"];
        for (wanted, expected) in [
            ("", Some("2.0.0")),
            ("*", Some("2.0.0")),
            ("1.2.0", Some("1.2.0")),
            ("1.2.4", Some("v1.2.4")),
            ("^1.2.0", Some("1.10.0")),
            ("~1.2.0", Some("v1.2.4")),
            ("1.2", Some("v1.2.4")),
            ("1.x", Some("1.10.0")),
            (">=1.0.0 <1.3.0", Some("v1.2.4")),
            (">= 1.0.0, < 1.2.0", Some("1.0.0")),
            ("1.0.0 - 1.2.0", Some("1.2.0")),
            ("3.x || 1.0.0", Some("1.0.0")),
            (">=2.1.0-0", Some("2.1.0-rc.1")),
            ("3.x", None),
        ] {
            assert_eq!(newest(wanted, there.into_iter()).unwrap(), expected, "{wanted:?}");
        }
        assert!(newest("one", there.into_iter()).unwrap_err().contains("\"one\" is neither"));
    }

    #[test]
    fn exact_versions_and_digests_are_told_apart() {
        assert!(is_exact("1.2.3") && is_exact("v1.2.3-rc.1") && !is_exact("1.2") && !is_exact("^1.2.3"));
        assert_eq!(split_digest("1.2.3@sha256:ab"), ("1.2.3", Some("sha256:ab")));
        assert_eq!(split_digest("sha256:ab"), ("", Some("sha256:ab")));
        assert_eq!(split_digest("v1"), ("v1", None));
    }
}
