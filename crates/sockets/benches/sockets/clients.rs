//! The clients, in a process of their own, so that the processor time of the server's process is
//! the server's alone.
//!
//! The benchmark writes commands to its standard input, a line each, and gets an answer for each on
//! its standard output.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::hostile;
use crate::wire::{Wire, find};

/// How many clients connect at the same time.
const AT_ONCE: usize = 64;

/// What clients of a server send after the upgrade, and what they get before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The first message says that they have joined.
    Channel,
    /// Engine.IO, and Socket.IO in it.
    SocketIo,
}

/// What the members of a group have received.
#[derive(Debug, Default)]
struct Seen {
    /// The number of messages of each member.
    counts: Mutex<Vec<Arc<AtomicU64>>>,
    /// How long each took from the broadcast, in nanoseconds.
    latencies: Mutex<Vec<u64>>,
    /// How many connections have ended.
    ended: AtomicU64,
}

#[derive(Debug, Default)]
struct Group {
    seen: Arc<Seen>,
    readers: Vec<JoinHandle<()>>,
    /// Connections that nobody reads.
    idle: Vec<Wire>,
}

/// Runs until the standard input ends.
pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (sender, mut commands) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(async {
        let mut groups = HashMap::new();
        while let Some(line) = commands.recv().await {
            let words: Vec<&str> = line.split(' ').collect();
            match act(&mut groups, &words).await {
                Ok(answer) => println!("{answer}"),
                Err(error) => println!("failed: {line}: {error}"),
            }
        }
    });
}

async fn act(groups: &mut HashMap<String, Group>, words: &[&str]) -> io::Result<String> {
    let number = |at: usize| -> io::Result<u64> {
        let word = words.get(at).copied().unwrap_or_default();
        word.parse().map_err(io::Error::other)
    };
    let address =
        |at: usize| -> io::Result<SocketAddr> { words[at].parse().map_err(io::Error::other) };
    let name = words.get(1).copied().unwrap_or_default();
    match words[0] {
        "join" => {
            let dialect = match words[2] {
                "socketio" => Dialect::SocketIo,
                _ => Dialect::Channel,
            };
            let wires = open(number(3)?, address(4)?, words[5], dialect).await?;
            let group = groups.entry(name.to_owned()).or_default();
            for wire in wires {
                group.read(wire, dialect);
            }
            Ok("joined".to_owned())
        }
        "hold" => {
            let wires = open(number(2)?, address(3)?, words[4], Dialect::Channel).await?;
            groups
                .entry(name.to_owned())
                .or_default()
                .idle
                .extend(wires);
            Ok("held".to_owned())
        }
        "stall" => {
            // So little that the server notices soon.
            let wire = Wire::open(address(2)?, words[3], [127, 0, 0, 1], Some(4096)).await?;
            groups.entry(name.to_owned()).or_default().idle.push(wire);
            Ok("stalled".to_owned())
        }
        "messages" => {
            let each = number(2)?;
            let group = groups.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(format!("messages {}", group.messages(each).await))
        }
        "latency" => {
            let group = groups.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(group.latency())
        }
        "ended" => {
            let group = groups.get(name).ok_or(io::ErrorKind::NotFound)?;
            // ORDERING: only the number is read.
            Ok(group.seen.ended.load(Ordering::Relaxed).to_string())
        }
        "echo" => {
            let group = groups.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
            let took = group
                .echo(number(2)?, words[3..].join(" ").as_bytes())
                .await?;
            Ok(took.as_nanos().to_string())
        }
        "churn" => churn(number(1)?, address(2)?, words[3]).await,
        "hostile" => hostile::attack(name, number(2)?, address(3)?, words[4]).await,
        "leave" => {
            groups.remove(name);
            Ok("left".to_owned())
        }
        other => Err(io::Error::other(format!("unknown command {other}"))),
    }
}

impl Group {
    fn read(&mut self, mut wire: Wire, dialect: Dialect) {
        let seen = Arc::clone(&self.seen);
        let count = Arc::new(AtomicU64::new(0));
        seen.counts.lock().unwrap().push(Arc::clone(&count));
        self.readers.push(tokio::spawn(async move {
            loop {
                let sent = match wire.text().await {
                    // A ping of Engine.IO.
                    Ok(b"2") if dialect == Dialect::SocketIo => {
                        if wire.send(1, b"3").await.is_err() {
                            break;
                        }
                        continue;
                    }
                    Ok(text) => sent(text),
                    Err(_) => break,
                };
                if let Some(sent) = sent {
                    seen.latencies
                        .lock()
                        .unwrap()
                        .push(now().saturating_sub(sent));
                }
                // ORDERING: only the number is read.
                count.fetch_add(1, Ordering::Relaxed);
            }
            seen.ended.fetch_add(1, Ordering::Relaxed);
        }));
    }

    /// Waits until each member has so many messages, as long as any arrive, and returns the fewest
    /// and the most.
    async fn messages(&self, each: u64) -> String {
        let counts: Vec<_> = self.seen.counts.lock().unwrap().clone();
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            // ORDERING: only the numbers are read.
            let numbers = counts.iter().map(|count| count.load(Ordering::Relaxed));
            let (least, most, sum) = numbers.fold((u64::MAX, 0, 0), |(least, most, sum), count| {
                (count.min(least), count.max(most), sum + count)
            });
            if sum != last {
                (last, moved) = (sum, Instant::now());
            }
            if least >= each || moved.elapsed() > Duration::from_secs(10) {
                return format!("{least} {most}");
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    /// The number of messages since the last call, and the median, the 99th percentile and the
    /// longest of their times in µs.
    fn latency(&self) -> String {
        let mut latencies = std::mem::take(&mut *self.seen.latencies.lock().unwrap());
        latencies.sort_unstable();
        let at = |part: f64| {
            let index = (latencies.len().saturating_sub(1) as f64 * part) as usize;
            latencies
                .get(index)
                .map_or(0.0, |nanos| *nanos as f64 / 1e3)
        };
        format!("{} {} {} {}", latencies.len(), at(0.5), at(0.99), at(1.0))
    }

    /// Each member sends the text and waits for what comes back, so many times.
    async fn echo(&mut self, each: u64, text: &[u8]) -> io::Result<Duration> {
        let frame: Arc<[u8]> = crate::wire::frame(1, text).into();
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut wire in self.idle.drain(..) {
            let frame = Arc::clone(&frame);
            tasks.spawn(async move {
                for _ in 0..each {
                    wire.raw(&frame).await?;
                    wire.text().await?;
                }
                io::Result::Ok(wire)
            });
        }
        while let Some(wire) = tasks.join_next().await {
            self.idle.push(wire.expect("no panic")?);
        }
        Ok(started.elapsed())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

/// Opens so many connections, and waits until each has joined.
async fn open(
    count: u64,
    address: SocketAddr,
    path: &str,
    dialect: Dialect,
) -> io::Result<Vec<Wire>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (places, path) = (Arc::clone(&places), path.to_owned());
        tasks.spawn(async move {
            let _place = places.acquire().await.expect("it stays open");
            join(address, &path, number, dialect).await
        });
    }
    let mut wires = Vec::new();
    while let Some(wire) = tasks.join_next().await {
        wires.push(wire.expect("no panic")?);
    }
    Ok(wires)
}

async fn join(address: SocketAddr, path: &str, number: u64, dialect: Dialect) -> io::Result<Wire> {
    // An address has 28,000 ports for connections to one server, and those of ended connections
    // stay taken for a minute.
    let from = [127, 0, 0, 1 + (number % 16) as u8];
    let mut wire = Wire::open(address, path, from, None).await?;
    // `join.success`, or the greeting of Engine.IO.
    wire.text().await?;
    if dialect == Dialect::SocketIo {
        wire.send(1, b"40").await?;
        // Its first ping can come before it.
        while wire.text().await? == b"2" {
            wire.send(1, b"3").await?;
        }
    }
    Ok(wire)
}

/// Clients that join and go at once, as many as can in so many milliseconds.
async fn churn(millis: u64, address: SocketAddr, path: &str) -> io::Result<String> {
    let until = Instant::now() + Duration::from_millis(millis);
    let mut tasks = JoinSet::new();
    for lane in 0..16 {
        let path = path.to_owned();
        tasks.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                let mut wire = join(address, &path, lane, Dialect::Channel).await?;
                // Some say goodbye, and some just go.
                if count.is_multiple_of(2) {
                    wire.send(8, &1000_u16.to_be_bytes()).await?;
                }
                count += 1;
            }
            io::Result::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(lane) = tasks.join_next().await {
        count += lane.expect("no panic")?;
    }
    Ok(count.to_string())
}

/// When the message was broadcast, if it says so, in nanoseconds since 1970.
fn sent(text: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"\"sent\":";
    let at = find(&text[..text.len().min(512)], KEY)? + KEY.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The time in nanoseconds since 1970, which both processes have alike.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64
}
