//! The contenders, each behind the same two ends. Each peer is used as its own documentation
//! advises for speed; the peer's file says where that advice is.

pub(crate) mod async_broadcast;
pub(crate) mod asyncband;
pub(crate) mod bus;
pub(crate) mod channels;
pub(crate) mod crossbeam;
pub(crate) mod crossfire;
pub(crate) mod disruptor;
pub(crate) mod feed;
pub(crate) mod flume;
pub(crate) mod kanal;
pub(crate) mod processor;
pub(crate) mod ring;
pub(crate) mod rtrb;
pub(crate) mod std;
pub(crate) mod tokio;
pub(crate) mod tokio_mpsc;
