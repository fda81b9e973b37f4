//! A TLS front for a server that has no TLS, or cannot ask clients for a certificate.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::tls::Authority;

/// A TLS front on a free port of the loopback interface. It terminates the TLS of its clients, and
/// forwards their data to a server without TLS. On drop it closes every connection and its port.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    config: Arc<ServerConfig>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    /// The address of the server, once it is known.
    target: Option<SocketAddr>,
    accepted: usize,
    /// The sockets of the open connections, with the numbers of the connections.
    open: Vec<(usize, TcpStream)>,
}

impl TlsFront {
    /// Starts a front with a certificate of `authority` for these names or addresses. With
    /// `verify`, it refuses clients without a certificate of the same authority.
    ///
    /// Before [`serve`](Self::serve) is called, it closes all connections. So a server can be told
    /// the address of the front before the server starts.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub fn new(authority: &Authority, names: &[&str], verify: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            config: Arc::new(configuration(authority, names, verify)),
            state: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&listener))
        };
        TlsFront {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The address to which clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards later connections to the server at `target`.
    pub fn serve(&self, target: SocketAddr) {
        self.shared.lock().target = Some(target);
    }

    /// Breaks every open connection. New ones are accepted.
    pub fn cut(&self) {
        self.shared.lock().cut();
    }
}

impl State {
    fn cut(&self) {
        for (_, socket) in &self.open {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.cut();
        }
        // Wakes the acceptor, which then sees the end.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn configuration(authority: &Authority, names: &[&str], verify: bool) -> ServerConfig {
    const GOOD: &str = "the authority's files are good";
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect(GOOD);
    let builder = if verify {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority.certificate()).expect(GOOD);
        roots.add(root).expect(GOOD);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().expect(GOOD))
    } else {
        builder.with_no_client_auth()
    };
    let identity = authority.server(names);
    let certificate = CertificateDer::from_pem_file(&identity.certificate).expect(GOOD);
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect(GOOD);
    builder
        .with_single_cert(vec![certificate], key)
        .expect(GOOD)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let mut state = self.lock();
            if state.ended {
                return;
            }
            let (Ok(client), Some(target)) = (client, state.target) else {
                continue;
            };
            state.accepted += 1;
            let number = state.accepted;
            drop(state);
            let shared = Arc::clone(self);
            thread::spawn(move || {
                // The client of a connection finds out why it ended.
                let _ = shared.carry(number, client, target);
                shared.lock().open.retain(|(open, _)| *open != number);
            });
        }
    }

    /// Registers a socket, which is closed when the front ends. Returns false if the front has
    /// ended.
    fn register(&self, number: usize, socket: &TcpStream) -> io::Result<bool> {
        let copy = socket.try_clone()?;
        let mut state = self.lock();
        state.open.push((number, copy));
        Ok(!state.ended)
    }

    /// Forwards one connection until either end closes it.
    fn carry(&self, number: usize, client: TcpStream, target: SocketAddr) -> io::Result<()> {
        let server = TcpStream::connect(target)?;
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
            if !self.register(number, socket)? {
                return Ok(());
            }
        }
        let connection = ServerConnection::new(Arc::clone(&self.config));
        let session = Mutex::new(Session {
            connection: connection.map_err(io::Error::other)?,
            client: client.try_clone()?,
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = to_client(&session, &server);
                let _ = client.shutdown(Shutdown::Write);
            });
            let refused = to_server(&session, &client, &server);
            let _ = server.shutdown(Shutdown::Both);
            if refused.is_err() {
                // An alert was sent. If bytes of the client were left unread, the system would
                // reset the connection, and the client might never see the alert.
                let _ = client.shutdown(Shutdown::Write);
                let _ = io::copy(&mut &client, &mut io::sink());
            }
        });
        Ok(())
    }
}

/// The encrypted side of a connection. Its lock keeps the records in the order in which they were
/// sealed.
struct Session {
    connection: ServerConnection,
    client: TcpStream,
}

impl Session {
    /// Sends the records that wait.
    fn send(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.client)?;
        }
        Ok(())
    }

    /// Takes encrypted bytes, answers them, and returns the decrypted data.
    fn open(&mut self, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes)?;
            let opened = self.connection.process_new_packets();
            // After an error, this is the alert.
            self.send()?;
            let opened = opened.map_err(io::Error::other)?;
            let start = text.len();
            text.resize(start + opened.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut text[start..])?;
        }
        Ok(text)
    }
}

fn locked(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().expect("no holder panics")
}

/// The error of TLS, or of a socket.
fn to_server(
    session: &Mutex<Session>,
    mut client: &TcpStream,
    mut server: &TcpStream,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let text = locked(session).open(&buffer[..count])?;
        server.write_all(&text)?;
    }
}

fn to_client(session: &Mutex<Session>, mut server: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = server.read(&mut buffer)?;
        let mut session = locked(session);
        if count == 0 {
            session.connection.send_close_notify();
            return session.send();
        }
        session.connection.writer().write_all(&buffer[..count])?;
        session.send()?;
    }
}
