//! Many subscriptions as one.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::one_channel::OneChannel;
use super::source::{SourceRef, SubscriptionSource};
use super::state::SubscriptionState;
use super::stats::Stats;
use crate::error::SubscriptionError;
use crate::sync::{AtomicUsize, Mutex, Ordering, mutant, thread_local};
use crate::wait::quietly;

/// Makes one subscription of many: see [`Subscription::join`](crate::Subscription::join). If these
/// are subscriptions of `one_channel`, the end of one is the end of all, and without members it has
/// ended already.
pub(super) fn join(
    name: Option<Arc<str>>,
    members: Vec<SourceRef>,
    one_channel: Option<Arc<OneChannel>>,
) -> Arc<Joined> {
    let joined = Arc::new(Joined {
        state: SubscriptionState::new(name),
        one_channel,
        running: AtomicUsize::new(members.len()),
        failure: Mutex::new(None),
        members,
    });
    for (index, member) in joined.members.iter().enumerate() {
        let waker = Waker::from(Arc::new(MemberEnd {
            joined: Arc::clone(&joined),
            index,
        }));
        if !member.state().wake_at_end(&mut None, &waker) {
            waker.wake();
        }
    }
    if let Some(channel) = &joined.one_channel {
        channel.begin();
        if joined.members.is_empty() {
            joined.finish();
        }
    }
    joined
}

pub(crate) struct Joined {
    state: SubscriptionState,
    members: Vec<SourceRef>,
    /// How many members have not reported their end.
    running: AtomicUsize,
    /// The error of the first member that failed.
    failure: Mutex<Option<SubscriptionError>>,
    /// Set if the members are subscriptions of one channel.
    one_channel: Option<Arc<OneChannel>>,
}

impl Joined {
    /// Called once for each member, after its end, by the thread that ended it.
    fn member_ended(&self, index: usize) {
        let counts_first = mutant!("member_is_counted_before_its_failure");
        if counts_first && self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            return self.finish();
        }
        if let Some(error) = self.members[index].state().error()
            && self.note(error)
        {
            // Only the first failure tells the others to end, so that their ends do not recurse
            // through one another.
            self.cancel_soon();
        }
        if counts_first {
            return;
        }
        // ORDERING: the last member to count sees the failure that any member before it has noted.
        let running = self.running.fetch_sub(1, Ordering::AcqRel);
        if self.one_channel.is_some() && running == self.members.len() {
            // The ends of the other members call this as well.
            self.cancel_soon();
            self.settle();
        } else if running == 1 {
            self.finish();
        }
    }

    /// Keeps the error if it is the first one, and returns whether it is.
    fn note(&self, error: SubscriptionError) -> bool {
        let mut failure = self.failure.lock();
        let first = failure.is_none();
        if first {
            *failure = Some(error);
        }
        first
    }

    fn finish(&self) {
        let failure = self.failure.lock().clone();
        self.state.end(failure);
    }
}

/// The parts of a joined subscription: the joined subscriptions, itself first, and the members of
/// other kinds.
///
/// A chain of joined subscriptions can be of any length, so nothing here recurses down it.
struct Parts<'a> {
    joined: Vec<&'a Joined>,
    leaves: Vec<&'a SourceRef>,
}

impl Joined {
    /// All parts of this subscription, without the joined subscriptions that the filter rejects and
    /// their parts.
    fn parts(&self, filter: impl Fn(&Self) -> bool) -> Parts<'_> {
        let mut parts = Parts {
            joined: vec![self],
            leaves: Vec::new(),
        };
        let mut index = 0;
        while let Some(&joined) = parts.joined.get(index) {
            for member in &joined.members {
                match member.downcast_ref::<Joined>() {
                    // It has figures of its own, and its members are no joined subscriptions.
                    Some(inner) if inner.one_channel.is_some() => parts.leaves.push(member),
                    Some(inner) if filter(inner) => parts.joined.push(inner),
                    Some(_) => {}
                    None => parts.leaves.push(member),
                }
            }
            index += 1;
        }
        parts
    }

    fn end_channel(&self) {
        if let Some(channel) = &self.one_channel {
            channel.end();
        }
    }

    /// Ends this subscription if all its members have ended. A member may have ended on another
    /// thread that has not reported it yet.
    fn settle(&self) {
        if self.members.iter().all(|member| member.state().is_ended()) {
            let mut errors = self.members.iter().map(|member| member.state().error());
            if let Some(error) = errors.find_map(|error| error) {
                self.note(error);
            }
            self.finish();
        }
    }
}

impl SubscriptionSource for Joined {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.end_channel();
        let parts = self.parts(|_| true);
        for leaf in &parts.leaves {
            leaf.cancel_soon();
        }
        for leaf in &parts.leaves {
            leaf.cancel();
        }
        for joined in parts.joined.into_iter().rev() {
            joined.settle();
        }
    }

    fn cancel_soon(&self) {
        self.end_channel();
        // Members that have ended need not be told. To walk through them again at each end would
        // take quadratic time.
        let parts = self.parts(|joined| !joined.state.is_ended());
        for leaf in parts.leaves {
            if !leaf.state().is_ended() {
                leaf.cancel_soon();
            }
        }
        for joined in parts.joined {
            if joined.members.is_empty() {
                joined.finish();
            }
        }
    }

    fn stats(&self) -> Stats {
        let parts = self.parts(|_| true);
        let stats = parts.leaves.into_iter().map(|leaf| leaf.stats());
        let mut sum = stats.fold(Stats::default(), |sum, one| Stats {
            delivered: sum.delivered + one.delivered,
            dropped: sum.dropped + one.dropped,
            depth: match (sum.depth, one.depth) {
                // Each member reports the depth of the one channel.
                (Some(depth), Some(_)) if self.one_channel.is_some() => Some(depth),
                (Some(depth), Some(more)) => Some(depth + more),
                (depth, more) => depth.or(more),
            },
            blocked: sum.blocked + one.blocked,
            blocked_for: sum.blocked_for.saturating_add(one.blocked_for),
            blocked_now: sum.blocked_now.max(one.blocked_now),
        });
        if let Some(channel) = &self.one_channel {
            sum.delivered = sum.delivered.saturating_sub(channel.passed_over());
        }
        sum
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        drop_one_by_one(std::mem::take(&mut self.members));
        // A user's error may panic when it is dropped.
        let failure = self.failure.lock().take();
        quietly(|| drop(failure));
    }
}

/// Where a joined subscription that is dropped leaves its members.
enum Left {
    /// Nowhere: it drops them itself.
    Nowhere,
    /// Here.
    Here,
    /// It has left them here.
    These(Vec<SourceRef>),
}

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static LEFT: ManuallyDrop<Cell<Left>> = const { ManuallyDrop::new(Cell::new(Left::Nowhere)) };
}

/// Drops the members of a joined subscription. If one of them is a joined subscription too, its
/// members are dropped after it, and not inside its drop, because a chain of joined subscriptions
/// can be of any length. Destructors of other members are user code. What these drop is gone when
/// they go on: they may wait for that.
fn drop_one_by_one(mut members: Vec<SourceRef>) {
    match LEFT.with(|left| left.replace(Left::Nowhere)) {
        Left::Here => return LEFT.with(|left| left.set(Left::These(members))),
        before => LEFT.with(|left| left.set(before)),
    }
    while let Some(member) = members.pop() {
        if member.downcast_ref::<Joined>().is_none() {
            // Its panics go no further.
            drop(member);
            continue;
        }
        let before = LEFT.with(|left| left.replace(Left::Here));
        drop(member);
        if let Left::These(more) = LEFT.with(|left| left.replace(before)) {
            members.extend(more);
        }
    }
}

/// Reports the end of one member.
///
/// It owns the joined subscription, which owns the members. This cycle keeps a detached joined
/// subscription alive. The end of the member drops its wakers, and so breaks the cycle.
struct MemberEnd {
    joined: Arc<Joined>,
    index: usize,
}

impl Wake for MemberEnd {
    fn wake(self: Arc<Self>) {
        self.joined.member_ended(self.index);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{
        Joined, OneChannel, SourceRef, Stats, SubscriptionSource, SubscriptionState, join,
    };
    use crate::error::SubscriptionError;
    use crate::sync::Mutex;

    struct Fixed {
        state: SubscriptionState,
        stats: Stats,
    }

    impl Fixed {
        fn new(stats: Stats) -> Arc<Self> {
            Arc::new(Self {
                state: SubscriptionState::new(None),
                stats,
            })
        }
    }

    impl SubscriptionSource for Fixed {
        fn state(&self) -> &SubscriptionState {
            &self.state
        }

        fn cancel(&self) {
            self.cancel_soon();
        }

        fn cancel_soon(&self) {
            self.state.end(None);
        }

        fn stats(&self) -> Stats {
            self.stats
        }
    }

    fn joined(members: &[Arc<Fixed>]) -> Arc<Joined> {
        let members = members.iter().cloned();
        join(
            None,
            members.map(|member| SourceRef::new(member)).collect(),
            None,
        )
    }

    #[test]
    fn stats_are_sums() {
        let full = Stats {
            delivered: 1,
            dropped: 2,
            depth: Some(3),
            blocked: 4,
            blocked_for: Duration::from_secs(5),
            blocked_now: Some(Duration::from_secs(1)),
        };
        let twice = |depth| Stats {
            delivered: 2,
            dropped: 4,
            depth,
            blocked: 8,
            blocked_for: Duration::from_secs(10),
            blocked_now: Some(Duration::from_secs(1)),
        };
        for (depths, sum) in [
            ([Some(3), Some(4)], Some(7)),
            ([Some(3), None], Some(3)),
            ([None, Some(3)], Some(3)),
            ([None, None], None),
        ] {
            let members = depths.map(|depth| Fixed::new(Stats { depth, ..full }));
            assert_eq!(joined(&members).stats(), twice(sum));
        }
    }

    #[test]
    fn members_and_the_joined_subscription_are_freed_once_all_have_ended() {
        for failed in [false, true] {
            let members = [(); 2].map(|()| Fixed::new(Stats::default()));
            let weak = members.each_ref().map(Arc::downgrade);
            let joined = joined(&members);
            if failed {
                // As if the handle was detached.
                drop(joined);
                members[0].state.end(Some(SubscriptionError::Overflowed));
            } else {
                joined.cancel();
                drop(joined);
            }
            drop(members);
            assert!(weak.iter().all(|weak| weak.strong_count() == 0));
        }
    }

    #[test]
    fn a_cancelled_subscription_has_the_error_of_a_member_that_has_not_reported_it() {
        let members = [(); 2].map(|()| Fixed::new(Stats::default()));
        let joined = joined(&members);
        // Acts as a thread that ends the member and is interrupted before it wakes the waiters.
        let unwoken = members[1]
            .state
            .mark_ended(Some(SubscriptionError::Overflowed))
            .unwrap();
        joined.cancel();
        assert!(joined.state().is_ended());
        assert!(joined.state().error().unwrap().is_overflowed());
        unwoken.wake_all();
        assert!(joined.state().error().unwrap().is_overflowed());
    }

    /// Notes, when it is told to end, whether its channel takes no more values.
    struct Told(SubscriptionState, Arc<OneChannel>, Mutex<Vec<bool>>);

    impl SubscriptionSource for Told {
        fn state(&self) -> &SubscriptionState {
            &self.0
        }

        fn cancel(&self) {
            self.cancel_soon();
        }

        fn cancel_soon(&self) {
            self.2.lock().push(self.1.is_over());
            self.0.end(None);
        }
    }

    #[test]
    fn one_channel_is_over_before_any_member_is_told_to_end() {
        for soon in [false, true] {
            let channel = Arc::<OneChannel>::default();
            let state = SubscriptionState::new(None);
            let member = Arc::new(Told(state, Arc::clone(&channel), Mutex::default()));
            let members = vec![SourceRef::new(Arc::clone(&member) as _)];
            let joined = join(None, members, Some(Arc::clone(&channel)));
            assert!(!channel.is_over());
            if soon {
                joined.cancel_soon();
            } else {
                joined.cancel();
            }
            let told = member.2.lock();
            assert!(!told.is_empty() && told.iter().all(|is_over| *is_over));
        }
    }

    struct Ending(SubscriptionState, Option<Box<dyn FnOnce() + Send + Sync>>);

    impl Ending {
        fn member(f: impl FnOnce() + Send + Sync + 'static) -> SourceRef {
            let state = SubscriptionState::new(None);
            SourceRef::new(Arc::new(Self(state, Some(Box::new(f)))))
        }
    }

    impl SubscriptionSource for Ending {
        fn state(&self) -> &SubscriptionState {
            &self.0
        }

        fn cancel(&self) {
            self.cancel_soon();
        }

        fn cancel_soon(&self) {
            self.0.end(None);
        }
    }

    impl Drop for Ending {
        fn drop(&mut self) {
            self.1.take().unwrap()();
        }
    }

    #[test]
    fn the_members_of_what_a_destructor_drops_are_gone_when_it_goes_on() {
        let (tx, rx) = crossbeam_channel::bounded(2);
        let sender = tx.clone();
        let join = |member| super::join(None, vec![member], None);
        let inner = join(Ending::member(move || sender.send("inner").unwrap()));
        inner.cancel();
        let outer = join(Ending::member(move || {
            drop(inner);
            tx.send("outer").unwrap();
        }));
        outer.cancel();
        drop(join(SourceRef::new(outer)));
        assert!(rx.try_iter().eq(["inner", "outer"]));
    }

    #[test]
    fn the_ends_of_many_members_do_not_recurse() {
        let members: Vec<_> = (0..100_000).map(|_| Fixed::new(Stats::default())).collect();
        let joined = joined(&members);
        members[50_000]
            .state
            .end(Some(SubscriptionError::Overflowed));
        assert!(joined.state().is_ended());
        assert!(joined.state().error().unwrap().is_overflowed());
    }
}
