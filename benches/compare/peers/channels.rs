//! A loop over channels, which a program without a feed would use: one channel for each reader, and
//! a sender that goes through all of them.

use crate::link::{CAPACITY, OneByOne, Reads, Receives, Sends};
use crate::payload::Payload;

/// A channel with one reader.
pub(crate) trait Channel<T>: 'static {
    /// Its sending end.
    type Sender: Send + 'static;
    /// Its receiving end.
    type Receiver: Send + 'static;

    /// A channel with so many slots.
    fn open(capacity: usize) -> (Self::Sender, Self::Receiver);
    /// Sends without waiting; the value comes back if there is no room.
    fn try_send(sender: &mut Self::Sender, value: T) -> Result<(), T>;
    /// Receives without waiting.
    fn try_recv(receiver: &mut Self::Receiver) -> Option<T>;
}

/// A channel whose ends can wait in their own way.
pub(crate) trait Blocking<T>: Channel<T> {
    /// Sends, and waits for room.
    fn send(sender: &mut Self::Sender, value: T);
    /// Receives, and waits for a value.
    fn recv(receiver: &mut Self::Receiver) -> T;
}

/// Both ends look again and again.
pub(crate) fn spinning<C: Channel<T>, T: Payload>(n: usize) -> (Spinning<C, T>, Polled<C, T>) {
    let (senders, receivers) = (0..n).map(|_| C::open(CAPACITY)).unzip();
    (Spinning(senders), Polled(receivers))
}

/// The sender waits in its own way, and the readers, being many, are polled.
pub(crate) fn parking_sender<C: Blocking<T>, T: Payload>(
    n: usize,
) -> (Parking<C, T>, Polled<C, T>) {
    let (Spinning(senders), readers) = spinning::<C, T>(n);
    (Parking(senders), readers)
}

/// Both ends wait in their own way: possible with one reader only.
pub(crate) fn parking<C: Blocking<T>, T: Payload>() -> (Parking<C, T>, OneByOne<Parked<C, T>>) {
    let (sender, receiver) = C::open(CAPACITY);
    (Parking(vec![sender]), OneByOne(Parked(receiver)))
}

/// A sender that tries again until there is room.
pub(crate) struct Spinning<C: Channel<T>, T>(Vec<C::Sender>);

impl<C: Channel<T>, T: Payload> Sends<T> for Spinning<C, T> {
    #[inline]
    fn put(&mut self, value: T) {
        for sender in &mut self.0 {
            let mut unsent = value.clone();
            while let Err(refused) = C::try_send(sender, unsent) {
                unsent = refused;
                std::hint::spin_loop();
            }
        }
    }
}

impl<C: Channel<T>, T> Clone for Spinning<C, T>
where
    C::Sender: Clone,
{
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A sender that waits in its own way.
pub(crate) struct Parking<C: Channel<T>, T>(Vec<C::Sender>);

impl<C: Blocking<T>, T: Payload> Sends<T> for Parking<C, T> {
    #[inline]
    fn put(&mut self, value: T) {
        for sender in &mut self.0 {
            C::send(sender, value.clone());
        }
    }
}

impl<C: Channel<T>, T> Clone for Parking<C, T>
where
    C::Sender: Clone,
{
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Readers that are looked at in turn.
pub(crate) struct Polled<C: Channel<T>, T>(Vec<C::Receiver>);

impl<C: Channel<T>, T> Polled<C, T> {
    /// Readers of these channels.
    pub(crate) fn over(receivers: Vec<C::Receiver>) -> Self {
        Self(receivers)
    }
}

impl<C: Channel<T>, T: Payload> Reads<T> for Polled<C, T> {
    fn readers(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn take(&mut self, reader: usize, mut each: impl FnMut(&T)) -> u64 {
        while let Some(value) = C::try_recv(&mut self.0[reader]) {
            each(&value);
        }
        0
    }
}

/// A reader that waits in its own way.
pub(crate) struct Parked<C: Channel<T>, T>(pub(crate) C::Receiver);

impl<C: Blocking<T>, T: Payload> Receives<T> for Parked<C, T> {
    #[inline]
    fn receive(&mut self) -> T {
        C::recv(&mut self.0)
    }
}
