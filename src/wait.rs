//! Floor 1: how a thread or a task waits, and how it is woken.
//!
//! Everything that waits is woken through a [`std::task::Waker`], so that threads and tasks share
//! one protocol: a [`Parker`] makes one for a thread. [`WakerCell`] has one waiter (a receiver that
//! waits for values). [`WakerSet`] has many, of which one is woken for each place (senders that
//! wait for room), and [`WakeList`] many that are woken together (readers of a ring). [`Patience`]
//! is for the short waits that nobody wakes.
//!
//! Wakers are code of others: they are woken, cloned and dropped outside of locks, and what panics
//! when it is woken, or dropped on behalf of somebody else, keeps nobody else waiting
//! ([`quietly`]).

#[cfg(feature = "async")]
mod alarm;
mod identity;
mod line;
mod looks;
mod nesting;
mod pace;
mod parker;
mod patience;
mod quietly;
#[cfg(feature = "async")]
mod turn;
mod wake_list;
mod waker_cell;
mod waker_set;

#[cfg(feature = "async")]
pub(crate) use alarm::Alarm;
#[cfg(all(feature = "async", any(fanfeed_loom, fanfeed_shuttle)))]
pub use alarm::has_alarm_thread;
pub(crate) use identity::{Identity, identity};
pub(crate) use line::{Key, Line};
pub(crate) use looks::Looks;
pub(crate) use nesting::{InCallback, InDelivery, Reap, in_delivery, may_reap, may_wait, postpone};
pub(crate) use pace::{Pace, PaceBefore};
pub(crate) use parker::Parker;
pub(crate) use patience::Patience;
pub(crate) use quietly::{Caught, catch, quietly, wake};
#[cfg(feature = "async")]
pub(crate) use turn::{not_completed, poll_turn};
pub(crate) use wake_list::{ListPlace, WakeList};
pub(crate) use waker_cell::WakerCell;
pub(crate) use waker_set::{Again, BOUND, Ticket, WakerSet};
