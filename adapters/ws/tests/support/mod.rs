//! Both ends behind one face, and the tables' notation.
#![allow(dead_code)] // each test program uses a part of it
use bytes::BytesMut;
use mqtt_ws::{Client, ClientConfig, CloseCode, Closed, Error, Limits, Server, ServerConfig, Stage};
use std::sync::Arc;

pub const SEED: [u8; 32] = [9; 32];

/// A server or a client.
pub enum End {
    Server(Server),
    Client(Client),
}

macro_rules! both {
    ($self:expr, $end:ident => $call:expr) => {
        match $self {
            End::Server($end) => $call,
            End::Client($end) => $call,
        }
    };
}

impl End {
    pub fn handle_input(&mut self, input: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        both!(self, end => end.handle_input(input, plain))
    }

    pub fn write(&mut self, chunks: &[&[u8]]) -> usize {
        both!(self, end => end.write(chunks))
    }

    pub fn transmit(&self) -> &[u8] {
        both!(self, end => end.transmit())
    }

    pub fn transmitted(&mut self, bytes: usize) {
        both!(self, end => end.transmitted(bytes));
    }

    pub fn close(&mut self, code: CloseCode, reason: &str) {
        both!(self, end => end.close(code, reason));
    }

    pub fn stage(&self) -> Stage {
        both!(self, end => end.stage())
    }

    pub fn closed(&self) -> Option<&Closed> {
        both!(self, end => end.closed())
    }

    /// Takes what is to go out.
    pub fn take(&mut self) -> Vec<u8> {
        let bytes = self.transmit().to_vec();
        self.transmitted(bytes.len());
        bytes
    }
}

/// A server and a client after their handshake.
pub fn open(max_message: u64) -> (Server, Client) {
    let limits = Limits { max_message };
    let mut server = Server::new(Arc::new(ServerConfig { limits, ..ServerConfig::default() }));
    let config = ClientConfig { limits, ..ClientConfig::new("broker.example", "/mqtt") };
    let mut client = Client::new(&config, SEED).unwrap();
    let mut nothing = BytesMut::new();
    server.handle_input(client.transmit(), &mut nothing).unwrap();
    client.transmitted(client.transmit().len());
    client.handle_input(server.transmit(), &mut nothing).unwrap();
    server.transmitted(server.transmit().len());
    assert_eq!((server.stage(), client.stage(), nothing.len()), (Stage::Open, Stage::Open, 0));
    (server, client)
}

/// Bytes in the tables' notation.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('\'') {
            let (literal, tail) = tail.split_once('\'').expect("a text has an end");
            out.extend_from_slice(literal.as_bytes());
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let (masked, tail) = tail.split_once('}').expect("a mask has an end");
            let (key, payload) = masked.split_at(8);
            let (key, payload) = (bytes(key), bytes(payload));
            out.extend_from_slice(&key);
            out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            rest = tail;
        } else {
            let (word, tail) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
            let (hex, times) = word.split_once('*').unwrap_or((word, "1"));
            let part: Vec<u8> =
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            (0..times.parse().unwrap()).for_each(|_| out.extend_from_slice(&part));
            rest = tail;
        }
        rest = rest.trim_start();
    }
    out
}

/// What masked frames are without their masks; a frame that is not masked makes it panic.
pub fn unmask(mut frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !frames.is_empty() {
        assert!(frames[1] & 0x80 != 0, "a frame that is not masked");
        let (field, length) = match frames[1] & 0x7F {
            126 => (2, usize::from(u16::from_be_bytes([frames[2], frames[3]]))),
            127 => (8, usize::try_from(u64::from_be_bytes(frames[2..10].try_into().unwrap())).unwrap()),
            short => (0, usize::from(short)),
        };
        out.extend_from_slice(&[frames[0], frames[1] & 0x7F]);
        out.extend_from_slice(&frames[2..2 + field]);
        let (key, payload) = frames[2 + field..].split_at(4);
        out.extend(payload[..length].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frames = &payload[length..];
    }
    out
}
