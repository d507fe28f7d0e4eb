use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::compare::hashed::{salted, salted_value};

#[test]
fn quantities_of_one_meaning_are_equal() {
    for (a, b) in [
        (json!("0.5"), json!("500m")),
        (json!("1Gi"), json!("1024Mi")),
        (json!("1e3"), json!("1k")),
        (json!(1), json!("1000m")),
        (json!("1E"), json!("1000P")),
        (json!("0"), json!("0Mi")),
        (json!("-1.50"), json!("-1500m")),
        (json!("100u"), json!("0.1m")),
    ] {
        assert!(equal(Scalar::Quantity, &a, &b), "{a} {b}");
    }
    for (a, b) in
        [("1", "1m"), ("1G", "1Gi"), ("1", "x"), ("", "0"), ("1e", "1"), ("1", "-1"), ("1.1.1", "1.11")]
    {
        assert!(!equal(Scalar::Quantity, &json!(a), &json!(b)), "{a} {b}");
    }
}

#[test]
fn quantities_are_rounded_up_as_the_api_server_does() {
    for (a, b) in [("1.00005", "1001m"), ("0.0000001", "1m"), ("9.9999", "10"), ("1024.0001", "1024001m")] {
        assert!(equal(Scalar::Resource, &json!(a), &json!(b)), "{a} {b}");
        assert!(!equal(Scalar::Quantity, &json!(a), &json!(b)), "{a} {b}");
    }
    assert!(equal(Scalar::Quantity, &json!("0.0000000001"), &json!("1n")));
    for (a, b) in [("1000Ei", "9223372036854775807"), ("8Ei", "9223372036854775807")] {
        assert!(equal(Scalar::Quantity, &json!(a), &json!(b)), "{a} {b}");
    }
    for (a, b) in [("7Ei", "9223372036854775807"), ("1000E", "9223372036854775807")] {
        assert!(!equal(Scalar::Quantity, &json!(a), &json!(b)), "{a} {b}");
    }
    for (a, b) in [("1m", "2m"), ("1.0001", "1"), ("0", "0.0001"), ("1.001", "1.0011"), ("x", "y")] {
        assert!(!equal(Scalar::Resource, &json!(a), &json!(b)), "{a} {b}");
    }
}

#[test]
fn bytes_are_read_as_go_reads_them() {
    assert!(equal(Scalar::Bytes, &json!("aGVsbG8s\r\nIHdvcmxk\n"), &json!("aGVsbG8sIHdvcmxk")));
    assert!(equal(Scalar::Bytes, &json!("eB=="), &json!("eA==")));
    for (a, b) in [("eA==", "eQ=="), ("eA==", "eA"), ("eA==", " eA=="), ("", "eA=="), ("-", "_")] {
        assert!(!equal(Scalar::Bytes, &json!(a), &json!(b)), "{a} {b}");
    }
}

#[test]
fn bytes_are_known_by_their_hash() {
    let want = salted("aGVsbG8=", "s1");
    assert!(!want.to_string().contains("aGVsbG8"));
    assert!(equal(Scalar::Bytes, &want, &json!("aGVsbG8=")));
    for live in [json!("aGVsbG9v"), json!(""), json!(null)] {
        assert!(!equal(Scalar::Bytes, &want, &live), "{live}");
    }
    assert_ne!(want, salted("aGVsbG8=", "s2"));
    let text = salted_value(&json!("aGVsbG8="), "s1");
    assert!(
        equal(Scalar::Plain, &text, &json!("aGVsbG8=")) && !equal(Scalar::Plain, &want, &json!("aGVsbG8="))
    );
}

#[test]
fn durations_and_times_of_one_meaning_are_equal() {
    assert!(equal(Scalar::Duration, &json!("1m30s"), &json!("90s")));
    assert!(equal(Scalar::Duration, &json!("1.5h"), &json!("90m0s")));
    assert!(!equal(Scalar::Duration, &json!("1m"), &json!("1ms")));
    assert!(!equal(Scalar::Duration, &json!("1"), &json!("1s")));
    assert!(equal(Scalar::Time, &json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T01:00:00+01:00")));
    assert!(equal(Scalar::Time, &json!("2026-01-01T00:00:00.500Z"), &json!("2026-01-01T00:00:00.5Z")));
    assert!(!equal(Scalar::Time, &json!("2026-01-01T00:00:00Z"), &json!("2026-01-01T00:00:01Z")));
}

#[test]
fn a_number_is_not_its_text() {
    assert!(equal(Scalar::Plain, &json!(1), &json!(1.0)));
    assert!(!equal(Scalar::Plain, &json!(80), &json!("80")));
    assert!(!equal(Scalar::Plain, &json!(9_007_199_254_740_993_i64), &json!(9_007_199_254_740_992_i64)));
}

#[test]
fn long_numbers_take_no_longer_than_their_length() {
    let text = "9".repeat(1 << 20);
    for suffix in ["", "Ei", "n", "e9"] {
        let _ = (quantity(&json!(format!("{text}{suffix}"))), nanos(&json!(format!("0.{text}{suffix}"))));
    }
    let _ = (duration(&format!("{text}h")), time(&format!("2026-01-01T00:00:00.{text}Z")));
}

proptest! {
    /// Against whole milli-units, in which every reading is exact.
    #[test]
    fn a_quantity_is_its_milli_units(n in -1_000_000_i64..1_000_000) {
        let text = json!(format!("{n}m"));
        let whole = json!(format!("{}{}.{:03}", if n < 0 { "-" } else { "" }, n.abs() / 1000, n.abs() % 1000));
        prop_assert!(equal(Scalar::Quantity, &text, &whole));
        let more = json!(format!("{}m", n + 1));
        prop_assert!(!equal(Scalar::Quantity, &text, &more));
    }

    /// Texts that look like quantities, durations and times, of any length.
    #[test]
    fn what_looks_like_a_scalar_is_read_or_refused(
        number in "[-+]?[0-9]{0,30}\\.?[0-9]{0,30}", suffix in "([eE][-+]?[0-9]{0,12}|[numkMGTPE]?i?)",
        duration_text in "[-+]?([0-9]{0,20}\\.?[0-9]{0,20}(ns|us|µs|ms|s|m|h|d)){0,4}",
        time_text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,40})?([zZ]|[-+][0-9]{2}:[0-9]{2}|é)?",
    ) {
        let text = format!("{number}{suffix}");
        let value = json!(text);
        let _ = (duration(&duration_text), time(&time_text), unix_seconds(&time_text), nanos(&value));
        if let Some(decimal) = quantity(&value) {
            prop_assert!(decimal.digits.len() <= text.len() + 20, "{text}: {} digits", decimal.digits.len());
            prop_assert_eq!(decimal.rounded_up(NANO).rounded_up(NANO), decimal.rounded_up(NANO), "{}", text);
            prop_assert!(equal(Scalar::Quantity, &value, &json!(format!("+{text}").replace("+-", "-").replace("++", "+"))), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,24}") {
        let _ = (quantity(&json!(text)), duration(&text), time(&text), bytes(&text), nanos(&json!(text)));
    }
}
