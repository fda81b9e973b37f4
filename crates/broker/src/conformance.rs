//! The suite that every driver passes.
//!
//! A driver's [`Capabilities`] alone decide which cases it has to pass. A driver's tests name a
//! function that makes a [`Server`], and the macro makes a test of each case:
//!
//! ```
//! # mod tests {
//! use std::sync::Arc;
//! use fanfeed_broker::conformance::Server;
//! use fanfeed_broker::{Broker, MemoryBroker};
//!
//! struct Memory(MemoryBroker);
//!
//! impl Server for Memory {
//!     fn connect(&self) -> Arc<dyn Broker> {
//!         Arc::new(self.0.clone())
//!     }
//! }
//!
//! fn server() -> Memory {
//!     Memory(MemoryBroker::new())
//! }
//!
//! fanfeed_broker::conformance_tests!(server);
//! # }
//! ```
//!
//! Each case runs inside a tokio runtime, as in an async program. A driver that blocks on its own
//! runtime on the caller's thread panics there.
//!
//! No case relies on a sleep: each waits for a condition, and panics if the condition does not hold
//! within [`Server::patience`].

mod delivery;
mod endings;
mod failures;
mod faults;
mod groups;
mod keys;
mod lines;
mod runtimes;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::capabilities::{Capabilities, Delivery};

use tools::Env;

/// A server that cases connect to.
///
/// Each case may have a server of its own or share one with other cases: each case uses keys of its
/// own.
pub trait Server: Send + Sync {
    /// Makes a new connection, as another process would. It has to be up.
    fn connect(&self) -> Arc<dyn Broker>;

    /// Kills the server without warning. Returns false if there is nothing to kill. In that case,
    /// the cases about killed servers do nothing.
    fn kill(&self) -> bool {
        false
    }

    /// Starts a killed server again, at the same address and with the data that it had.
    fn start(&self) {}

    /// Kills the server without warning and starts it again. Returns false if there is nothing to
    /// kill.
    fn restart(&self) -> bool {
        let killed = self.kill();
        if killed {
            self.start();
        }
        killed
    }

    /// Makes a new connection over its own [`Line`], such as a proxy. It has to be up. With `None`,
    /// the cases about bad connections and killed members do nothing: to the server, a killed
    /// process looks like a line that was cut.
    fn connect_over(&self) -> Option<(Arc<dyn Broker>, Box<dyn Line>)> {
        None
    }

    /// How long a case waits for a condition before it fails.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// The number of keys in the case about many keys.
    fn many_keys(&self) -> usize {
        10_000
    }
}

/// A line that all TCP connections of one broker go through. The `Proxy` of this project's testkit
/// is one.
pub trait Line: Send + Sync {
    /// Closes all connections, both ways. New ones are accepted, unless the line
    /// [refuses](Self::refuse) them.
    fn cut(&self);

    /// Closes one direction of all connections; the other direction stays open.
    fn half_close(&self, way: Way);

    /// Delays all data, in both directions, by `delay`.
    fn delay(&self, delay: Duration);

    /// With `true`, the line stops passing data. Connections stay open, and new ones are accepted.
    fn stall(&self, stalls: bool);

    /// With `true`, the line closes each new connection at once.
    fn refuse(&self, refuses: bool);
}

impl<L: Line + ?Sized> Line for Arc<L> {
    fn cut(&self) {
        (**self).cut();
    }

    fn half_close(&self, way: Way) {
        (**self).half_close(way);
    }

    fn delay(&self, delay: Duration) {
        (**self).delay(delay);
    }

    fn stall(&self, stalls: bool) {
        (**self).stall(stalls);
    }

    fn refuse(&self, refuses: bool) {
        (**self).refuse(refuses);
    }
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the broker to the server.
    ToServer,
    /// From the server to the broker.
    ToBroker,
}

/// One case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The name of the case, and of its test.
    pub name: &'static str,
    needs: fn(&Capabilities) -> bool,
    run: fn(&Env<'_>),
}

fn any(_: &Capabilities) -> bool {
    true
}

fn plain(capabilities: &Capabilities) -> bool {
    capabilities.plain != Delivery::Unsupported
}

fn group(capabilities: &Capabilities) -> bool {
    capabilities.group != Delivery::Unsupported
}

/// Whether a member of a group that leaves hands on the messages that it had not begun. With a
/// server and delivery at most once, messages on their way to a leaving member are lost.
fn handing_group(capabilities: &Capabilities) -> bool {
    match capabilities.group {
        Delivery::AtLeastOnce => true,
        Delivery::AtMostOnce => !capabilities.remote,
        Delivery::Unsupported => false,
    }
}

fn replay(capabilities: &Capabilities) -> bool {
    capabilities.replay && plain(capabilities)
}

fn at_least_once_group(capabilities: &Capabilities) -> bool {
    capabilities.group == Delivery::AtLeastOnce
}

fn durable_group(capabilities: &Capabilities) -> bool {
    capabilities.group == Delivery::AtLeastOnce && capabilities.durable
}

fn durable_plain(capabilities: &Capabilities) -> bool {
    capabilities.plain == Delivery::AtLeastOnce && capabilities.durable
}

fn at_least_once(capabilities: &Capabilities) -> bool {
    capabilities.plain == Delivery::AtLeastOnce || capabilities.group == Delivery::AtLeastOnce
}

macro_rules! cases {
    ($($module:ident::$name:ident needs $needs:ident;)*) => {
        /// All cases.
        pub const CASES: &[Case] = &[$(Case {
            name: stringify!($name),
            needs: $needs,
            run: $module::$name,
        }),*];
    };
}

cases! {
    delivery::a_message_arrives_as_it_was_published needs plain;
    delivery::payloads_may_be_empty_binary_and_large needs plain;
    delivery::fifty_subscribers_get_every_message needs plain;
    delivery::twenty_keys_get_their_hundred_messages needs plain;
    delivery::the_order_of_a_publisher_is_kept needs plain;
    delivery::a_subscription_is_live_when_it_is_returned needs plain;
    delivery::nothing_more_is_delivered_until_the_handler_returns needs plain;
    delivery::concurrency_lets_handlers_run_side_by_side needs plain;
    delivery::a_slow_subscriber_holds_nobody needs plain;
    delivery::a_new_subscriber_gets_old_messages needs replay;
    delivery::a_confirmed_message_has_a_receipt needs any;
    groups::one_of_a_group_gets_each_message needs group;
    groups::two_groups_get_all_messages_each needs group;
    groups::a_leaving_member_loses_nothing needs handing_group;
    groups::a_group_without_members_does_what_it_promises needs group;
    groups::a_message_that_fails_after_its_member_left_is_not_lost needs at_least_once_group;
    groups::a_group_keeps_the_order_of_a_failing_message needs group;
    failures::a_failed_message_is_delivered_again needs plain;
    failures::a_panic_is_a_failure needs plain;
    failures::a_rejected_message_is_given_up_and_reported needs plain;
    failures::a_message_is_given_up_after_its_attempts needs plain;
    endings::nothing_comes_after_unsubscribe needs plain;
    endings::unsubscribe_waits_for_the_handler needs plain;
    endings::a_handler_may_end_its_own_subscription needs plain;
    endings::the_others_go_on_when_one_ends needs plain;
    endings::the_token_is_cancelled_by_the_end_of_the_handler needs plain;
    endings::the_token_is_cancelled_by_the_end_of_the_subscription needs plain;
    endings::close_drains needs plain;
    endings::ten_may_close_at_once needs any;
    endings::everything_says_closed_after_close needs any;
    keys::keys_are_isolated needs plain;
    keys::keys_and_groups_share_no_name needs group;
    keys::bad_keys_are_refused needs any;
    keys::many_keys_work_at_once needs plain;
    faults::publishers_and_groups_survive_restarts needs durable_group;
    faults::a_plain_subscription_goes_on_after_a_restart needs plain;
    lines::nothing_is_lost_over_bad_lines needs at_least_once;
    lines::a_subscription_goes_on_over_a_bad_line needs plain;
    lines::publishing_goes_on_over_a_bad_line needs any;
    lines::a_stalled_line_times_out needs any;
    lines::a_killed_member_holds_nobody needs group;
    faults::a_subscription_to_a_server_that_is_away_is_pending needs plain;
    faults::messages_wait_for_a_server_that_is_away needs durable_plain;
    delivery::the_docs_say_what_it_promises needs any;
    runtimes::a_broker_works_and_is_dropped_inside_a_runtime needs plain;
}

/// Runs one case, unless the driver does not promise what it needs.
///
/// # Panics
///
/// If the driver does not pass, or there is no such case.
pub fn run_case(name: &str, server: &dyn Server) {
    let case = CASES.iter().find(|case| case.name == name);
    let case = case.unwrap_or_else(|| panic!("there is no case `{name}`"));
    let run = || {
        let broker = server.connect();
        let capabilities = broker.capabilities();
        if (case.needs)(capabilities) {
            (case.run)(&Env::new(server, broker, capabilities));
        }
    };
    if name == HAS_A_RUNTIME {
        return run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("the system has a runtime");
    runtime.block_on(async { run() });
}

/// The case that makes its own runtime.
const HAS_A_RUNTIME: &str = "a_broker_works_and_is_dropped_inside_a_runtime";

/// Makes a test of each case of the suite. The argument is the name of a function that returns a
/// [`Server`](crate::conformance::Server).
#[macro_export]
macro_rules! conformance_tests {
    ($server:ident) => {
        $crate::conformance_tests! { @cases $server:
            a_message_arrives_as_it_was_published
            payloads_may_be_empty_binary_and_large
            fifty_subscribers_get_every_message
            twenty_keys_get_their_hundred_messages
            the_order_of_a_publisher_is_kept
            a_subscription_is_live_when_it_is_returned
            nothing_more_is_delivered_until_the_handler_returns
            concurrency_lets_handlers_run_side_by_side
            a_slow_subscriber_holds_nobody
            a_new_subscriber_gets_old_messages
            a_confirmed_message_has_a_receipt
            one_of_a_group_gets_each_message
            two_groups_get_all_messages_each
            a_leaving_member_loses_nothing
            a_group_without_members_does_what_it_promises
            a_message_that_fails_after_its_member_left_is_not_lost
            a_group_keeps_the_order_of_a_failing_message
            a_failed_message_is_delivered_again
            a_panic_is_a_failure
            a_rejected_message_is_given_up_and_reported
            a_message_is_given_up_after_its_attempts
            nothing_comes_after_unsubscribe
            unsubscribe_waits_for_the_handler
            a_handler_may_end_its_own_subscription
            the_others_go_on_when_one_ends
            the_token_is_cancelled_by_the_end_of_the_handler
            the_token_is_cancelled_by_the_end_of_the_subscription
            close_drains
            ten_may_close_at_once
            everything_says_closed_after_close
            keys_are_isolated
            keys_and_groups_share_no_name
            bad_keys_are_refused
            many_keys_work_at_once
            publishers_and_groups_survive_restarts
            a_plain_subscription_goes_on_after_a_restart
            nothing_is_lost_over_bad_lines
            a_subscription_goes_on_over_a_bad_line
            publishing_goes_on_over_a_bad_line
            a_stalled_line_times_out
            a_killed_member_holds_nobody
            a_subscription_to_a_server_that_is_away_is_pending
            messages_wait_for_a_server_that_is_away
            the_docs_say_what_it_promises
            a_broker_works_and_is_dropped_inside_a_runtime
        }
    };
    (@cases $server:ident: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::run_case(stringify!($name), &$server());
            }
        )*

        /// Checks that each case of the suite has a test.
        #[test]
        fn every_case_has_a_test() {
            let tests = [$(stringify!($name)),*];
            for case in $crate::conformance::CASES {
                assert!(tests.contains(&case.name), "the case `{}` has no test", case.name);
            }
        }
    };
}
