//! Senders of a shared ring, one step at a time.

use super::super::core::Joining;
use super::super::reader::Reader;
use super::*;
use crate::wait::Count;

#[cfg(feature = "async")]
#[test]
fn a_task_behind_a_preempted_sender_soon_stops_waking_itself() {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Wake};

    use super::super::send_async::SendAsync;

    /// Counts how often its own thread has woken it.
    struct CountHere(std::thread::ThreadId, AtomicUsize);

    impl Wake for CountHere {
        fn wake(self: Arc<Self>) {
            if std::thread::current().id() == self.0 {
                self.1.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    for (was_in_line, is_starved) in [(false, false), (true, false), (false, true), (true, true)] {
        let claimant = Claimant::new(1, false).unwrap();
        let reader = was_in_line.then(|| Reader::join(claimant.core(), Joining::default()));
        // Acts as a sender that is preempted before it stamps.
        let claim = claimant.claim::<false>(1).ok().unwrap();
        if is_starved {
            claimant.core().wakeups.senders.starve();
        }
        let here = std::thread::current().id();
        let count = Arc::new(CountHere(here, AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut send = pin!(SendAsync::new(&claimant, 7));
        assert!(send.as_mut().poll(&mut context).is_pending());
        if let Some(reader) = reader {
            assert_eq!(count.1.load(Ordering::SeqCst), 0, "it waits for the reader");
            reader.member.leave(false);
            assert_eq!(count.1.load(Ordering::SeqCst), 1);
        }
        for _ in 0..40 {
            assert!(send.as_mut().poll(&mut context).is_pending());
        }
        let woken = count.1.load(Ordering::SeqCst);
        assert!((16..20).contains(&woken), "{woken} times");
        // It has stopped waking itself at once, and waits for a timer.
        claimant.fill_one(&claim, 0);
        assert_eq!(send.as_mut().poll(&mut context), Poll::Ready(1));
        assert!(claimant.core().wakeups.senders.is_empty());
    }
}

#[test]
fn senders_in_line_are_woken_when_a_reader_or_a_sender_leaves_room() {
    let claimant = Claimant::new(2, false).unwrap();
    let [mut one, mut other] = [(); 2].map(|()| Reader::join(claimant.core(), Joining::default()));
    claimant.send(7);
    claimant.send(7);
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let woken = || counts.each_ref().map(|count| count.get());
    let wakers = counts
        .each_ref()
        .map(|count| Waker::from(Arc::clone(count)));
    assert_eq!(claimant.look_for_room(), Err(Held::By(1)));
    for waker in &wakers {
        claimant.wake_for_room(waker);
    }
    assert_eq!(one.read(1, |_| {}), Ok(1));
    assert_eq!(woken(), [0; 3], "the other reader is in the way");
    assert_eq!(other.read(1, |_| {}), Ok(1));
    // If this one does not act, the others are woken a moment later.
    assert_eq!(woken()[0], 1, "the first in line");
    // A new sender has taken the place. The first keeps its own place in line.
    claimant.send(7);
    claimant.wake_for_room(&wakers[0]);
    assert_eq!(one.read(2, |_| {}), Ok(2));
    assert_eq!(other.read(2, |_| {}), Ok(2));
    assert_eq!(woken()[0], 2, "it has kept its place in line");
    // It gives up, and leaves room for the other two.
    claimant.forget_waker(&wakers[0]);
    assert!(woken()[1..].iter().all(|&count| count >= 1));
    claimant.forget_waker(&wakers[1]);
    claimant.forget_waker(&wakers[2]);
    assert!(claimant.waiters.is_empty());
    // No waker is kept, woken or not.
    drop(wakers);
    assert!(counts.iter().all(|count| Arc::strong_count(count) == 1));
}
