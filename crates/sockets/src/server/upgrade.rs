//! From an HTTP request to a session.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Server;
use super::authorize::{JoinRequest, Refusal};
use super::channel::Channel;
use super::close::Close;
use super::core::{Core, NoSlot, Slot};
use super::history::Resume;
use super::http_stream::HttpStream;
use super::limits::Limits;
use super::member::Member;
use super::noted::Noted;
use super::open_http::OpenHttp;
use super::reach::Entrance;
use super::session::Session;
use super::socket::{Gone, Output, Socket, TcpSocket};
use crate::connection::{Connection, Identity};
use crate::middleware::{guard, within};
use crate::observe::Handshake;

/// Tungstenite takes 128 KiB for each by default.
const BUFFER: usize = 4 * 1024;

/// The parameter of the route that names the channel.
pub(super) const CHANNEL: &str = "channel";

pub(super) async fn upgrade(
    server: Server,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let core = Arc::clone(&server.core);
    let channel = params.iter().flatten().find(|(name, _)| *name == CHANNEL);
    let channel = channel.map_or("", |(_, channel)| channel);
    let peer: Option<&ConnectInfo<SocketAddr>> = request.extensions().get();
    let address = peer.map(|peer| {
        let proxies = &core.settings.proxies;
        proxies.client(peer.0.ip(), request.headers())
    });
    let handshake = Handshake::begin(channel, address);
    let prepared = handshake.inside(async {
        if params.is_err() {
            let text = "the path is not UTF-8 in percent-encoding";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        }
        prepare(server, channel, address, request).await
    });
    match prepared.await {
        Ok((response, upgrading)) => {
            tokio::spawn(upgrading.complete(handshake));
            response
        }
        Err(refusal) => {
            let status = refusal.status().as_u16();
            handshake.refused(status);
            core.tell_refused(address, channel, status, refusal.text());
            let is_upgrade_required = refusal.status() == StatusCode::UPGRADE_REQUIRED;
            let mut response = refusal.into_response();
            // A client that goes on to ask keeps no place for handshakes.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            if is_upgrade_required {
                let websocket = HeaderValue::from_static("websocket");
                response.headers_mut().insert(header::UPGRADE, websocket);
                let version = HeaderValue::from_static("13");
                let name = header::SEC_WEBSOCKET_VERSION;
                response.headers_mut().insert(name, version);
            }
            response
        }
    }
}

/// Looks at all that can be refused, the cheapest first.
async fn prepare(
    server: Server,
    channel: &str,
    address: Option<IpAddr>,
    mut request: Request,
) -> Result<(Response, Upgrading), Refusal> {
    let core = Arc::clone(&server.core);
    let limits = &core.settings.limits;
    check_channel(limits, channel)?;
    check_size(limits, request.headers())?;
    let accept = accept_key(request.method(), request.headers())?;
    if !core
        .settings
        .origins
        .allow(request.headers(), request.uri())
    {
        let text = "this origin may not connect: the server has to list it in allowed_origins";
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    let slot = core.reserve(address).map_err(no_slot)?;
    if let Some(open) = request.extensions().get::<Arc<OpenHttp>>() {
        open.has_slot();
    }
    core.check_room_for(channel).map_err(no_slot)?;
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let Some(on_upgrade) = on_upgrade else {
        let text = "this HTTP connection cannot be upgraded: serve the router over HTTP/1.1";
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text));
    };
    let join = JoinRequest {
        channel: channel.to_owned(),
        address,
        uri: std::mem::take(request.uri_mut()),
        headers: std::mem::take(request.headers_mut()),
    };
    let mut entrance = Entrance::default();
    if core.history().is_some() {
        entrance.resume = Resume::of(&join)?;
    }
    let identity = tokio::select! {
        identity = authorize(&core, join) => identity?,
        () = core.killed.cancelled() => return Err(no_slot(NoSlot::Closing)),
    };
    let connection = Connection::on_server(channel.into(), address, identity, server.unowned());
    let upgrading = Upgrading {
        core,
        slot,
        on_upgrade,
        connection,
        entrance,
    };
    Ok((switch(&accept), upgrading))
}

/// A connection whose handshake is answered.
struct Upgrading {
    core: Arc<Core>,
    slot: Slot,
    on_upgrade: OnUpgrade,
    connection: Connection,
    entrance: Entrance,
}

impl Upgrading {
    /// Waits until the answer is out, and runs the session.
    async fn complete(self, handshake: Handshake) {
        let Self {
            core,
            slot,
            on_upgrade,
            connection,
            entrance,
        } = self;
        let time = core.settings.limits.handshake_time;
        // Dropping it tells hyper, which closes the connection.
        let upgraded = tokio::select! {
            upgraded = tokio::time::timeout(time, on_upgrade) => upgraded,
            () = core.killed.cancelled() => return,
        };
        let Ok(Ok(upgraded)) = upgraded else {
            let status = StatusCode::REQUEST_TIMEOUT.as_u16();
            let reason = "the connection ended before its upgrade";
            handshake.lost();
            core.tell_refused(connection.address(), connection.channel(), status, reason);
            return;
        };
        let config = websocket_config(&core.settings.limits);
        let upgraded = match upgraded.downcast::<TokioIo<HttpStream>>() {
            Ok(parts) => Ok((parts.io.into_inner().into_inner(), parts.read_buf)),
            // A listener of axum's.
            Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
                Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
                Err(upgraded) => Err(upgraded),
            },
        };
        match upgraded {
            Ok((io, early)) => {
                let early = early.to_vec();
                let io = Noted::new(io);
                let socket =
                    WebSocketStream::from_partially_read(io, early, Role::Server, Some(config));
                let socket = TcpSocket::new(socket.await);
                run(core, slot, socket, connection, entrance, handshake).await;
            }
            // The application's own transport, such as TLS.
            Err(upgraded) => {
                let io = Noted::new(TokioIo::new(upgraded));
                let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config));
                run(core, slot, socket.await, connection, entrance, handshake).await;
            }
        }
    }
}

fn check_channel(limits: &Limits, channel: &str) -> Result<(), Refusal> {
    let limit = limits.channel_id_size;
    if channel.is_empty() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the channel id cannot be empty",
        ));
    }
    if channel.len() > limit {
        let text = format!("the channel id is longer than {limit} bytes");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

fn check_size(limits: &Limits, headers: &HeaderMap) -> Result<(), Refusal> {
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > limits.header_count || size > limits.header_size {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::new(status, "the request has too many headers"));
    }
    Ok(())
}

/// Checks that the request is a WebSocket handshake, and returns the answer to its key.
fn accept_key(method: &Method, headers: &HeaderMap) -> Result<String, Refusal> {
    let has_token = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).iter();
        let mut tokens = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
        tokens.any(|text| text.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    if method != Method::GET {
        let text = "a WebSocket handshake is a GET request";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    if !has_token(header::CONNECTION, "upgrade") || !has_token(header::UPGRADE, "websocket") {
        let text = "this is a WebSocket: connect with a WebSocket client";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, text));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version.as_bytes() != b"13")
    {
        let text = "the header Sec-WebSocket-Version has to be 13";
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, text));
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) => Ok(derive_accept_key(key.as_bytes())),
        None => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "the header Sec-WebSocket-Key is missing",
        )),
    }
}

fn no_slot(reason: NoSlot) -> Refusal {
    match reason {
        NoSlot::Closing => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down",
        ),
        NoSlot::Full => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server has too many connections or channels",
        ),
        NoSlot::Busy => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the hooks of channels are behind: try again later",
        ),
        NoSlot::Address => Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "there are too many connections from this address",
        ),
    }
}

async fn authorize(core: &Core, join: JoinRequest) -> Result<Identity, Refusal> {
    let Some(authorize) = &core.settings.authorize else {
        return Ok(Identity::anonymous());
    };
    let time = core.settings.limits.handshake_time;
    let channel = join.channel.clone();
    let outcome = match guard(|| authorize(join)) {
        Ok(authorized) => within(time, authorized).await,
        Err(panic) => Err(panic),
    };
    match outcome {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server took too long to authorize the request",
        )),
        Err(panic) => {
            core.tell_failed("authorize", &channel, &panic);
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server could not authorize the request",
            ))
        }
    }
}

fn switch(accept: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(accept).expect("base64 is ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

pub(super) fn websocket_config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(limits.message_size))
        .max_frame_size(Some(limits.message_size))
}

/// Runs the session of a connection that has a slot.
pub(super) async fn run<S: Socket>(
    core: Arc<Core>,
    slot: Slot,
    socket: S,
    connection: Connection,
    entrance: Entrance,
    handshake: Handshake,
) {
    *core.settings.runtime.lock() = Some(Handle::current());
    let counters = Arc::clone(&core.counters);
    let member = Arc::new(Member::new(connection, &core.settings.limits, counters));
    #[cfg(feature = "nodes")]
    let entrance = match core.nodes() {
        Some(nodes) => {
            let entering = nodes.enter(member.connection.shared_channel());
            let hold = Some(handshake.inside(entering).await);
            Entrance { hold, ..entrance }
        }
        None => entrance,
    };
    let hold = entrance.hold.clone();
    let joined = handshake.inside(async { admit(&core, &member, entrance) });
    match joined.await {
        Ok(channel) => {
            handshake.joined(member.connection.id());
            Session::new(core, channel, member, socket).await;
        }
        Err(close) => {
            handshake.refused(close.code);
            let channel = member.connection.channel();
            core.tell_refused(
                member.connection.address(),
                channel,
                close.code,
                close.reason,
            );
            refuse(&core, socket, close).await;
        }
    }
    drop(hold);
    drop(slot);
}

/// Asks the application how long the channel lives, and lets the member join.
fn admit(
    core: &Arc<Core>,
    member: &Arc<Member>,
    mut entrance: Entrance,
) -> Result<Arc<Channel>, Close> {
    // Called without the locks that `join` takes: it is the application's code.
    let lifetime = core.settings.lifetime.as_ref();
    let lifetime = lifetime.map(|lifetime| guard(|| lifetime(member.connection.channel())));
    match lifetime.transpose() {
        Ok(lifetime) => {
            entrance.lifetime = lifetime.flatten();
            core.join(member, entrance)
        }
        Err(panic) => {
            let channel = Arc::clone(member.connection.shared_channel());
            core.tell_failed("channel_lifetime_with", &channel, &panic);
            Err(Close::NO_LIFETIME)
        }
    }
}

/// Closes a connection that is a WebSocket already.
pub(super) async fn refuse<S: Socket>(core: &Core, mut socket: S, close: Close) {
    use std::future::poll_fn;
    let handshake = async {
        poll_fn(|cx| socket.poll_ready(cx)).await?;
        socket.start_send(Output::Close(close))?;
        poll_fn(|cx| socket.poll_flush(cx)).await?;
        while let Some(Ok(_)) = poll_fn(|cx| socket.poll_read(cx)).await {}
        Ok::<(), Gone>(())
    };
    // The peer may be gone, or may not answer. Either way the connection is dropped.
    tokio::select! {
        _ = tokio::time::timeout(core.settings.limits.close_time, handshake) => {}
        () = core.killed.cancelled() => {}
    }
}

/// Checks what `serve_socket` was given, as the handshake would have.
pub(super) fn check_late(core: &Arc<Core>, channel: &str) -> Result<Slot, Close> {
    check_channel(&core.settings.limits, channel).map_err(|_| Close::CHANNEL_ID)?;
    core.reserve(None).map_err(NoSlot::close)
}
