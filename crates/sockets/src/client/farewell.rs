//! The end of a connection: the close frame, and what comes after it.

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::drive::{End, Sink, Stream};
use super::event::Ended;
use super::member::Outgoing;
use super::settings::Settings;

/// Closes a connection, within the limit of the settings. `written` has the publishers of the
/// messages that are in the sink and have not been flushed.
pub(super) async fn close(
    settings: &Settings,
    end: &End,
    mut sink: Sink,
    stream: Stream,
    mut queue: mpsc::Receiver<Outgoing>,
    written: Vec<oneshot::Sender<()>>,
) {
    let work = async {
        match end {
            End::Left | End::ChannelExpired | End::ChannelClosed => {
                flush(&mut sink, &mut queue, written).await;
                part(sink, stream, CloseCode::Normal).await;
            }
            End::ClientClosed => {
                flush(&mut sink, &mut queue, written).await;
                part(sink, stream, CloseCode::Away).await;
            }
            // The library has queued the answer. If it cannot be written, the connection is over in
            // any case.
            End::Ended(Ended::Closed { .. }) => drop(sink.flush().await),
            End::Ended(Ended::TooLarge(_)) => refuse(sink, stream, CloseCode::Size).await,
            End::Ended(Ended::NotText(_)) => refuse(sink, stream, CloseCode::Invalid).await,
            End::Ended(Ended::Protocol(_)) => refuse(sink, stream, CloseCode::Protocol).await,
            // The other end does not listen.
            End::Ended(_) => {}
        }
    };
    // At the limit the connection is dropped.
    let _ = timeout(settings.close_timeout, work).await;
}

/// Writes what was published before the end.
async fn flush(
    sink: &mut Sink,
    queue: &mut mpsc::Receiver<Outgoing>,
    mut written: Vec<oneshot::Sender<()>>,
) {
    queue.close();
    while let Some(outgoing) = queue.recv().await {
        let (text, publisher) = outgoing.take();
        if sink.feed(Frame::Text(text)).await.is_err() {
            return;
        }
        written.extend(publisher);
    }
    if sink.flush().await.is_ok() {
        for written in written {
            // A publisher that has been dropped does not want to know.
            let _ = written.send(());
        }
    }
}

/// Sends the close frame, and waits until the server has answered it or closed the connection.
async fn part(mut sink: Sink, mut stream: Stream, code: CloseCode) {
    if sink.send(frame(code)).await.is_ok() {
        while let Some(Ok(received)) = stream.next().await {
            if received.is_close() {
                return;
            }
        }
    }
}

/// Sends the close frame after a fault of the server. What it still sends is read as bytes and
/// thrown away: a connection that is closed with unread bytes is reset, and the server might never
/// see the frame.
async fn refuse(mut sink: Sink, stream: Stream, code: CloseCode) {
    if sink.send(frame(code)).await.is_err() {
        return;
    }
    let Ok(mut socket) = stream.reunite(sink) else {
        return;
    };
    let mut thrown_away = [0; 4096];
    while let Ok(1..) = socket.get_mut().read(&mut thrown_away).await {}
}

fn frame(code: CloseCode) -> Frame {
    Frame::Close(Some(CloseFrame {
        code,
        reason: Default::default(),
    }))
}
