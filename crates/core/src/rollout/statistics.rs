//! Whether two samples differ. In: measurements of the new and the old version.
//! Out: Mann and Whitney's U and how likely such a U is if they do not differ.

use std::cmp::Ordering;

/// Up to this many values in each sample the distribution is counted out.
const EXACT: usize = 20;

/// A test's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the first sample's value is the larger one; ties count half.
    pub u: f64,
    /// Of the first sample being shifted upwards.
    pub greater: f64,
    /// Of the first sample being shifted downwards.
    pub less: f64,
    /// Of any shift.
    pub two_sided: f64,
}

/// The test of Mann and Whitney: exact for small samples without ties, else by
/// the normal distribution, corrected for ties and continuity. None when a
/// sample is empty or holds what is no number.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<MannWhitney> {
    let wrong = |sample: &[f64]| sample.is_empty() || sample.iter().any(|value| !value.is_finite());
    if wrong(first) || wrong(second) {
        return None;
    }
    let mut joined: Vec<(f64, bool)> = first.iter().map(|value| (*value, true)).collect();
    joined.extend(second.iter().map(|value| (*value, false)));
    joined.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    let (ranks, ties) = rank(&joined);
    let (n, m) = (first.len() as f64, second.len() as f64);
    let u = ranks - n * (n + 1.0) / 2.0;
    let exact = ties == 0.0 && first.len() <= EXACT && second.len() <= EXACT;
    let (greater, less) = match exact {
        true => counted(u, first.len(), second.len()),
        false => approximated(u, n, m, ties),
    };
    Some(MannWhitney { u, greater, less, two_sided: (2.0 * greater.min(less)).min(1.0) })
}

/// Whether the first sample is shifted upwards, as sure as `confidence` (0 to
/// 1). None when the samples are too few to show it even if all of the first
/// were larger, or hold what is no number.
pub fn is_greater(first: &[f64], second: &[f64], confidence: f64) -> Option<bool> {
    let test = mann_whitney(first, second)?;
    let most = 1.0 - confidence;
    (least(first.len(), second.len()) <= most).then_some(test.greater <= most)
}

/// The likelihood of the most extreme order of two samples.
fn least(n: usize, m: usize) -> f64 {
    (1..=n).map(|place| place as f64 / (m + place) as f64).product()
}

/// The sum of the first sample's ranks, and of t³ - t over groups of ties.
fn rank(joined: &[(f64, bool)]) -> (f64, f64) {
    let (mut sum, mut ties, mut before) = (0.0, 0.0, 0);
    for group in joined.chunk_by(|a, b| a.0 == b.0) {
        let size = group.len() as f64;
        let rank = before as f64 + (size + 1.0) / 2.0;
        sum += rank * group.iter().filter(|(_, first)| *first).count() as f64;
        ties += size.powi(3) - size;
        before += group.len();
    }
    (sum, ties)
}

/// Both tails, by counting the orders that give each U.
fn counted(u: f64, n: usize, m: usize) -> (f64, f64) {
    // ways[k][s]: choices of k of the places seen so far whose U is s.
    let mut ways = vec![vec![0.0_f64; n * m + 1]; n + 1];
    ways[0][0] = 1.0;
    for place in 0..n + m {
        for k in (0..n.min(place + 1)).rev() {
            // The place is the first sample's: the second's before it count.
            let smaller = place - k;
            if smaller > m {
                continue;
            }
            for s in (0..=n * m - smaller).rev() {
                let more = ways[k][s];
                ways[k + 1][s + smaller] += more;
            }
        }
    }
    let all: f64 = ways[n].iter().sum();
    let tail = |wanted: &dyn Fn(f64) -> bool| {
        let chosen = ways[n].iter().enumerate().filter(|(s, _)| wanted(*s as f64));
        chosen.map(|(_, ways)| ways).sum::<f64>() / all
    };
    (tail(&|s| s >= u), tail(&|s| s <= u))
}

fn approximated(u: f64, n: f64, m: f64, ties: f64) -> (f64, f64) {
    let all = n + m;
    let variance = n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return (1.0, 1.0);
    }
    let (mean, deviation) = (n * m / 2.0, variance.sqrt());
    (beyond((u - mean - 0.5) / deviation), beyond((mean - u - 0.5) / deviation))
}

/// The standard normal distribution's upper tail.
fn beyond(z: f64) -> f64 {
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// The complementary error function, to 1.2e-7 of its value (Numerical Recipes
/// in C, 2nd edition, chapter 6.2).
fn erfc(x: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let sum = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = t * (sum - x * x).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-4
    }

    /// From the manuals of R (wilcox.test) and SciPy (mannwhitneyu).
    #[test]
    fn known_samples_give_known_values() {
        let x = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let y = [1.15, 0.88, 0.90, 0.74, 1.21];
        let test = mann_whitney(&x, &y).unwrap();
        assert!(test.u == 35.0 && close(test.greater, 0.1272), "{test:?}");
        let (males, females) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        let test = mann_whitney(&males, &females).unwrap();
        assert!(test.u == 17.0 && close(test.two_sided, 0.111_111), "{test:?}");
        let (greater, less) = approximated(17.0, 5.0, 4.0, 0.0);
        assert!(close(2.0 * greater.min(less), 0.111_347), "{greater} {less}");
    }

    /// From the tables of critical values at 0.05, two-sided (Mann and Whitney 1947).
    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (n, m, critical) in [(5, 5, 2.0), (5, 8, 6.0), (8, 8, 13.0), (10, 10, 23.0), (20, 20, 127.0)] {
            let two_sided = |u: f64| 2.0 * counted(u, n, m).1;
            assert!(two_sided(critical) <= 0.05 && two_sided(critical + 1.0) > 0.05, "{n} {m}");
        }
        assert!(close(counted(25.0, 5, 5).0, 1.0 / 252.0));
    }

    #[test]
    fn large_and_tied_samples_are_approximated() {
        let low: Vec<f64> = (0..100).map(|i| f64::from(i % 10)).collect();
        let high: Vec<f64> = low.iter().map(|value| value + 2.0).collect();
        assert!(mann_whitney(&high, &low).unwrap().greater < 0.001);
        assert!(mann_whitney(&low, &high).unwrap().greater > 0.999);
        assert!(mann_whitney(&low, &low).unwrap().two_sided > 0.99);
        assert_eq!(mann_whitney(&[1.0; 30], &[1.0; 30]).unwrap().two_sided, 1.0);
    }

    #[test]
    fn the_exact_and_the_approximate_agree_where_both_hold() {
        for u in 0..=400 {
            let (exact, about) = (counted(f64::from(u), 20, 20), approximated(f64::from(u), 20.0, 20.0, 0.0));
            assert!((exact.0 - about.0).abs() < 0.005 && (exact.1 - about.1).abs() < 0.005, "{u}");
        }
    }

    #[test]
    fn few_samples_show_nothing() {
        let (low, high) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        assert!(close(least(4, 4), 1.0 / 70.0) && close(least(2, 3), 0.1));
        assert_eq!(is_greater(&high, &low, 0.95), Some(true));
        assert_eq!(is_greater(&low, &high, 0.95), Some(false));
        assert_eq!(is_greater(&high[..2], &low[..3], 0.95), None, "10 orders: never below 0.05");
        assert_eq!(is_greater(&[0.0; 9], &[0.0; 9], 0.95), Some(false), "all alike");
    }

    #[test]
    fn what_is_no_sample_gives_no_result() {
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[1.0], &[f64::NAN]), None);
    }
}
