//! The client's end (RFC 6455 section 4.1).
//!
//! Invariant: nothing but the upgrade request is sent before the server has accepted it in full.
use crate::frames::{Frames, Role};
use crate::head::NoHead;
use crate::keys::Keys;
use crate::{CloseCode, Closed, ConfigError, Error, Limits, MQTT, MQTT_3_1, Stage, head};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::{Buf, BytesMut};
use core::fmt::Write as _;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// `Host`: the server's name, with its port if that is not the scheme's own.
    pub host: String,
    /// Path and query. Most brokers serve `/mqtt`, or `/`.
    pub target: String,
    /// Asks for `mqttv3.1` instead of `mqtt`, for servers that know MQTT 3.1 alone. Default: `false`.
    pub mqtt_3_1: bool,
    /// Further header fields, `Authorization` or `Cookie`, say. Default: none.
    pub fields: Vec<(String, String)>,
    /// Bytes of the server's answer, after which it is refused. Default: 8 KiB.
    pub max_head: usize,
    /// Limits of frames.
    pub limits: Limits,
}

impl ClientConfig {
    /// The usual, for this host and this path.
    pub fn new(host: &str, target: &str) -> Self {
        Self {
            host: host.to_string(),
            target: target.to_string(),
            mqtt_3_1: false,
            fields: Vec::new(),
            max_head: 8 * 1024,
            limits: Limits::default(),
        }
    }
}

/// The client's end of one connection.
pub struct Client {
    state: State,
}

enum State {
    Handshake(alloc::boxed::Box<Handshake>),
    Refused,
    Open(Frames),
}

struct Handshake {
    request: BytesMut,
    head: Vec<u8>,
    accept: String,
    protocol: &'static str,
    max_head: usize,
    limits: Limits,
    keys: Keys,
}

impl Client {
    /// A new connection, whose first output is the upgrade request. The seed decides the keys that frames are masked with
    /// (section 10.3): take it from a good source of randomness, anew for each connection.
    ///
    /// # Errors
    /// Something of the configuration would break the request.
    pub fn new(config: &ClientConfig, seed: [u8; 32]) -> Result<Self, ConfigError> {
        check(config)?;
        let mut keys = Keys::new(seed);
        let key = head::key(keys.nonce());
        let ClientConfig { host, target, mqtt_3_1, fields, max_head, limits } = config;
        let protocol = if *mqtt_3_1 { MQTT_3_1 } else { MQTT };
        // [MQTT-6.0.0-3]
        let mut request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n"
        );
        for (name, value) in fields {
            let _ = write!(request, "{name}: {value}\r\n"); // writing to a String cannot fail
        }
        request.push_str("\r\n");
        Ok(Self {
            state: State::Handshake(alloc::boxed::Box::new(Handshake {
                request: BytesMut::from(request.as_bytes()),
                head: Vec::new(),
                accept: head::accept(key.as_bytes()),
                protocol,
                max_head: *max_head,
                limits: *limits,
                keys,
            })),
        })
    }

    /// Takes what the network brought, all of it, and appends the MQTT bytes in it to `plain`: never more than came.
    ///
    /// # Errors
    /// The peer broke the protocol or refused. [`Client::transmit`] holds the last that it is owed; what came before is in
    /// `plain`.
    pub fn handle_input(&mut self, mut input: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        if let State::Handshake(handshake) = &mut self.state {
            let checked = match head::gather(&mut handshake.head, &mut input, handshake.max_head) {
                Ok(false) => return Ok(()),
                Ok(true) => handshake.check(),
                Err(NoHead::TooLong) => {
                    Err(Error::Response { status: None, why: "its answer is longer than the limit" })
                }
                Err(NoHead::NotText) => Err(Error::Response { status: None, why: "this is no HTTP answer" }),
            };
            match (checked, core::mem::replace(&mut self.state, State::Refused)) {
                (Ok(()), State::Handshake(handshake)) => {
                    let Handshake { request, limits, keys, .. } = *handshake;
                    self.state = State::Open(Frames::new(Role::Client, limits, Some(keys), request));
                }
                (checked, _) => return checked,
            }
        }
        match &mut self.state {
            State::Open(frames) => frames.handle_input(input, plain),
            _ => Ok(()),
        }
    }

    /// Makes a frame of MQTT bytes; returns how many it took: what there is room for, 0 before the upgrade and after the end.
    pub fn write(&mut self, chunks: &[&[u8]]) -> usize {
        match &mut self.state {
            State::Open(frames) => frames.write(chunks),
            _ => 0,
        }
    }

    /// Bytes that [`Client::write`] would take now, at most [`MAX_PENDING`](crate::MAX_PENDING).
    pub fn room(&self) -> usize {
        match &self.state {
            State::Open(frames) => frames.room(),
            _ => 0,
        }
    }

    /// What has to go to the network.
    pub fn transmit(&self) -> &[u8] {
        match &self.state {
            State::Handshake(handshake) => &handshake.request,
            State::Refused => &[],
            State::Open(frames) => frames.transmit(),
        }
    }

    /// The network took this many bytes of [`Client::transmit`].
    pub fn transmitted(&mut self, bytes: usize) {
        match &mut self.state {
            State::Handshake(handshake) => handshake.request.advance(bytes.min(handshake.request.len())),
            State::Refused => {}
            State::Open(frames) => frames.transmitted(bytes),
        }
    }

    /// Says good-bye: a Close frame (`reason`: at most 123 bytes of it are sent). Nothing can be written afterwards.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        if let State::Open(frames) = &mut self.state {
            frames.close(code, reason);
        }
    }

    /// Sends a ping with at most 125 bytes, unless output is waiting beyond the limit.
    pub fn ping(&mut self, payload: &[u8]) {
        if let State::Open(frames) = &mut self.state {
            frames.ping(payload);
        }
    }

    /// Where the connection stands.
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Handshake(_) => Stage::Handshake,
            State::Refused => Stage::Closed,
            State::Open(frames) => frames.stage(),
        }
    }

    /// What the peer's Close frame said, once it has come.
    pub fn closed(&self) -> Option<&Closed> {
        match &self.state {
            State::Open(frames) => frames.closed(),
            _ => None,
        }
    }
}

impl Handshake {
    /// Checks the server's answer (section 4.1, the list of what a client must validate).
    fn check(&self) -> Result<(), Error> {
        let mut fields = [httparse::EMPTY_HEADER; head::MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&self.head);
        let (status, version) = (response.code, response.version);
        let fail = |why| Err(Error::Response { status, why });
        if !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == self.head.len()) {
            return fail("this is no HTTP answer");
        }
        match status {
            Some(101) => {}
            Some(301 | 302 | 303 | 307 | 308) => return fail("it sends elsewhere, which is not followed"),
            Some(401 | 403) => return fail("it wants other credentials"),
            Some(404) => return fail("nothing is there at this path"),
            _ => return fail("it did not switch protocols"),
        }
        let fields = &*response.headers;
        if version != Some(1) || !head::is_clean(&self.head) {
            return fail("this is no HTTP/1.1 answer");
        }
        if !head::has(fields, "Upgrade", "websocket") || !head::has(fields, "Connection", "upgrade") {
            return fail("it switched to something else");
        }
        if head::single(fields, "Sec-WebSocket-Accept") != Ok(self.accept.as_bytes()) {
            return fail("Sec-WebSocket-Accept is not the answer to our key");
        }
        if head::list(fields, "Sec-WebSocket-Extensions").next().is_some() {
            return fail("it chose an extension that was not offered");
        }
        // [MQTT-6.0.0-4]
        if head::single(fields, "Sec-WebSocket-Protocol") != Ok(self.protocol.as_bytes()) {
            return fail("it does not speak the subprotocol mqtt");
        }
        Ok(())
    }
}

/// Whether the request can be made of this.
fn check(config: &ClientConfig) -> Result<(), ConfigError> {
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let value = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let token = |text: &str| {
        let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    if !visible(&config.host) {
        return Err(ConfigError { what: "the host name" });
    }
    if !visible(&config.target) || !config.target.starts_with('/') {
        return Err(ConfigError { what: "the path, which begins with `/`," });
    }
    if config.fields.iter().any(|(name, text)| !token(name) || !value(text)) {
        return Err(ConfigError { what: "a header field" });
    }
    Ok(())
}
