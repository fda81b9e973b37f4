//! A list of senders, and a loop over it.

use std::fmt::Debug;

use super::{CAPACITY, Seats};
use crate::subscribers::Crowd;

/// A channel for one subscriber.
pub(crate) trait Channel {
    type Sender: Debug;
    type Receiver: Debug;

    fn make() -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, value: u64);
    /// The next value, `Err(true)` at the end, `Err(false)` if there is none yet.
    fn receive(receiver: &mut Self::Receiver) -> Result<u64, bool>;
}

/// Senders in a list, each with its number; where each number stands in the list; and receivers.
#[derive(Debug)]
pub(crate) struct Bare<C: Channel> {
    senders: Vec<(usize, C::Sender)>,
    places: Vec<usize>,
    receivers: Seats<C::Receiver>,
}

impl<C: Channel> Default for Bare<C> {
    fn default() -> Self {
        Self {
            senders: Vec::new(),
            places: Vec::new(),
            receivers: Seats::default(),
        }
    }
}

impl<C: Channel> Crowd for Bare<C> {
    fn join(&mut self) {
        let (sender, receiver) = C::make();
        let number = self.receivers.len();
        self.places.truncate(number);
        self.places.push(self.senders.len());
        self.senders.push((number, sender));
        self.receivers.add(receiver);
    }

    fn leave(&mut self, number: usize) {
        let place = self.places[number];
        self.senders.swap_remove(place);
        if let Some((moved, _)) = self.senders.get(place) {
            self.places[*moved] = place;
        }
        self.receivers.remove(number);
    }

    fn compact(&mut self) {
        self.receivers.compact();
    }

    fn count(&self) -> usize {
        self.receivers.len()
    }

    fn send(&mut self, value: u64) {
        assert_eq!(self.senders.len(), self.count());
        for (_, sender) in &self.senders {
            C::send(sender, value);
        }
    }

    fn receive(&mut self, value: u64) {
        for receiver in self.receivers.iter_mut() {
            assert_eq!(C::receive(receiver), Ok(value));
        }
    }

    fn close(&mut self) {
        self.senders.clear();
    }

    fn assert_closed(&mut self) {
        for receiver in self.receivers.iter_mut() {
            assert_eq!(C::receive(receiver), Err(true));
        }
    }
}

/// crossbeam's bounded channel.
#[derive(Debug)]
pub(crate) struct Crossbeam;

impl Channel for Crossbeam {
    type Sender = crossbeam_channel::Sender<u64>;
    type Receiver = crossbeam_channel::Receiver<u64>;

    fn make() -> (Self::Sender, Self::Receiver) {
        crossbeam_channel::bounded(CAPACITY)
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.try_send(value).expect("there is room");
    }

    fn receive(receiver: &mut Self::Receiver) -> Result<u64, bool> {
        receiver.try_recv().map_err(|error| error.is_disconnected())
    }
}

/// tokio's bounded channel.
#[derive(Debug)]
pub(crate) struct Tokio;

impl Channel for Tokio {
    type Sender = tokio::sync::mpsc::Sender<u64>;
    type Receiver = tokio::sync::mpsc::Receiver<u64>;

    fn make() -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(CAPACITY)
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.try_send(value).expect("there is room");
    }

    fn receive(receiver: &mut Self::Receiver) -> Result<u64, bool> {
        let ended = tokio::sync::mpsc::error::TryRecvError::Disconnected;
        receiver.try_recv().map_err(|error| error == ended)
    }
}
