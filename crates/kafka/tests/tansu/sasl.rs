//! Signing in. Tansu cannot be given users while it keeps its data in memory: a guard before it
//! checks the passwords.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use fanfeed_broker::ConnectError;
use fanfeed_testkit::refusal::{SECRET, says};
use fanfeed_testkit::{KafkaServer, assert_is};

use crate::common::quick;
use crate::{refused, works};

pub(crate) const USER: &str = "ann";

/// The kinds of requests that come before and while a client signs in.
const HANDSHAKE: i16 = 17;
const VERSIONS: i16 = 18;
const AUTHENTICATE: i16 = 36;

/// A stand-in for a server that signs users in: it lets [`USER`] with [`SECRET`] pass to a server
/// that asks for nothing.
pub(crate) struct Guard(TcpListener);

impl Guard {
    pub(crate) fn new() -> Self {
        Guard(TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Guards the server at `target` until the process ends.
    pub(crate) fn serve(self, target: SocketAddr) {
        thread::spawn(move || {
            for client in self.0.incoming().flatten() {
                thread::spawn(move || pass(client, target));
            }
        });
    }
}

fn pass(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(target)?;
    server.set_nodelay(true)?;
    if !signs_in(&mut client, &mut server)? {
        return Ok(());
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &server, &mut &client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = io::copy(&mut &client, &mut &server);
        let _ = server.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn signs_in(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<bool> {
    let mut exchange = None;
    loop {
        let request = read(client)?;
        let short = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let (kind, version, number) = (short(0), short(2), &request[4..8]);
        // After the client's name.
        let body = || &request[10 + short(8) as usize..];
        match kind {
            VERSIONS => {
                write(server, &[&request])?;
                write(client, &[&read(server)?])?;
            }
            HANDSHAKE => {
                let name = body();
                exchange = Some(Exchange::new(std::str::from_utf8(&name[2..]).unwrap()));
                // No error, and one mechanism.
                write(client, &[number, &[0, 0, 0, 0, 0, 1], name])?;
            }
            AUTHENTICATE => {
                let said = std::str::from_utf8(&body()[4..]).unwrap();
                // Version 1 says how long the session lasts: for ever.
                let lifetime = &[0; 8][..8 * usize::from(version > 0)];
                let Some((answer, is_over)) = exchange.as_mut().unwrap().step(said) else {
                    let text = format!("wrong password in {}", said.replace('\0', " "));
                    let length = (text.len() as i16).to_be_bytes();
                    let text = [&[0, 58], &length[..], text.as_bytes(), &[0; 4]].concat();
                    write(client, &[number, &text, lifetime])?;
                    return Ok(false);
                };
                let length = (answer.len() as u32).to_be_bytes();
                let text = [&[0, 0, 255, 255], &length[..], answer.as_bytes()].concat();
                write(client, &[number, &text, lifetime])?;
                if is_over {
                    return Ok(true);
                }
            }
            _ => return Ok(false),
        }
    }
}

fn read(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let mut bytes = vec![0; u32::from_be_bytes(size) as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write(to: &mut TcpStream, parts: &[&[u8]]) -> io::Result<()> {
    let bytes = parts.concat();
    let size = (bytes.len() as u32).to_be_bytes();
    to.write_all(&[&size[..], &bytes].concat())
}

/// What was said so far while a client signs in.
enum Exchange {
    Plain,
    #[cfg(feature = "tls")]
    Scram(crate::tls::Scram),
}

impl Exchange {
    fn new(mechanism: &str) -> Self {
        match mechanism {
            "PLAIN" => Exchange::Plain,
            #[cfg(feature = "tls")]
            name => Exchange::Scram(crate::tls::Scram::new(name)),
            #[cfg(not(feature = "tls"))]
            name => panic!("{name}"),
        }
    }

    /// The answer, and whether the client is signed in; `None` if it is refused.
    fn step(&mut self, said: &str) -> Option<(String, bool)> {
        match self {
            Exchange::Plain => {
                (said == format!("\0{USER}\0{SECRET}")).then(|| (String::new(), true))
            }
            #[cfg(feature = "tls")]
            Exchange::Scram(scram) => scram.step(said),
        }
    }
}

#[test]
fn plain_lets_the_right_password_in() {
    let guard = Guard::new();
    let address = guard.address();
    let server = KafkaServer::known_as(address.port());
    guard.serve(server.address());
    let with = |password: &str| {
        quick(&format!("kafka://localhost:{}", address.port())).user(USER, password)
    };
    works(&with(SECRET), "chat.42", 500);
    let error = refused(with("mistaken"));
    assert_is!(error, ConnectError::Denied(_));
    // The guard repeats it.
    says(&error, &["wrong password", "<redacted>"]);
}
