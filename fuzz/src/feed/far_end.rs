//! The receiving end of a subscriber's channel, of any kind.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use fanfeed::{Receiver, TryRecvError, ring};

use super::carrier::Shared;
use crate::value::Value;

pub(crate) enum FarEnd {
    Own(Receiver<Value>),
    Crossbeam(crossbeam_channel::Receiver<Value>),
    Std(std::sync::mpsc::Receiver<Value>),
    Tokio(tokio::sync::mpsc::Receiver<Value>),
    TokioUnbounded(tokio::sync::mpsc::UnboundedReceiver<Value>),
    Custom(Arc<Shared>),
    Ring(ring::Receiver<Value>),
    /// A closure has none, but what it holds is to be dropped with it.
    Closure(Weak<()>),
    Gone,
}

impl FarEnd {
    /// Takes the next value. `None` for what cannot be received from.
    pub(crate) fn try_recv(&mut self) -> Option<Result<Value, TryRecvError>> {
        Some(match self {
            Self::Own(receiver) => receiver.try_recv(),
            Self::Ring(reader) => reader.try_recv(),
            Self::Crossbeam(receiver) => receiver.try_recv().map_err(|error| match error {
                crossbeam_channel::TryRecvError::Empty => TryRecvError::Empty,
                crossbeam_channel::TryRecvError::Disconnected => TryRecvError::Closed,
            }),
            Self::Std(receiver) => receiver.try_recv().map_err(|error| match error {
                std::sync::mpsc::TryRecvError::Empty => TryRecvError::Empty,
                std::sync::mpsc::TryRecvError::Disconnected => TryRecvError::Closed,
            }),
            Self::Tokio(receiver) => receiver.try_recv().map_err(of_tokio),
            Self::TokioUnbounded(receiver) => receiver.try_recv().map_err(of_tokio),
            Self::Custom(shared) => {
                let value = shared.values.lock().unwrap().pop_front();
                let wakers = std::mem::take(&mut *shared.wakers.lock().unwrap());
                wakers.into_iter().for_each(std::task::Waker::wake);
                value.ok_or_else(|| {
                    let is_closed = Arc::strong_count(shared) == 1;
                    if is_closed {
                        TryRecvError::Closed
                    } else {
                        TryRecvError::Empty
                    }
                })
            }
            Self::Closure(_) | Self::Gone => return None,
        })
    }
}

fn of_tokio(error: tokio::sync::mpsc::error::TryRecvError) -> TryRecvError {
    match error {
        tokio::sync::mpsc::error::TryRecvError::Empty => TryRecvError::Empty,
        tokio::sync::mpsc::error::TryRecvError::Disconnected => TryRecvError::Closed,
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        if let Self::Custom(shared) = self {
            shared.far_end_is_gone.store(true, Relaxed);
            shared.values.lock().unwrap().clear();
        }
    }
}
