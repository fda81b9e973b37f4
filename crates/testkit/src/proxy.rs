//! A TCP proxy between a client and its server, which imitates the faults of networks.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use fanfeed_broker::conformance::{Line, Way};

/// A proxy on a free port of the loopback interface. On drop it closes every connection and its
/// port.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: OnceLock<SocketAddr>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// New connections are closed at once.
    refuses: bool,
    /// Nothing passes; connections stay open.
    stalls: bool,
    delay: Duration,
    ended: bool,
    accepted: usize,
    to_server: u64,
    to_client: u64,
    open: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    number: usize,
    client: TcpStream,
    server: TcpStream,
    pumps: usize,
}

impl Connection {
    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Proxy {
    /// Starts a proxy that forwards all data to `target`.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub fn start(target: SocketAddr) -> Self {
        let proxy = Self::without_target();
        proxy.aim(target);
        proxy
    }

    /// Starts a proxy without a target. It closes each connection until it has a target.
    ///
    /// # Panics
    /// If the loopback has no free port.
    pub fn without_target() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.accept(&listener))
        };
        Proxy {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Forwards later connections to `target`. A proxy has at most one target.
    pub fn aim(&self, target: SocketAddr) {
        let _ = self.shared.target.set(target);
    }

    /// The address to which clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// How many bytes passed in this direction.
    pub fn passed(&self, way: Way) -> u64 {
        let state = self.shared.lock();
        match way {
            Way::ToServer => state.to_server,
            Way::ToBroker => state.to_client,
        }
    }
}

impl Line for Proxy {
    fn cut(&self) {
        for connection in &self.shared.lock().open {
            connection.cut();
        }
    }

    fn half_close(&self, way: Way) {
        for connection in &self.shared.lock().open {
            let (from, to) = match way {
                Way::ToServer => (&connection.client, &connection.server),
                Way::ToBroker => (&connection.server, &connection.client),
            };
            let _ = from.shutdown(Shutdown::Read);
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    fn delay(&self, delay: Duration) {
        self.shared.set(|state| state.delay = delay);
    }

    fn stall(&self, stalls: bool) {
        self.shared.set(|state| state.stalls = stalls);
    }

    fn refuse(&self, refuses: bool) {
        self.shared.set(|state| state.refuses = refuses);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set(|state| {
            state.ended = true;
            for connection in &state.open {
                connection.cut();
            }
        });
        // Wakes the acceptor, which then sees the end.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let mut state = self.lock();
            if state.ended {
                return;
            }
            let Ok(client) = client else { continue };
            state.accepted += 1;
            if state.refuses {
                continue;
            }
            let number = state.accepted;
            drop(state);
            // The server is away. The client's connection is closed, as by a host that restarts.
            let server = self.target.get().map(TcpStream::connect);
            let Some(Ok(server)) = server else {
                continue;
            };
            self.join(number, client, server);
        }
    }

    fn join(self: &Arc<Self>, number: usize, client: TcpStream, server: TcpStream) {
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let copy = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
        let pumps = [
            (copy(&client), copy(&server), Way::ToServer),
            (copy(&server), copy(&client), Way::ToBroker),
        ];
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.open.push(Connection {
            number,
            client,
            server,
            pumps: pumps.len(),
        });
        drop(state);
        for (from, to, way) in pumps {
            let shared = Arc::clone(self);
            thread::spawn(move || {
                shared.pump(from, to, way);
                shared.leave(number);
            });
        }
    }

    /// Forwards data until either end closes, and then closes this direction.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, way: Way) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !self.hold() || to.write_all(&buffer[..count]).is_err() {
                break;
            }
            let mut state = self.lock();
            let passed = match way {
                Way::ToServer => &mut state.to_server,
                Way::ToBroker => &mut state.to_client,
            };
            *passed += count as u64;
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits while the proxy stalls or delays. Returns false if the proxy has ended.
    fn hold(&self) -> bool {
        let came = Instant::now();
        let mut state = self.lock();
        loop {
            if state.ended {
                return false;
            }
            let rest = state.delay.saturating_sub(came.elapsed());
            if state.stalls {
                state = self.changed.wait(state).expect("no holder panics");
            } else if rest.is_zero() {
                return true;
            } else {
                let waited = self.changed.wait_timeout(state, rest);
                state = waited.expect("no holder panics").0;
            }
        }
    }

    /// Called when one direction of a connection has ended. After the second one, the connection is
    /// removed.
    fn leave(&self, number: usize) {
        self.set(|state| {
            for connection in &mut state.open {
                if connection.number == number {
                    connection.pumps -= 1;
                    if connection.pumps == 0 {
                        connection.cut();
                    }
                }
            }
            state.open.retain(|connection| connection.pumps > 0);
        });
    }
}
