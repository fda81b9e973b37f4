//! A listener of the server's own.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower_service::Service;

use super::Server;
use super::core::Core;
use super::event::ServerEvent;
use super::http_stream::HttpStream;
use super::open_http::OpenHttp;
use super::slots::{Slots, network_of};

/// Hyper does not accept less for the head of a request.
const LEAST_HEAD: usize = 8 * 1024;

/// The wait after an accept that failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a response may take that says that the deadline of a shutdown has come.
const LAST_WORDS: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    server: &Server,
    listener: TcpListener,
    router: Router,
) -> io::Result<()> {
    // An error of this call is one of the listener itself.
    listener.local_addr()?;
    let core = &server.core;
    let places = Arc::new(Mutex::new(Slots::default()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = core.closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let error = error.to_string().into();
                core.observers.tell(|| ServerEvent::AcceptFailed(error));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Place::take(&places, server, address.ip()) else {
            core.counters.refused.add(1);
            let address = address.ip();
            core.observers.tell(|| ServerEvent::NotAccepted { address });
            continue;
        };
        // Without it a small message can wait for the acknowledgement of the one before it.
        let _ = stream.set_nodelay(true);
        let stream = HttpStream::new(stream, core.settings.limits.write_time);
        let (router, http) = (router.clone(), http(server));
        let open = OpenHttp::new(core);
        let core = Arc::clone(core);
        connections.spawn(async move {
            connection(&core, http, stream, address, router, open).await;
            drop(place);
        });
    }
    drop(listener);
    core.emptied().await;
    // Those that are left have been told to end, and are cut at the deadline of the shutdown.
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// The place of a connection from its accept until it is a WebSocket. It is given back when
/// dropped.
struct Place {
    places: Arc<Mutex<Slots>>,
    address: Option<IpAddr>,
}

impl Place {
    fn take(places: &Arc<Mutex<Slots>>, server: &Server, peer: IpAddr) -> Option<Self> {
        let settings = &server.core.settings;
        // The connections of a proxy are those of many clients.
        let is_client = !settings.proxies.trust(peer.to_canonical());
        let address = is_client.then(|| network_of(peer));
        let limits = &settings.limits;
        let (most, most_of_address) = (limits.handshakes, limits.connections_per_address);
        let taken = places.lock().take(address, most, most_of_address);
        taken.is_ok().then(|| Self {
            places: Arc::clone(places),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().give_back(self.address);
    }
}

fn http(server: &Server) -> http1::Builder {
    let limits = &server.core.settings.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_time)
        .max_headers(limits.header_count)
        .max_buf_size(limits.header_size.max(LEAST_HEAD));
    builder
}

async fn connection(
    core: &Core,
    http: http1::Builder,
    stream: HttpStream,
    address: SocketAddr,
    router: Router,
    open: Arc<OpenHttp>,
) {
    let asking = Arc::clone(&open);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asking.ask();
        let mut router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        request.extensions_mut().insert(Arc::clone(&asking));
        async move {
            let response: Result<_, Infallible> = Service::call(&mut router, request).await;
            response
        }
    });
    let connection = http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let tell = |ended: hyper::Result<()>| {
        if let Err(error) = ended
            && let Some(reason) = unread(&error, open.has_asked())
        {
            core.tell_unread(address.ip(), reason);
        }
    };
    tokio::select! {
        ended = connection.as_mut() => return tell(ended),
        () = core.closing.cancelled() => {}
    }
    // A response that is under way goes out, and no other request is read.
    connection.as_mut().graceful_shutdown();
    let cut = async {
        core.killed.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        ended = connection => tell(ended),
        () = cut => {}
    }
}

/// Why a request could not be read. `None` if the client left, or rests after its last request, or
/// something else failed.
fn unread(error: &hyper::Error, has_asked: bool) -> Option<&'static str> {
    if error.is_timeout() {
        (!has_asked).then_some("its HTTP request took too long")
    } else if error.is_parse_too_large() {
        Some("the head of its HTTP request is too large")
    } else if error.is_parse() {
        Some("it sent no HTTP/1.1 request")
    } else {
        None
    }
}
