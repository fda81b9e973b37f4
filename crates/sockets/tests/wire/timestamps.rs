//! RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanfeed_sockets::Timestamp;

#[test]
fn times_are_read_and_written() {
    for (read, written) in [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        (
            "2026-11-20T22:48:49.123456789Z",
            "2026-11-20T22:48:49.123456789Z",
        ),
        ("2026-11-20T22:48:49.100Z", "2026-11-20T22:48:49.1Z"),
        ("2026-11-20T22:48:49.000Z", "2026-11-20T22:48:49Z"),
        (
            "2026-11-20T22:48:49.1234567891Z",
            "2026-11-20T22:48:49.123456789Z",
        ),
        ("2026-11-20T22:48:49+05:30", "2026-11-20T17:18:49Z"),
        ("2026-12-31T23:59:59-00:01", "2027-01-01T00:00:59Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2000-02-29T12:00:00Z", "2000-02-29T12:00:00Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        (
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59.999999999Z",
        ),
        ("2026-11-20t22:48:49z", "2026-11-20T22:48:49Z"),
    ] {
        let time: Timestamp = read.parse().expect(read);
        assert_eq!(time.to_string(), written);
        assert_eq!(written.parse(), Ok(time));
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "2026-11-20",
        "2026-11-20T22:48:49",
        "2026-11-20T22:48:49.Z",
        "2026-11-20T22:48:49,5Z",
        "2026-11-20 22:48:49Z",
        "2026-11-20T22:48Z",
        "2026-13-20T22:48:49Z",
        "2026-00-20T22:48:49Z",
        "2026-02-29T22:48:49Z",
        "1900-02-29T22:48:49Z",
        "2026-11-31T22:48:49Z",
        "2026-11-00T22:48:49Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T22:60:49Z",
        "2026-11-20T22:48:60Z",
        "2026-11-20T22:48:49+24:00",
        "2026-11-20T22:48:49+00:60",
        "2026-11-20T22:48:49+0000",
        "2026-11-20T22:48:49Z ",
        "+026-11-20T22:48:49Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "20é6-11-20T22:48:49Z",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
}

#[test]
fn each_day_follows_the_one_before() {
    let days_in = |year: u64, month: u64| match month {
        2 if year.is_multiple_of(400) || (year.is_multiple_of(4) && !year.is_multiple_of(100)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let mut seconds = 0;
    for year in 1970..2500 {
        for month in 1..=12 {
            for day in 1..=days_in(year, month) {
                let time = UNIX_EPOCH + Duration::from_secs(seconds);
                let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                assert_eq!(Timestamp::from(time).to_string(), text);
                assert_eq!(text.parse(), Ok(Timestamp::from(time)));
                seconds += 86_400;
            }
        }
    }
}

#[test]
fn the_system_s_times_are_kept_to_the_nanosecond() {
    for time in [
        UNIX_EPOCH,
        UNIX_EPOCH + Duration::new(1_790_000_000, 1),
        UNIX_EPOCH - Duration::new(1, 1),
        UNIX_EPOCH - Duration::from_secs(86_400),
    ] {
        assert_eq!(Timestamp::from(time).to_system_time(), Some(time));
    }
    let first: SystemTime = Timestamp::default()
        .to_system_time()
        .expect("in range here");
    assert_eq!(Timestamp::from(first), Timestamp::default());
    let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
    assert_eq!(
        Timestamp::from(far).to_string(),
        "9999-12-31T23:59:59.999999999Z"
    );
    let early = UNIX_EPOCH - Duration::from_secs(1 << 40);
    assert_eq!(Timestamp::from(early).to_string(), "0000-01-01T00:00:00Z");
}

#[test]
fn the_fraction_can_be_left_out() {
    let time: Timestamp = "2026-11-20T22:48:49.9Z".parse().expect("a time");
    assert_eq!(time.whole_seconds().to_string(), "2026-11-20T22:48:49Z");
}
