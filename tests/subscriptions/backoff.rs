//! The waits between attempts, on a simulated clock.

use fanfeed::Backoff;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn waits(backoff: &mut Backoff, attempts: &[Duration]) -> Vec<Duration> {
    attempts
        .iter()
        .map(|&lasted| backoff.next_wait(lasted))
        .collect()
}

#[track_caller]
fn assert_in_upper_half(wait: Duration, step: Duration) {
    assert!(
        step / 2 <= wait && wait <= step,
        "{wait:?} is not in the upper half of {step:?}"
    );
}

#[test]
fn waits_start_at_a_tenth_of_max_double_and_never_exceed_it() {
    for seed in 0..1000 {
        let mut backoff = Backoff::with_seed(10 * SECOND, seed);
        for step in [1, 2, 4, 8, 10, 10, 10] {
            assert_in_upper_half(backoff.next_wait(Duration::ZERO), step * SECOND);
        }
    }
}

#[test]
fn an_attempt_longer_than_max_returns_the_wait_to_a_tenth() {
    let mut backoff = Backoff::with_seed(10 * SECOND, 1);
    waits(&mut backoff, &[Duration::ZERO; 6]);
    let longer = 10 * SECOND + Duration::from_nanos(1);
    assert_in_upper_half(backoff.next_wait(longer), SECOND);
    assert_in_upper_half(backoff.next_wait(longer), SECOND);
    assert_in_upper_half(backoff.next_wait(Duration::ZERO), 2 * SECOND);
}

#[test]
fn an_attempt_of_exactly_max_is_not_longer() {
    let mut backoff = Backoff::with_seed(10 * SECOND, 1);
    waits(&mut backoff, &[Duration::ZERO; 6]);
    assert_in_upper_half(backoff.next_wait(10 * SECOND), 10 * SECOND);
}

#[test]
fn an_attempt_longer_than_its_wait_but_not_than_max_goes_on_doubling() {
    let mut backoff = Backoff::with_seed(10 * SECOND, 1);
    for (lasted, step) in [(0, 1), (3, 2), (5, 4), (9, 8), (10, 10), (10, 10)] {
        assert_in_upper_half(backoff.next_wait(lasted * SECOND), step * SECOND);
    }
}

#[test]
fn a_max_of_zero_still_waits() {
    let mut backoff = Backoff::new(Duration::ZERO);
    assert_eq!(backoff.max(), Duration::from_millis(1));
    for step in [100, 200, 400, 800, 1000, 1000] {
        assert_in_upper_half(
            backoff.next_wait(Duration::ZERO),
            Duration::from_micros(step),
        );
    }
}

#[test]
fn the_largest_max_overflows_nothing() {
    let mut backoff = Backoff::with_seed(Duration::MAX, 3);
    let max = Duration::from_nanos(u64::MAX);
    assert_eq!(backoff.max(), max);
    for _ in 0..100 {
        assert!(backoff.next_wait(Duration::ZERO) <= max);
    }
    assert_in_upper_half(backoff.next_wait(Duration::ZERO), max);
    assert_in_upper_half(backoff.next_wait(Duration::MAX), max / 10);
}

#[test]
fn waits_never_exceed_max_whatever_the_attempts() {
    // Maxima that no tenth divides, and attempts around them.
    for max in [1_000_000, 1_000_001, 1_234_567_891, u64::MAX - 1] {
        let max = Duration::from_nanos(max);
        for seed in 0..50 {
            let mut backoff = Backoff::with_seed(max, seed);
            for attempt in 0..50u32 {
                let lasted = if (seed + u64::from(attempt)).is_multiple_of(7) {
                    max.saturating_mul(2)
                } else {
                    max / (attempt + 1)
                };
                let wait = backoff.next_wait(lasted);
                assert!(max / 20 <= wait && wait <= max, "{wait:?} of {max:?}");
            }
        }
    }
}

#[test]
fn one_seed_gives_one_sequence() {
    let attempts = [0, 0, 3, 0, 20, 0, 0, 0].map(Duration::from_secs);
    let of = |seed| waits(&mut Backoff::with_seed(10 * SECOND, seed), &attempts);
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
}

#[test]
fn a_sequence_stays_what_it_is_from_one_release_to_the_next() {
    let mut backoff = Backoff::with_seed(10 * SECOND, 1_234_567);
    let nanos = waits(&mut backoff, &[Duration::ZERO; 3])
        .iter()
        .map(Duration::as_nanos)
        .collect::<Vec<_>>();
    assert_eq!(nanos, [824_960_229, 1_826_355_904, 2_935_585_392]);
}

#[test]
fn without_a_seed_no_two_are_alike() {
    let of = || {
        waits(
            &mut Backoff::from(Duration::from_secs(3600)),
            &[Duration::ZERO; 8],
        )
    };
    assert_ne!(of(), of());
}

#[test]
fn jitter_is_spread_over_the_whole_upper_half() {
    let mut backoff = Backoff::with_seed(SECOND, 5);
    waits(&mut backoff, &[Duration::ZERO; 4]);
    let mut tenths = [0; 5];
    for _ in 0..5000 {
        let beyond_half = backoff.next_wait(Duration::ZERO) - SECOND / 2;
        tenths[(beyond_half.as_millis() / 100).min(4) as usize] += 1;
    }
    for (tenth, count) in tenths.iter().enumerate() {
        // 1000 is expected of each; 150 is over five deviations.
        assert!((850..=1150).contains(count), "{count} in tenth {tenth}");
    }
}

#[test]
fn a_clone_goes_on_alike() {
    let mut one = Backoff::new(SECOND);
    waits(&mut one, &[Duration::ZERO; 3]);
    let mut other = one.clone();
    assert_eq!(
        waits(&mut one, &[Duration::ZERO; 9]),
        waits(&mut other, &[Duration::ZERO; 9])
    );
}

#[test]
fn a_server_that_is_down_for_an_hour_is_asked_a_bounded_number_of_times() {
    let mut backoff = Backoff::with_seed(Duration::from_secs(30), 11);
    let mut clock = Duration::ZERO;
    let mut attempts = 0;
    while clock < Duration::from_secs(3600) {
        attempts += 1;
        let lasted = Duration::from_millis(200);
        clock += lasted + backoff.next_wait(lasted);
    }
    assert!((120..=250).contains(&attempts), "{attempts}");
}

#[test]
fn both_ends_of_a_step_are_drawn() {
    // Of the first step of the shortest `max`, 100,000 ns: each of its 50,001 waits about ten
    // times.
    let waits = (0..500_000).map(|seed| {
        Backoff::with_seed(Duration::ZERO, seed)
            .next_wait(Duration::ZERO)
            .as_nanos()
    });
    let (least, most) = waits.fold((u128::MAX, 0), |(least, most), wait| {
        (least.min(wait), most.max(wait))
    });
    assert_eq!((least, most), (50_000, 100_000));
}
