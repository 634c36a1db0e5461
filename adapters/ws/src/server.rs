//! The server's end (RFC 6455 section 4.2).
//!
//! Invariant: exactly one HTTP answer is given, and nothing follows one that refuses.
use crate::frames::{Frames, Role};
use crate::head::NoHead;
use crate::{CloseCode, Closed, Error, Limits, MQTT, MQTT_3_1, Stage, head};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};
use bytes::{Buf, BytesMut};

/// What a server accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Paths that are served; a query behind them is ignored. Others are answered with 404. Default: `/mqtt` and `/`.
    pub paths: Vec<String>,
    /// Origins (`https://example.org`, with a port if it is not the scheme's own) whose pages may connect; compared without
    /// regard to case. Clients that are no browsers send none, and are not held back by this. `None`, the default: any.
    pub origins: Option<Vec<String>>,
    /// Bytes of the upgrade request, after which it is refused with 431. Default: 8 KiB.
    pub max_head: usize,
    /// Limits of frames.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let paths = vec!["/mqtt".to_string(), "/".to_string()];
        Self { paths, origins: None, max_head: 8 * 1024, limits: Limits::default() }
    }
}

/// The upgrade request that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query, as they were sent.
    pub target: String,
    /// `Host`, as it was sent.
    pub host: String,
    /// `Origin`: the page that connects, if a browser does.
    pub origin: Option<String>,
    /// The subprotocol that was chosen: `mqtt`, or `mqttv3.1` for clients that offer nothing else.
    pub protocol: &'static str,
}

/// The server's end of one connection.
pub struct Server {
    config: Arc<ServerConfig>,
    state: State,
}

enum State {
    Handshake { head: Vec<u8> },
    Refused { answer: BytesMut },
    Open { frames: Frames, request: alloc::boxed::Box<Request> },
}

/// A status and the reason for it.
type Refusal = (u16, &'static str);

impl Server {
    /// A connection on which nothing has come yet.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self { config, state: State::Handshake { head: Vec::new() } }
    }

    /// Takes what the network brought, all of it, and appends the MQTT bytes in it to `plain`: never more than came.
    ///
    /// # Errors
    /// The peer broke the protocol. [`Server::transmit`] holds the last that it is owed; what came before is in `plain`.
    pub fn handle_input(&mut self, mut input: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        if let State::Handshake { head } = &mut self.state {
            let answer = match head::gather(head, &mut input, self.config.max_head) {
                Ok(false) => return Ok(()),
                Ok(true) => answer(head, &self.config),
                Err(NoHead::TooLong) => Err((431, "the request is longer than the limit")),
                Err(NoHead::NotText) => Err((400, "this is no HTTP request")),
            };
            match answer {
                Ok((answer, request)) => {
                    let frames = Frames::new(Role::Server, self.config.limits, None, answer);
                    self.state = State::Open { frames, request: request.into() };
                }
                Err((status, why)) => {
                    self.state = State::Refused { answer: refusal(status, why) };
                    return Err(Error::Request { status, why });
                }
            }
        }
        match &mut self.state {
            State::Open { frames, .. } => frames.handle_input(input, plain),
            _ => Ok(()),
        }
    }

    /// Makes a frame of MQTT bytes; returns how many it took: what there is room for, 0 before the upgrade and after the end.
    pub fn write(&mut self, chunks: &[&[u8]]) -> usize {
        match &mut self.state {
            State::Open { frames, .. } => frames.write(chunks),
            _ => 0,
        }
    }

    /// Bytes that [`Server::write`] would take now, at most [`MAX_PENDING`](crate::MAX_PENDING).
    pub fn room(&self) -> usize {
        match &self.state {
            State::Open { frames, .. } => frames.room(),
            _ => 0,
        }
    }

    /// What has to go to the network.
    pub fn transmit(&self) -> &[u8] {
        match &self.state {
            State::Handshake { .. } => &[],
            State::Refused { answer } => answer,
            State::Open { frames, .. } => frames.transmit(),
        }
    }

    /// The network took this many bytes of [`Server::transmit`].
    pub fn transmitted(&mut self, bytes: usize) {
        match &mut self.state {
            State::Handshake { .. } => {}
            State::Refused { answer } => answer.advance(bytes.min(answer.len())),
            State::Open { frames, .. } => frames.transmitted(bytes),
        }
    }

    /// Says good-bye: a Close frame (`reason`: at most 123 bytes of it are sent). Nothing can be written afterwards.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if let State::Open { frames, .. } = &mut self.state {
            frames.close(code, reason);
        }
    }

    /// Sends a ping with at most 125 bytes, unless output is waiting beyond the limit.
    pub fn ping(&mut self, payload: &[u8]) {
        if let State::Open { frames, .. } = &mut self.state {
            frames.ping(payload);
        }
    }

    /// Where the connection stands.
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Handshake { .. } => Stage::Handshake,
            State::Refused { .. } => Stage::Closed,
            State::Open { frames, .. } => frames.stage(),
        }
    }

    /// The request that was accepted.
    pub fn request(&self) -> Option<&Request> {
        match &self.state {
            State::Open { request, .. } => Some(request),
            _ => None,
        }
    }

    /// What the peer's Close frame said, once it has come.
    pub fn closed(&self) -> Option<&Closed> {
        match &self.state {
            State::Open { frames, .. } => frames.closed(),
            _ => None,
        }
    }
}

/// Reads the request, and writes the answer that accepts it.
fn answer(head: &[u8], config: &ServerConfig) -> Result<(BytesMut, Request), Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; head::MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(head);
    if matches!(parsed, Err(httparse::Error::TooManyHeaders)) {
        return Err((431, "more header fields than 64"));
    }
    if !head::is_clean(head) || !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == head.len()) {
        return Err((400, "this is no HTTP request"));
    }
    let (method, target, version) = (request.method, request.path, request.version);
    let fields = &*request.headers;
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return Err((400, "this is no HTTP request"));
    };
    if version != 1 {
        return Err((505, "HTTP/1.1 is needed"));
    }
    let host = match head::single(fields, "Host") {
        Ok(host) => core::str::from_utf8(host).map_err(|_| (400, "Host is not readable"))?,
        Err(_) => return Err((400, "Host has to be there once")),
    };
    let path = target.split('?').next().unwrap_or_default();
    if !config.paths.iter().any(|served| served == path) {
        return Err((404, "nothing is served at this path"));
    }
    if method != "GET" {
        return Err((405, "only GET can be upgraded"));
    }
    let has_body = fields.iter().any(|field| {
        field.name.eq_ignore_ascii_case("Transfer-Encoding")
            || field.name.eq_ignore_ascii_case("Content-Length") && field.value != b"0"
    });
    if has_body {
        return Err((400, "an upgrade request has no body"));
    }
    if !head::has(fields, "Upgrade", "websocket") || !head::has(fields, "Connection", "upgrade") {
        return Err((426, "MQTT is served over WebSocket here"));
    }
    if head::single(fields, "Sec-WebSocket-Version") != Ok(b"13") {
        return Err((426, "Sec-WebSocket-Version has to be 13"));
    }
    let key = head::single(fields, "Sec-WebSocket-Key").ok().filter(|key| head::is_key(key));
    let key = key.ok_or((400, "Sec-WebSocket-Key has to be there once, 16 bytes in base64"))?;
    let origin = check_origin(fields, config.origins.as_deref())?;
    // [MQTT-6.0.0-3]: the client offers `mqtt`. Those of MQTT 3.1 may know `mqttv3.1` alone. Names are compared exactly.
    let protocol = [MQTT, MQTT_3_1]
        .into_iter()
        .find(|ours| head::list(fields, "Sec-WebSocket-Protocol").any(|offer| offer == ours.as_bytes()))
        .ok_or((400, "Sec-WebSocket-Protocol has to offer mqtt"))?;

    // [MQTT-6.0.0-4]: the chosen name is answered. Extensions are not: none is agreed on.
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
        head::accept(key)
    );
    let request = Request { target: target.into(), host: host.into(), origin, protocol };
    Ok((BytesMut::from(answer.as_bytes()), request))
}

fn check_origin(fields: &[httparse::Header<'_>], allowed: Option<&[String]>) -> Result<Option<String>, Refusal> {
    let origin = match head::single(fields, "Origin") {
        Err(false) => return Ok(None),
        Err(true) => return Err((400, "more than one Origin")),
        Ok(origin) => core::str::from_utf8(origin).map_err(|_| (400, "Origin is not readable"))?,
    };
    match allowed {
        Some(allowed) if !allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)) => {
            Err((403, "pages of this origin may not connect"))
        }
        _ => Ok(Some(origin.into())),
    }
}

fn refusal(status: u16, why: &str) -> BytesMut {
    let (name, more) = match status {
        400 => ("Bad Request", ""),
        403 => ("Forbidden", ""),
        404 => ("Not Found", ""),
        405 => ("Method Not Allowed", "Allow: GET\r\n"),
        426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        431 => ("Request Header Fields Too Large", ""),
        _ => ("HTTP Version Not Supported", ""),
    };
    let connection = if status == 426 { "Upgrade, close" } else { "close" };
    let length = why.len() + 1;
    let text = format!(
        "HTTP/1.1 {status} {name}\r\nConnection: {connection}\r\n{more}Content-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{why}\n"
    );
    BytesMut::from(text.as_bytes())
}
