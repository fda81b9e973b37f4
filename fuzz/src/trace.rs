//! The program and the operation that are running, for the message of a failure.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;

type Describe = Box<dyn Fn(usize) -> String>;

thread_local! {
    static DESCRIBE: RefCell<Option<Describe>> = const { RefCell::new(None) };
    static AT: Cell<usize> = const { Cell::new(0) };
}

/// A program is about to be run.
pub fn begin<Op: Debug + 'static>(program: &Rc<[Op]>) {
    let program = Rc::clone(program);
    let describe = move |index: usize| format!("{:?}", program.get(index));
    DESCRIBE.with(|held| *held.borrow_mut() = Some(Box::new(describe)));
    AT.set(0);
}

/// Its operation with this number is being run.
pub fn at(index: usize) {
    AT.set(index);
}

/// Ends the process with what was found.
#[cold]
#[track_caller]
pub fn fail(what: &str) -> ! {
    let index = AT.get();
    let operation = DESCRIBE.with(|held| held.borrow().as_ref().map(|describe| describe(index)));
    let operation = operation.unwrap_or_default();
    panic!("after operation {index}, {operation}: {what}");
}

/// Fails unless what was seen is what the model expects.
#[track_caller]
pub fn expect<T: Debug + PartialEq>(what: &str, seen: &T, expected: &T) {
    if seen != expected {
        fail(&format!("{what}: expected {expected:?}, saw {seen:?}"));
    }
}

/// Fails unless it holds.
#[track_caller]
pub fn ensure(holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        fail(&what());
    }
}
