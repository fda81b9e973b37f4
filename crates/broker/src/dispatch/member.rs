//! One subscription: its handler, its options and its end.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use fanfeed::{CancelToken, Stats, SubscriptionError, SubscriptionSource, SubscriptionState};

use crate::dispatch::timers::Timed;
use crate::dispatch::{Job, Lane, Tally, Unfinished, in_handler, quietly};
use crate::event::Event;
use crate::handler::Handler;
use crate::id::MessageId;
use crate::options::{Redelivery, SubscribeOptions};
use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    mutant,
    thread::{self, ThreadId},
};

pub(crate) struct Member {
    state: SubscriptionState,
    lane: Arc<Lane>,
    this: Weak<Member>,
    concurrency: u32,
    attempts: u32,
    backoff: Duration,
    timeout: Option<Duration>,
    redelivery: Redelivery,
    cancelled: AtomicBool,
    /// The number of deliveries in the batch of its job that are not begun. Only a member with one
    /// job has such a batch.
    not_begun: AtomicUsize,
    delivered: AtomicU64,
    life: Mutex<Life>,
    /// Threads that unsubscribe wait here.
    ended: Condvar,
    /// The messages that are being handled and whose token was requested.
    tokens: Mutex<Tokens>,
    /// Whether it is live, for a subscription with a server.
    live: OnceLock<Box<Live>>,
}

struct Life {
    /// Taken when the member ends, so that the captured values of a closure are dropped then.
    handler: Option<Arc<dyn Handler>>,
    running: usize,
    left: bool,
    /// The thread that ends the member. User code that it calls may unsubscribe again, and must not
    /// wait for this thread.
    finishing: Option<ThreadId>,
    over: bool,
    error: Option<SubscriptionError>,
    /// Whether the caller of `subscribe` gets the error. In that case it is not an event.
    is_told: bool,
}

crate::sync::thread_local! {
    /// The number of members that this thread is ending: a destructor may end another member.
    static FINISHING: Cell<usize> = const { Cell::new(0) };
}

/// Marks the calling thread as ending a member.
struct Finishing;

impl Finishing {
    fn begin() -> Self {
        let _ = FINISHING.try_with(|depth| depth.set(depth.get() + 1));
        Self
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        let _ = FINISHING.try_with(|depth| depth.set(depth.get() - 1));
    }
}

#[derive(Default)]
struct Tokens {
    current: Vec<Current>,
    /// Whether a timer is set that looks for overruns. It is set when a message begins while no
    /// other is handled, and again for the oldest message when it fires. Both happen under the
    /// lock, so every message has a timer.
    watched: bool,
}

struct Current {
    token: CancelToken,
    /// The message and the time at which its handler began, if the handler has a timeout that has
    /// not passed.
    since: Option<(MessageId, Instant)>,
    /// The handler, if it continues without its thread.
    unfinished: Option<Arc<dyn Unfinished>>,
}

impl Current {
    fn cancel(token: &CancelToken, unfinished: Option<Arc<dyn Unfinished>>) {
        token.cancel();
        if let Some(unfinished) = unfinished {
            unfinished.cancel();
        }
    }
}

/// Whether a subscription with a server has become live.
#[derive(Default)]
pub(crate) struct Live {
    state: Mutex<bool>,
    changed: Condvar,
}

impl Live {
    pub(crate) fn set(&self) {
        *self.state.lock() = true;
        self.changed.notify_all();
    }
}

impl Member {
    pub(crate) fn new(
        lane: &Arc<Lane>,
        handler: Arc<dyn Handler>,
        options: &SubscribeOptions,
    ) -> Arc<Self> {
        lane.hub().member_begins();
        Arc::new_cyclic(|this| Self {
            state: SubscriptionState::new(options.name.clone()),
            lane: Arc::clone(lane),
            this: Weak::clone(this),
            concurrency: u32::try_from(options.concurrency).unwrap_or(u32::MAX),
            attempts: options.attempts,
            backoff: options.backoff,
            timeout: options.timeout,
            redelivery: options.redelivery,
            cancelled: AtomicBool::new(false),
            not_begun: AtomicUsize::new(0),
            delivered: AtomicU64::new(0),
            life: Mutex::new(Life {
                handler: Some(handler),
                running: 0,
                left: false,
                finishing: None,
                over: false,
                error: None,
                is_told: false,
            }),
            ended: Condvar::new(),
            tokens: Mutex::default(),
            live: OnceLock::new(),
        })
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency as usize
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn backoff(&self) -> Duration {
        self.backoff
    }

    pub(crate) fn redelivery(&self) -> Redelivery {
        self.redelivery
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        // ORDERING: pairs with the swap in `end_with`.
        self.cancelled.load(Ordering::Acquire)
    }

    // ORDERING: a count that other threads read to see whether the lane is full. It may be slightly
    // stale, so Relaxed.
    #[inline]
    pub(crate) fn set_begun(&self, not_begun: usize) {
        self.not_begun.store(not_begun, Ordering::Relaxed);
    }

    pub(crate) fn not_begun(&self) -> usize {
        self.not_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn handled(&self, tally: &Tally) {
        // ORDERING: a counter; no other data depends on it.
        if tally.delivered > 0 {
            self.delivered.fetch_add(tally.delivered, Ordering::Relaxed);
        }
    }

    /// Begins to call the handler on this thread, unless the subscription has ended.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Entry> {
        let mut life = self.life.lock();
        if life.left {
            return None;
        }
        let handler = Arc::clone(life.handler.as_ref()?);
        life.running += 1;
        Some(Entry {
            handler: Some(handler),
            member: Arc::clone(self),
        })
    }

    fn exit(&self) {
        let is_over = {
            let mut life = self.life.lock();
            life.running -= 1;
            life.left && life.running == 0
        };
        if is_over {
            self.try_finish();
        }
        self.lane.hub().finished_something();
    }

    /// Ends the subscription. With `wait`, waits for running handlers, unless this thread is inside
    /// one or inside a delivery of a feed. Without `wait`, no user code runs here.
    pub(crate) fn end_with(&self, error: Option<SubscriptionError>, wait: bool) {
        // ORDERING: pairs with the load in `is_cancelled`.
        if !self.cancelled.swap(true, Ordering::AcqRel) {
            self.leave(error, wait);
        }
        if !wait {
            return;
        }
        self.end_unfinished();
        self.try_finish();
        if in_handler() || !SubscriptionState::may_wait() {
            return;
        }
        let mut life = self.life.lock();
        while !life.over && life.finishing != Some(thread::current().id()) {
            self.ended.wait(&mut life);
        }
    }

    fn leave(&self, error: Option<SubscriptionError>, wait: bool) {
        let Some(this) = self.this.upgrade() else {
            // The member is being dropped, so no thread can wait for its end.
            return;
        };
        self.cancel_tokens();
        {
            let mut life = self.life.lock();
            life.left = true;
            life.error = error;
        }
        let last = self.lane.leave(&this);
        let pool = &self.lane.hub().pool;
        if !mutant!("broker::no_hurry") {
            pool.hurry(&this);
        }
        // A job without a place. It ends the member, and drops the handler if no other thread has.
        // It hands back nothing, and so creates jobs of other members for deliveries whose job was
        // created for this cancelled member. It is not needed if this thread ends the member itself
        // and there is no other member.
        if !(wait && last) {
            pool.submit(Job::new(Arc::clone(&self.lane), this));
        }
    }

    /// Ends the member if the subscription was cancelled and no handler runs. Only one thread does
    /// so.
    pub(crate) fn try_finish(&self) {
        let (handler, error, is_told) = {
            let mut life = self.life.lock();
            if !life.left || life.running > 0 || life.finishing.is_some() {
                return;
            }
            life.finishing = Some(thread::current().id());
            (life.handler.take(), life.error.take(), life.is_told)
        };
        let finishing = Finishing::begin();
        let failure = error.as_ref().filter(|_| !is_told);
        let failure = failure.map(|error| error.to_string());
        self.state.end(error);
        if let Some(failure) = failure {
            self.lane.hub().emit(Event::SubscriptionFailed {
                key: self.lane.key().clone(),
                group: self.lane.group().cloned(),
                error: failure.into(),
            });
        }
        if let Some(live) = self.live.get() {
            drop(live.state.lock());
            live.changed.notify_all();
        }
        self.life.lock().over = true;
        self.ended.notify_all();
        // Last, so that only `close` waits for it, up to its deadline: a destructor may itself wait
        // for other threads.
        quietly(|| drop(handler));
        drop(finishing);
        self.lane.hub().member_is_over();
    }

    /// Notes that the caller of `subscribe` gets the error with which the member ends.
    pub(crate) fn set_told(&self) {
        self.life.lock().is_told = true;
    }

    /// Whether the calling thread is ending a member, so that this call comes from that member's
    /// user code.
    pub(crate) fn is_finishing_here() -> bool {
        FINISHING.try_with(Cell::get).is_ok_and(|depth| depth > 0)
    }

    /// How many threads are inside its handler.
    pub(crate) fn running(&self) -> usize {
        self.life.lock().running
    }

    /// Tells the running handlers to stop.
    fn cancel_tokens(&self) {
        let current = self.tokens.lock();
        let each = current.current.iter();
        let each = each.map(|current| (current.token.clone(), current.unfinished.clone()));
        let each: Vec<_> = each.collect();
        drop(current);
        for (token, unfinished) in each {
            Current::cancel(&token, unfinished);
        }
    }

    /// Drops the futures of handlers on this thread, so that no thread of their runtime is needed.
    fn end_unfinished(&self) {
        let each: Vec<_> = {
            let tokens = self.tokens.lock();
            let each = tokens.current.iter();
            each.filter_map(|current| current.unfinished.clone())
                .collect()
        };
        for unfinished in each {
            unfinished.end();
        }
    }

    /// Makes the token of a message that is being handled. If the identity is given, the timeout of
    /// the message begins.
    pub(crate) fn make_token(&self, timed: Option<MessageId>) -> CancelToken {
        let token = CancelToken::new();
        let due = {
            let mut tokens = self.tokens.lock();
            let now = Instant::now();
            tokens.current.push(Current {
                token: token.clone(),
                since: timed.map(|id| (id, now)),
                unfinished: None,
            });
            match self.timeout {
                Some(timeout) if !tokens.watched => {
                    let due = now.checked_add(timeout);
                    tokens.watched = due.is_some();
                    due
                }
                _ => None,
            }
        };
        self.watch(due);
        // Checked after the token was stored, so that either this thread sees the end, or the
        // ending thread sees the token.
        if self.is_cancelled() {
            token.cancel();
        }
        token
    }

    /// Called when the handler of the message with this token continues without its thread.
    pub(crate) fn set_unfinished(&self, token: &CancelToken, unfinished: &Arc<dyn Unfinished>) {
        {
            let mut tokens = self.tokens.lock();
            let mut each = tokens.current.iter_mut();
            if let Some(current) = each.find(|current| current.token.is_same(token)) {
                current.unfinished = Some(Arc::clone(unfinished));
            }
        }
        // The handler may have overrun its timeout, or its subscription may have ended, before it
        // was stored here.
        if token.is_cancelled() || self.is_cancelled() {
            unfinished.cancel();
            if self.is_cancelled() {
                unfinished.end();
            }
        }
    }

    /// Whether its handlers have a timeout, for which each message has a token.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Sets the timer that looks for overruns.
    fn watch(&self, due: Option<Instant>) {
        if let Some(due) = due
            && let Some(this) = self.this.upgrade()
        {
            self.lane.hub().pool.at(due, Timed::Overrun(this));
        }
    }

    /// Cancels the tokens of the messages whose handlers have overrun, and reports them.
    pub(crate) fn look_for_overruns(&self) {
        let Some(timeout) = self.timeout else { return };
        let mut over = Vec::new();
        let due = {
            let mut tokens = self.tokens.lock();
            let now = Instant::now();
            let mut oldest = None;
            for current in &mut tokens.current {
                let Some((_, started)) = &current.since else {
                    continue;
                };
                if now.saturating_duration_since(*started) < timeout {
                    oldest = Some(oldest.map_or(*started, |oldest| (*started).min(oldest)));
                } else if let Some((id, _)) = current.since.take() {
                    over.push((current.token.clone(), current.unfinished.clone(), id));
                }
            }
            let due = oldest.and_then(|oldest: Instant| oldest.checked_add(timeout));
            tokens.watched = due.is_some();
            due
        };
        self.watch(due);
        for (token, unfinished, id) in over {
            Current::cancel(&token, unfinished);
            self.lane.hub().emit(Event::HandlerOverran {
                id,
                key: self.lane.key().clone(),
                group: self.lane.group().cloned(),
                timeout,
            });
        }
    }

    pub(crate) fn drop_token(&self, token: &CancelToken) {
        let gone = {
            let mut tokens = self.tokens.lock();
            let mut each = tokens.current.iter();
            let at = each.position(|current| current.token.is_same(token));
            at.map(|at| tokens.current.swap_remove(at))
        };
        token.cancel();
        drop(gone);
    }

    /// Makes the subscription pending until [`Live::set`].
    pub(crate) fn live(&self) -> &Live {
        self.live.get_or_init(Box::default)
    }

    /// Waits until the subscription is live. False at the deadline.
    pub(crate) fn wait_live(&self, deadline: Instant) -> bool {
        let Some(live) = self.live.get() else {
            return true;
        };
        let mut state = live.state.lock();
        while !*state && !self.state.is_ended() {
            if live.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        *state
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.state.is_ended()
    }
}

impl SubscriptionSource for Member {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.end_with(None, true);
    }

    fn cancel_soon(&self) {
        self.end_with(None, false);
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        // ORDERING: a counter; no other data depends on it.
        stats.delivered = self.delivered.load(Ordering::Relaxed);
        stats.dropped = self.lane.dropped();
        stats.depth = Some(self.lane.queued());
        stats
    }
}

impl Drop for Member {
    /// Ends a member that never joined its lane.
    fn drop(&mut self) {
        if !self.state.is_ended() {
            self.lane.hub().member_is_over();
        }
    }
}

/// A thread that calls the handler of a member.
pub(crate) struct Entry {
    /// Released before the member is notified, so that the member holds the last reference.
    handler: Option<Arc<dyn Handler>>,
    member: Arc<Member>,
}

impl Entry {
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    pub(crate) fn handler(&self) -> &dyn Handler {
        self.handler
            .as_deref()
            .expect("it is there until the entry is dropped")
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.handler = None;
        self.member.exit();
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.state.id())
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}
