//! The example `flights`, run as a user runs it.
//!
//! `cargo test` builds examples before it runs tests, but `cargo test --test examples` alone does
//! not: `cargo build --example flights` does.

mod example;

use std::time::{Duration, Instant};

use example::{command, number, run};
#[cfg(unix)]
use {example::start, std::io::Write};

const HEADER: &str = "date,delay,distance,origin,destination\n";
const BUILT_IN: &str = include_str!("../../examples/data/flights.csv");

#[test]
fn every_built_in_record_reaches_every_subscriber() {
    let rows = BUILT_IN.lines().count() as u64 - 1;
    let ended = run(&[], b"").expect_code(0);

    assert_eq!(rows, 20_000);
    assert_eq!(ended.sent(), rows);
    let names: Vec<_> = ended.subscribers().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["routes", "airports", "hours", "alerts"]);
    for (name, counts) in ended.subscribers() {
        assert_eq!(counts, [rows, 0, rows, 0], "{name}");
    }
    assert_eq!(number(ended.table("Rates")[1][1]), 4 * rows);

    // Counted from the same records by other means.
    assert_eq!(
        ended.table("Delay by route")[0],
        ["LAX → PHX", "59", "9.2 min", "24 %", "134 min"]
    );
    assert_eq!(
        ended.table("Airports")[0][..4],
        ["ORD", "1,095", "1,160", "2,255"]
    );
    assert_eq!(
        ended.table("Delays by hour")[17][..3],
        ["17", "1,374", "9.8 min"]
    );
    assert_eq!(
        ended.table("Alerts")[0],
        ["2001-02-25 14:50", "BMI → ORD", "116", "522 min"]
    );
    assert!(ended.out.contains("Alerts: 296 for"), "{}", ended.out);
}

#[test]
fn records_are_repeated_and_further_subscribers_count() {
    let ended = run(&["--repeat", "3", "--subscribers", "6"], b"").expect_code(0);
    assert_eq!(ended.sent(), 60_000);
    let subscribers = ended.subscribers();
    assert_eq!(subscribers.len(), 6);
    assert_eq!(subscribers[5], ("counter 6", [60_000, 0, 60_000, 0]));
}

#[test]
fn fewer_subscribers_leave_out_their_tables() {
    let ended = run(&["--subscribers", "1"], b"").expect_code(0);
    assert_eq!(ended.subscribers(), [("routes", [20_000, 0, 20_000, 0])]);
    assert!(ended.table("Airports").is_empty());
    assert!(ended.table("Alerts").is_empty());
}

#[test]
fn every_overflow_policy_accounts_for_every_event() {
    // Few records: a blocked sender and its receivers take turns at each, which takes milliseconds
    // where other programs keep the processors busy.
    let input: String = BUILT_IN.split_inclusive('\n').take(1 + 2_000).collect();
    for policy in ["block", "drop-newest", "drop-oldest", "disconnect"] {
        let args = ["--overflow", policy, "--capacity", "1", "--input", "-"];
        let ended = run(&args, input.as_bytes()).expect_code(0);
        let sent = ended.sent();
        assert!(sent == 2_000 || policy == "disconnect", "{policy}: {sent}");
        for (name, [received, missed, delivered, dropped]) in ended.subscribers() {
            assert_eq!(received + missed, sent, "{policy}, {name}");
            match policy {
                "block" => assert_eq!((missed, delivered, dropped), (0, sent, 0), "{name}"),
                "disconnect" => assert_eq!(delivered, received, "{name}"),
                _ => assert_eq!(dropped, missed, "{policy}, {name}"),
            }
        }
        assert!(!ended.out.contains("NOT ACCOUNTED FOR"), "{}", ended.out);
    }
}

#[test]
fn records_are_replayed_in_the_order_of_their_time_at_the_pace_asked_for() {
    let records = "2001-01-01 00:02,1,1,B,C\n2001-01-01 00:00,1,1,A,B\n";
    let begin = Instant::now();
    let args = ["--input", "-", "--speed", "1200"];
    let ended = run(&args, format!("{HEADER}{records}").as_bytes()).expect_code(0);
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(ended.sent(), 2);
    assert!(
        ended.out.contains("2001-01-01 00:00 to 2001-01-01 00:02"),
        "{}",
        ended.out
    );
}

#[test]
fn columns_may_come_in_any_order_and_dates_in_several_forms() {
    let csv = "\u{feff}Origin, x,DATE,destination,distance,delay\r\n\
        A,1,2001/02/03 04:05,B,10,\"-3\"\r\n\
        \r\n\
        A,\"two\r\nlines\",2001-02-03 04:05:06,B,10.4,1\r\n\
        A,,2001-02-03T04:05:06.789Z,B,10,2.0";
    let ended = run(&["--input", "-"], csv.as_bytes()).expect_code(0);
    assert_eq!(ended.err, "");
    assert_eq!(ended.sent(), 3);
    assert_eq!(
        ended.table("Delay by route"),
        [["A → B", "3", "0.0 min", "0 %", "2 min"]]
    );
    assert_eq!(ended.table("Delays by hour")[4][..2], ["04", "3"]);
}

#[test]
fn malformed_records_are_reported_with_their_lines_and_skipped() {
    let mut csv = HEADER.as_bytes().to_vec();
    csv.extend_from_slice(
        b"2001/01/01 00:00,1,1,A,B\r\n\
        \r\n\
        2001/02/29 00:00,1,1,A,B\n\
        2001/01/01 00:00,soon,1,A,B\n\
        2001/01/01 00:00,1,-1,A,B\n\
        2001/01/01 00:00,1,1,,B\n\
        2001/01/01 00:00,1,1,A\n\
        2001/01/01 00:00,1,1,A\xff,B\n\
        2001/01/01 00:00,1,1,A,B\n",
    );
    let ended = run(&["--input", "-"], &csv).expect_code(0);
    assert_eq!(
        ended.err.lines().collect::<Vec<_>>(),
        [
            "standard input: line 4: date \"2001/02/29 00:00\" is not one",
            "standard input: line 5: delay \"soon\" is not a number",
            "standard input: line 6: distance \"-1\" is not from 0 to 1000000",
            "standard input: line 7: origin is missing",
            "standard input: line 8: 4 fields instead of 5",
            "standard input: line 9: origin is not UTF-8",
        ]
    );
    assert_eq!(ended.sent(), 2);
    assert!(ended.out.contains(" 6 malformed"), "{}", ended.out);
}

#[test]
fn a_date_has_to_exist_and_to_be_written_in_full() {
    let good = [
        "2000-02-29 23:59",
        "0001/01/01 00:00",
        "2001-12-31T00:00:59Z",
        "1900-02-28 00:00",
    ];
    let bad = [
        "1900-02-29 00:00",
        "2001-04-31 00:00",
        "2001-13-01 00:00",
        "2001-00-01 00:00",
        "2001-01-00 00:00",
        "2001-01-01 24:00",
        "2001-01-01 00:60",
        "2001-01-01 00:00:60",
        "2001-01/01 00:00",
        "2001-01-01",
        "2001-1-1 00:00",
        "2001-01-01 00:00+02:00",
        "2001-01-01 00:00:00.",
        "２001-01-01 00:00",
    ];
    let record = |date: &&str| format!("{date},1,1,A,B\n");
    let records: String = good.iter().chain(&bad).map(record).collect();
    let ended = run(&["--input", "-"], format!("{HEADER}{records}").as_bytes()).expect_code(0);
    assert_eq!(ended.sent(), good.len() as u64);
    assert!(
        ended.out.contains(&format!(" {} malformed", bad.len())),
        "{}",
        ended.out
    );
    assert!(
        ended.out.contains("0001-01-01 00:00 to 2001-12-31 00:00"),
        "{}",
        ended.out
    );
}

#[test]
fn only_the_first_malformed_records_are_shown_and_all_are_counted() {
    let csv = format!("{HEADER}{}", "?\n".repeat(1_234));
    let ended = run(&["--input", "-"], csv.as_bytes()).expect_code(0);
    assert_eq!(ended.err.lines().count(), 11);
    assert!(
        ended.err.contains("line 11: 1 field instead of 5"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("1224 more malformed records, not shown"),
        "{}",
        ended.err
    );
    assert!(ended.out.contains("Nothing to replay"), "{}", ended.out);
    assert!(ended.out.contains("(1234 malformed)"), "{}", ended.out);
}

#[test]
fn a_quote_left_open_is_named_as_what_swallowed_the_lines() {
    let csv = format!("{HEADER}\"2001,1,1,A,B\n2001/01/01 00:00,1,1,A,B\n");
    let ended = run(&["--input", "-"], csv.as_bytes()).expect_code(0);
    assert!(
        ended.err.contains("line 2 (to 3: is a quote left open?)"),
        "{}",
        ended.err
    );
}

#[test]
fn input_that_cannot_be_used_ends_with_code_2_and_says_why() {
    let missing = run(&["--input", "no/such/file.csv"], b"").expect_code(2);
    assert!(
        missing.err.contains("cannot read no/such/file.csv"),
        "{}",
        missing.err
    );

    let column = run(
        &["--input", "-"],
        b"date,late,distance,origin,destination\n",
    )
    .expect_code(2);
    assert!(column.err.contains("no column \"delay\""), "{}", column.err);
    assert!(
        column.err.contains("date,late,distance,origin,destination"),
        "{}",
        column.err
    );

    let twice = run(
        &["--input", "-"],
        b"date,delay,delay,distance,origin,destination\n",
    );
    assert!(twice.expect_code(2).err.contains("\"delay\" twice"));

    let empty = run(&["--input", "-"], b"").expect_code(2);
    assert!(
        empty.err.contains("standard input: it is empty"),
        "{}",
        empty.err
    );
    assert_eq!(empty.out, "");
}

#[test]
fn input_without_records_ends_well_and_says_so() {
    let ended = run(&["--input", "-"], HEADER.as_bytes()).expect_code(0);
    assert!(ended.out.starts_with("Nothing to replay"), "{}", ended.out);
}

#[test]
fn wrong_options_end_with_code_2_and_name_the_option() {
    for (option, value) in [
        ("--capacity", "0"),
        ("--capacity", "99999999999999999999"),
        ("--speed", "0"),
        ("--speed", "-2"),
        ("--speed", "nan"),
        ("--speed", "fast"),
        ("--repeat", "0"),
        ("--subscribers", "0"),
        ("--overflow", "explode"),
    ] {
        let ended = run(&[option, value], b"").expect_code(2);
        assert!(
            ended.err.contains(option) && ended.err.contains(value),
            "{}",
            ended.err
        );
    }
}

#[test]
fn a_reader_of_the_tables_that_goes_away_does_no_harm() {
    let mut child = command(&[]).spawn().expect("the example starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it can be waited for");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_replay_with_what_it_has_so_far() {
    // A quarter of a minute for the whole; the first line of progress comes after a second.
    let mut running = start(&["--speed", "500000"]);
    running.hear("replayed ");
    running.interrupt();
    let ended = running.end().expect_code(0);
    let sent = ended.sent();
    assert!(0 < sent && sent < 20_000, "{sent}");
    assert!(
        ended.out.contains("of 20,000: interrupted by Ctrl-C"),
        "{}",
        ended.out
    );
    assert!(!ended.out.contains("NOT ACCOUNTED FOR"), "{}", ended.out);
    for (name, [received, missed, ..]) in ended.subscribers() {
        // The send that was cut short may have reached some and not others.
        assert!(
            sent - (received + missed) <= 1,
            "{name}: {received} of {sent}"
        );
    }
    assert!(!ended.table("Delay by route").is_empty());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_wait_for_an_event_that_is_years_away() {
    let records = "2001-01-01 00:00,1,1,A,B\n2001-01-01 00:01,1,1,A,B\n";
    let mut running = start(&["--input", "-", "--speed", "0.000001"]);
    let mut stdin = running.child.stdin.take().expect("it is piped");
    stdin
        .write_all(format!("{HEADER}?\n{records}").as_bytes())
        .expect("it is read");
    drop(stdin);
    running.hear("line 2: 1 field instead of 5");
    running.interrupt();
    let ended = running.end().expect_code(0);
    assert!(ended.out.contains("interrupted by Ctrl-C"), "{}", ended.out);
}
