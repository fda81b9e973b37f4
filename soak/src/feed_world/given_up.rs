//! The values that were given up, and the subscribers that missed them.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfeed::{SubscriptionId, Undelivered};

use crate::value::Value;

/// By subscription, the values (sender and number) that a sender has given up for it.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// Most generations have none, and their readers are to look for none.
    is_any: AtomicBool,
    values: Mutex<HashMap<SubscriptionId, HashSet<(usize, u64)>>>,
}

impl GivenUp {
    /// To be called before the sender sends anything else.
    pub(super) fn add(&self, undelivered: &Undelivered<Value>) {
        let mut values = self.values.lock().expect("nobody panics with it");
        for missed in undelivered.missed() {
            let of = values.entry(missed.id).or_default();
            of.insert(undelivered.value().read());
        }
        self.is_any.store(true, Ordering::SeqCst);
    }

    pub(super) fn holds(&self, of: SubscriptionId, sender: usize, number: u64) -> bool {
        self.is_any.load(Ordering::SeqCst) && {
            let values = self.values.lock().expect("nobody panics with it");
            values
                .get(&of)
                .is_some_and(|values| values.contains(&(sender, number)))
        }
    }
}
