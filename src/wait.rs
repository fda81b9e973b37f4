//! Floor 1: how a thread or a task waits, and how it is woken.
//!
//! Everything that waits is woken through a [`std::task::Waker`], so that threads and tasks share
//! one protocol: a [`Parker`] makes a waker for a thread. [`WakerCell`] has one waiter (a receiver
//! that waits for values). [`WakerSet`] has many waiters, of which one is woken for each place
//! (senders that wait for room). [`WakeList`] has many that are woken together (readers of a ring).
//! [`Patience`] is for short waits without a wake-up. [`Blockage`] counts how long sends have
//! waited. Before a thread parks, it looks for some microseconds ([`Looks`], [`Snooze`]). It yields
//! the processor as long as [that is quick](yields).
//!
//! Wakers are user code. They are woken, cloned and dropped outside of locks. A panicking waker
//! does not affect the wakers after it ([`quietly`]).

#[cfg(feature = "async")]
mod alarm;
#[cfg(feature = "tracing")]
mod alerts;
mod blockage;
#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
mod count;
mod line;
mod looks;
mod moment;
mod nesting;
mod pace;
mod parker;
mod patience;
mod quietly;
mod tickets;
#[cfg(feature = "async")]
mod turn;
mod wake_list;
mod waker_cell;
mod waker_set;
mod yields;

#[cfg(feature = "async")]
pub(crate) use alarm::Alarm;
#[cfg(all(feature = "async", any(fanfeed_loom, fanfeed_shuttle)))]
pub use alarm::has_alarm_thread;
#[cfg(feature = "tracing")]
pub(crate) use alerts::{Alerts, Report, Told};
pub(crate) use blockage::{Blockage, Blocked, EndedWait, Wait, Waits};
#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
pub(crate) use count::Count;
pub(crate) use line::{Key, Line};
pub(crate) use looks::Looks;
pub(crate) use moment::Moment;
pub(crate) use nesting::{InCallback, InDelivery, Reap, in_delivery, may_reap, may_wait, postpone};
pub(crate) use pace::{Pace, PaceBefore};
pub(crate) use parker::Parker;
pub(crate) use patience::Patience;
pub(crate) use quietly::{Caught, catch, quietly, wake};
pub(crate) use tickets::Tickets;
#[cfg(feature = "async")]
pub(crate) use turn::{not_completed, poll_again, poll_turn};
pub(crate) use wake_list::{ListPlace, WakeList};
pub(crate) use waker_cell::WakerCell;
pub(crate) use waker_set::{Again, BOUND, Ticket, WakerSet};
pub(crate) use yields::Snooze;
