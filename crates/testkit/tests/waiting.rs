//! Waiting and counting.

use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

use fanfeed_testkit::{CountingWaker, Population, Tally, wait_for, wait_until_within};

const SHORT: Duration = Duration::from_millis(20);

fn message(failed: Box<dyn std::any::Any + Send>) -> String {
    match failed.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => (*other.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn a_condition_that_comes_true_ends_the_wait() {
    let mut looks = 0;
    let found = wait_for(Duration::from_secs(10), "the third look", || {
        looks += 1;
        (looks == 3).then_some(looks)
    });
    assert_eq!(found, 3);
}

#[test]
fn a_wait_in_vain_says_for_what() {
    let failed = catch_unwind(|| wait_until_within(SHORT, "the moon falls", || false));
    assert!(message(failed.unwrap_err()).contains("the moon falls"));
}

#[test]
fn a_tally_tells_missing_from_repeated() {
    let tally = Tally::new(4);
    for number in [0, 2, 2, 9] {
        tally.saw(number);
    }
    let report = tally.report();
    assert_eq!(report.missing, [1, 3]);
    assert_eq!(report.repeated, [2]);
    assert_eq!(report.strangers, [9]);
    assert!(!report.is_complete());
    assert_eq!((tally.arrivals(), tally.different()), (3, 2));
    assert_eq!(tally.order(), [0, 2, 2]);
    let failed = catch_unwind(|| tally.wait_complete(SHORT)).unwrap_err();
    assert!(message(failed).contains("missing 2 (1, 3)"));
    assert!(catch_unwind(|| tally.assert_exactly_once()).is_err());
}

#[test]
fn a_complete_tally_is_exactly_once() {
    let tally = Tally::new(2);
    tally.saw(1);
    tally.saw(0);
    tally.wait_complete(SHORT);
    tally.assert_exactly_once();
}

#[test]
fn values_and_wakes_are_counted() {
    let population = Population::new();
    let first = population.value("one");
    let second = first.clone();
    assert_eq!((population.alive(), *second.get()), (2, "one"));
    thread::spawn(move || drop(first)).join().unwrap();
    drop(second);
    assert_eq!(population.alive(), 0);

    let (counter, waker) = CountingWaker::pair();
    waker.wake_by_ref();
    waker.wake();
    assert_eq!(counter.wakes(), 2);
}
