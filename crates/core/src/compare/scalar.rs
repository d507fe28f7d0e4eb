//! Equal meaning of scalars written differently. In: two JSON values. Out:
//! whether Kubernetes reads them as the same.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::hashed::Hash;
use crate::schema::Scalar;

pub(super) fn equal(kind: Scalar, want: &Value, live: &Value) -> bool {
    if want == live {
        return true;
    }
    match kind {
        Scalar::Plain => match Hash::of(want) {
            Some(hash) => hash.is_of(live),
            None => plain_equal(want, live),
        },
        Scalar::Quantity => matches!((quantity(want), quantity(live)), (Some(a), Some(b)) if a == b),
        Scalar::Resource => match (quantity(want), quantity(live)) {
            (Some(a), Some(b)) => a == b || a.rounded_up(MILLI) == b.rounded_up(MILLI),
            _ => false,
        },
        Scalar::Duration => both(want, live, duration),
        Scalar::Bytes => match Hash::of(want) {
            Some(hash) => {
                live.as_str().is_some_and(|live| bytes(live).is_some_and(|bytes| hash.is_of_bytes(&bytes)))
            }
            None => both(want, live, bytes),
        },
        Scalar::Time => both(want, live, time),
    }
}

fn both<T: PartialEq>(want: &Value, live: &Value, read: fn(&str) -> Option<T>) -> bool {
    let read = |value: &Value| value.as_str().and_then(read);
    matches!((read(want), read(live)), (Some(a), Some(b)) if a == b)
}

/// Values of unknown type: numbers by value (`1` is `1.0`), the rest as is.
pub(super) fn plain_equal(want: &Value, live: &Value) -> bool {
    match (want, live) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || (!(a.is_i64() && b.is_i64() || a.is_u64() && b.is_u64()) && a.as_f64() == b.as_f64())
        }
        _ => want == live,
    }
}

/// A number as digits times a power of ten, without trailing zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without leading or trailing zeros; empty for zero.
    digits: Vec<u8>,
    exponent: i64,
}

/// What the API server rounds resources up to (SetDefaults_ResourceList), and
/// all quantities (ParseQuantity), as powers of ten.
const MILLI: i64 = -3;
const NANO: i64 = -9;

impl Decimal {
    fn is_more_than_an_i64(&self) -> bool {
        let length = i64::try_from(self.digits.len()).unwrap_or(i64::MAX).saturating_add(self.exponent);
        let most = i64::MAX.to_string();
        let most_length = i64::try_from(most.len()).unwrap_or(i64::MAX);
        length > most_length
            || length == most_length
                && self.digits.iter().map(|digit| digit + b'0').gt(most.trim_end_matches('0').bytes())
    }

    /// Away from zero, to a multiple of ten to the power `exponent`.
    fn rounded_up(&self, exponent: i64) -> Self {
        let Some(over) = usize::try_from(exponent - self.exponent).ok().filter(|over| *over > 0) else {
            return self.clone();
        };
        if self.digits.is_empty() {
            return self.clone();
        }
        // The last digit is never zero, so that there is always a rest.
        let mut digits = self.digits[..self.digits.len().saturating_sub(over)].to_vec();
        match digits.iter().rposition(|digit| *digit < 9) {
            Some(at) => {
                digits[at] += 1;
                digits[at + 1..].fill(0);
            }
            None => {
                digits.fill(0);
                digits.insert(0, 1);
            }
        }
        normalised(self.negative, digits, exponent)
    }
}

/// Reads a quantity (k8s.io/apimachinery, `resource.Quantity`), or a number
/// that stands for one. Exact at any length, down to a nano.
pub(super) fn quantity(value: &Value) -> Option<Decimal> {
    let (exact, is_binary) = match value {
        Value::String(text) => (quantity_text(text)?, text.ends_with('i')),
        Value::Number(number) => (quantity_text(&number.to_string())?, false),
        _ => return None,
    };
    let rounded = exact.rounded_up(NANO);
    // Binary ones end at 2^63 - 1.
    let too_large = is_binary && !rounded.negative && rounded.is_more_than_an_i64();
    if too_large { quantity_text(&i64::MAX.to_string()) } else { Some(rounded) }
}

/// Billionths of a quantity; none for what is no quantity, or too large.
pub(crate) fn nanos(value: &Value) -> Option<i128> {
    let decimal = quantity(value)?;
    let power = u32::try_from(decimal.exponent - NANO).ok()?;
    let digits = decimal
        .digits
        .iter()
        .try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(*digit)))?;
    let nanos = digits.checked_mul(10_i128.checked_pow(power)?)?;
    Some(if decimal.negative { -nanos } else { nanos })
}

fn quantity_text(text: &str) -> Option<Decimal> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect();
    let exponent = -i64::try_from(fraction.len()).ok()?;
    let (digits, exponent) = match suffix {
        "n" => (digits, exponent - 9),
        "u" => (digits, exponent - 6),
        "m" => (digits, exponent - 3),
        "" => (digits, exponent),
        "k" => (digits, exponent + 3),
        "M" => (digits, exponent + 6),
        "G" => (digits, exponent + 9),
        "T" => (digits, exponent + 12),
        "P" => (digits, exponent + 15),
        "E" => (digits, exponent + 18),
        "Ki" => (times_1024(digits, 1), exponent),
        "Mi" => (times_1024(digits, 2), exponent),
        "Gi" => (times_1024(digits, 3), exponent),
        "Ti" => (times_1024(digits, 4), exponent),
        "Pi" => (times_1024(digits, 5), exponent),
        "Ei" => (times_1024(digits, 6), exponent),
        _ => {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (digits, exponent + i64::from(power))
        }
    };
    Some(normalised(negative, digits, exponent))
}

fn times_1024(digits: Vec<u8>, times: usize) -> Vec<u8> {
    (0..times).fold(digits, |digits, _| {
        let mut product = Vec::with_capacity(digits.len() + 4);
        let mut carry = 0u32;
        for digit in digits.iter().rev() {
            let value = u32::from(*digit) * 1024 + carry;
            product.push((value % 10) as u8);
            carry = value / 10;
        }
        while carry > 0 {
            product.push((carry % 10) as u8);
            carry /= 10;
        }
        product.reverse();
        product
    })
}

fn normalised(negative: bool, mut digits: Vec<u8>, mut exponent: i64) -> Decimal {
    while digits.last() == Some(&0) {
        digits.pop();
        exponent += 1;
    }
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..leading);
    if digits.is_empty() {
        return Decimal { negative: false, digits, exponent: 0 };
    }
    Decimal { negative, digits, exponent }
}

/// Nanoseconds of a Go duration such as `1h30m`, `1.5s` or `-2ms`.
fn duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        total = total.checked_add(whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)? / scale)?)?;
        rest = tail;
    }
    Some(sign * total)
}

/// As Go reads base64: line breaks and the bits after the last byte say
/// nothing.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    const AS_GO: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let one_line: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    AS_GO.decode(one_line).ok()
}

/// Seconds since 1970 of an RFC 3339 time.
pub fn unix_seconds(text: &str) -> Option<i64> {
    i64::try_from(time(text)?.div_euclid(1_000_000_000)).ok()
}

/// Nanoseconds since 1970 of an RFC 3339 time.
fn time(text: &str) -> Option<i128> {
    let number = |range: std::ops::Range<usize>| -> Option<i128> {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let shape = text.as_bytes();
    if shape.get(4) != Some(&b'-')
        || !matches!(shape.get(10), Some(b'T' | b't'))
        || shape.get(13) != Some(&b':')
    {
        return None;
    }
    let rest = &text[19..];
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    let nanos: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let offset = match zone.as_bytes().first()? {
        b'Z' | b'z' if zone.len() == 1 => 0,
        sign @ (b'+' | b'-') if zone.len() == 6 => {
            let minutes =
                zone.get(1..3)?.parse::<i128>().ok()? * 60 + zone.get(4..6)?.parse::<i128>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days since 1970 (Howard Hinnant, days_from_civil).
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some((((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests;
