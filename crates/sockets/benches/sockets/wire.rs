//! The WebSocket of the clients: as little as they need, so that they take little time from the
//! server.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The frames that a client meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Close,
    Ping,
    Pong,
}

/// A connection of a client.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the next frame begins.
    at: usize,
}

impl Wire {
    /// Connects and upgrades. `from` is the address of the loopback that the client has, and
    /// `receive` how many bytes the kernel may keep for it, if it is not to decide itself.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        from: [u8; 4],
        receive: Option<u32>,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(receive) = receive {
            socket.set_recv_buffer_size(receive)?;
        }
        socket.bind(SocketAddr::from((from, 0)))?;
        let mut stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut wire = Wire {
            stream,
            buffer: Vec::new(),
            at: 0,
        };
        loop {
            if let Some(end) = find(&wire.buffer, b"\r\n\r\n") {
                if wire.buffer.starts_with(b"HTTP/1.1 101") {
                    wire.at = end + 4;
                    return Ok(wire);
                }
                let answer = String::from_utf8_lossy(&wire.buffer);
                let line = answer.lines().next().unwrap_or_default();
                return Err(io::Error::other(format!("not upgraded: {line}")));
            }
            wire.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.reserve(4096);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The next frame and its payload. A server sends each message as one frame.
    pub(crate) async fn frame(&mut self) -> io::Result<(Kind, &[u8])> {
        let (head, length) = loop {
            match header(&self.buffer[self.at..]) {
                Some((head, length)) if self.buffer.len() - self.at >= head + length => {
                    break (head, length);
                }
                _ => self.read().await?,
            }
        };
        let start = self.at + head;
        let kind = match self.buffer[self.at] & 0x0f {
            1 => Kind::Text,
            8 => Kind::Close,
            9 => Kind::Ping,
            10 => Kind::Pong,
            other => return Err(io::Error::other(format!("opcode {other}"))),
        };
        self.at = start + length;
        Ok((kind, &self.buffer[start..start + length]))
    }

    /// The next text. Pings are answered meanwhile.
    pub(crate) async fn text(&mut self) -> io::Result<&[u8]> {
        loop {
            // A frame that is borrowed would borrow the connection for the loop, so its place is
            // kept.
            let (kind, range) = {
                let (kind, payload) = self.frame().await?;
                let length = payload.len();
                (kind, self.at - length..self.at)
            };
            match kind {
                Kind::Text => return Ok(&self.buffer[range]),
                Kind::Ping => {
                    let payload = self.buffer[range].to_vec();
                    self.send(10, &payload).await?;
                }
                Kind::Pong => {}
                Kind::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    /// Sends a frame, masked with zeros.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(opcode, payload)).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

/// A frame of a client, masked with zeros.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// How long the header of a server's frame is, and how long its payload.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? & 0x7f {
        126 => {
            let length = bytes.get(2..4)?.try_into().ok()?;
            Some((4, u16::from_be_bytes(length) as usize))
        }
        127 => {
            let length = bytes.get(2..10)?.try_into().ok()?;
            Some((10, u64::from_be_bytes(length) as usize))
        }
        length => Some((2, length as usize)),
    }
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
