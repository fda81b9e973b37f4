//! Tasks on the calling thread, without the cost of a runtime.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// Tasks, each with a waker of its own, and those of them that were woken.
pub(crate) struct Executor {
    tasks: Vec<Option<Task>>,
    woken: Arc<Woken>,
    turn: Vec<usize>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    entry: Arc<Entry>,
    waker: Waker,
}

#[derive(Default)]
struct Woken(Mutex<Vec<usize>>);

struct Entry {
    number: usize,
    is_queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            self.woken.lock().push(self.number);
        }
    }
}

impl Woken {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Executor {
    /// For tasks that are there, and have not been polled.
    pub(crate) fn new(
        futures: impl IntoIterator<Item = Pin<Box<dyn Future<Output = ()>>>>,
    ) -> Self {
        let woken = Arc::new(Woken::default());
        let tasks = futures.into_iter().enumerate().map(|(number, future)| {
            let entry = Arc::new(Entry {
                number,
                is_queued: AtomicBool::new(false),
                woken: Arc::clone(&woken),
            });
            let waker = Waker::from(Arc::clone(&entry));
            Some(Task {
                future,
                entry,
                waker,
            })
        });
        Self {
            tasks: tasks.collect(),
            woken,
            turn: Vec::new(),
        }
    }

    /// Polls a task, and forgets it if it has ended.
    pub(crate) fn poll(&mut self, number: usize) {
        let Some(task) = &mut self.tasks[number] else {
            return;
        };
        task.entry.is_queued.store(false, Ordering::Release);
        let mut context = Context::from_waker(&task.waker);
        if let Poll::Ready(()) = task.future.as_mut().poll(&mut context) {
            self.tasks[number] = None;
        }
    }

    /// Polls all tasks in this order.
    pub(crate) fn poll_all(&mut self, order: impl Iterator<Item = usize>) {
        order.for_each(|number| self.poll(number));
    }

    /// Polls those that were woken, each once.
    pub(crate) fn poll_woken(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        std::mem::swap(&mut turn, &mut self.woken.lock());
        turn.drain(..).for_each(|number| self.poll(number));
        self.turn = turn;
    }

    /// Drops all tasks in this order.
    pub(crate) fn drop_all(&mut self, order: impl Iterator<Item = usize>) {
        order.for_each(|number| self.tasks[number] = None);
    }

    /// How many were woken and not polled since.
    pub(crate) fn woken(&self) -> usize {
        self.woken.lock().len()
    }
}
