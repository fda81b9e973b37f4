//! Checks that memory does not grow.

/// What grows by less than this is flat, beside the share: an allocator keeps some for itself.
const SLACK: u64 = 4 << 20;
/// A twentieth.
const SHARE: u64 = 20;
/// A median of fewer samples than this says nothing.
const FEWEST: usize = 8;

pub(crate) const RULE: &str = "the median of the last quarter of the samples exceeds that of the quarter after the \
     warm-up (the first fifth, and no less than 10 s) by less than 5 % + 4 MiB";

/// What the samples, one a second, come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flatness {
    TooShort,
    Flat { first: u64, last: u64 },
    Grown { first: u64, last: u64 },
}

pub(crate) fn judge(samples: &[u64]) -> Flatness {
    let warm_up = (samples.len() / 5).max(10).min(samples.len());
    let samples = &samples[warm_up..];
    let quarter = samples.len() / 4;
    if quarter < FEWEST {
        return Flatness::TooShort;
    }
    let first = median(&samples[..quarter]);
    let last = median(&samples[samples.len() - quarter..]);
    if last < first + first / SHARE + SLACK {
        Flatness::Flat { first, last }
    } else {
        Flatness::Grown { first, last }
    }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::{Flatness, judge};

    const MIB: u64 = 1 << 20;

    fn judged(sample: impl Fn(u64) -> u64) -> Flatness {
        judge(&(0..100).map(sample).collect::<Vec<_>>())
    }

    #[test]
    fn what_grows_at_first_only_is_flat() {
        let flat = Flatness::Flat {
            first: 100 * MIB,
            last: 100 * MIB,
        };
        assert_eq!(judged(|second| (second * 5).min(100) * MIB), flat);
        // A peak is not growth.
        let peak = |second| if second == 95 { 900 * MIB } else { 100 * MIB };
        assert_eq!(judged(peak), flat);
        assert!(matches!(
            judged(|second| (200 - second) * MIB),
            Flatness::Flat { .. }
        ));
    }

    #[test]
    fn what_grows_all_the_time_is_not_flat() {
        let grown = judged(|second| 100 * MIB + second * MIB / 4);
        assert!(matches!(grown, Flatness::Grown { .. }), "{grown:?}");
        // The limit: 5 % of 100 MiB and 4 MiB.
        let step = |height| judged(move |second| if second < 70 { 100 * MIB } else { height });
        assert!(matches!(step(109 * MIB), Flatness::Grown { .. }));
        assert!(matches!(step(109 * MIB - 1), Flatness::Flat { .. }));
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert_eq!(judge(&[]), Flatness::TooShort);
        assert_eq!(judge(&[1; 40]), Flatness::TooShort);
        assert!(matches!(judge(&[1; 50]), Flatness::Flat { .. }));
    }
}
