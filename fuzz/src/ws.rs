//! WebSocket: any bytes to either end, before and after the handshake, whole and in pieces; and any conversation of a pair.
use bytes::BytesMut;
use mqtt_ws::{Client, ClientConfig, Error, Limits, MAX_PENDING, Server, ServerConfig, Stage};
use std::sync::Arc;

/// The most that may wait to be sent.
const MOST: usize = MAX_PENDING + 400;

enum End {
    Server(Server),
    Client(Client),
}

impl End {
    fn handle_input(&mut self, input: &[u8], plain: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::Server(end) => end.handle_input(input, plain),
            Self::Client(end) => end.handle_input(input, plain),
        }
    }

    fn transmit(&self) -> &[u8] {
        match self {
            Self::Server(end) => end.transmit(),
            Self::Client(end) => end.transmit(),
        }
    }

    fn transmitted(&mut self, bytes: usize) {
        match self {
            Self::Server(end) => end.transmitted(bytes),
            Self::Client(end) => end.transmitted(bytes),
        }
    }

    fn write(&mut self, data: &[u8]) -> usize {
        match self {
            Self::Server(end) => end.write(&[data]),
            Self::Client(end) => end.write(&[data]),
        }
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Server(end) => end.stage(),
            Self::Client(end) => end.stage(),
        }
    }
}

/// The first byte says what the others are.
pub fn ws(data: &[u8]) {
    let Some((&what, rest)) = data.split_first() else { return };
    match what % 5 {
        0 => alone(rest, || fresh().1),
        1 => alone(rest, || fresh().0),
        2 => alone(rest, || open().1),
        3 => alone(rest, || open().0),
        _ => together(rest),
    }
}

/// Client and server that have not heard of each other.
fn fresh() -> (End, End) {
    let limits = Limits { max_message: 1 << 20 };
    let config =
        ServerConfig { limits, origins: Some(vec!["https://a.example".to_owned()]), ..ServerConfig::default() };
    let client = ClientConfig { limits, ..ClientConfig::new("a.example", "/mqtt") };
    let client = Client::new(&client, [5; 32]).expect("it makes a request");
    (End::Client(client), End::Server(Server::new(Arc::new(config))))
}

/// The same after their handshake.
fn open() -> (End, End) {
    let (mut client, mut server) = fresh();
    let mut plain = BytesMut::new();
    carry(&mut client, &mut server, usize::MAX, &mut plain);
    carry(&mut server, &mut client, usize::MAX, &mut plain);
    assert!(plain.is_empty() && client.stage() == Stage::Open && server.stage() == Stage::Open);
    (client, server)
}

fn carry(from: &mut End, to: &mut End, count: usize, plain: &mut BytesMut) {
    let count = count.min(from.transmit().len());
    to.handle_input(&from.transmit()[..count], plain).expect("both keep to the rules");
    from.transmitted(count);
}

/// One end hears any bytes: however they are cut, the same comes of them.
fn alone(input: &[u8], end: impl Fn() -> End) {
    let hear = |piece: usize| {
        let (mut end, mut plain, mut error, mut sent) = (end(), BytesMut::new(), None, Vec::new());
        for part in input.chunks(piece) {
            let before = plain.len();
            let closed = end.stage() == Stage::Closed;
            let result = end.handle_input(part, &mut plain);
            assert!(plain.len() - before <= part.len(), "more came out than went in");
            assert!(!closed || result.is_ok() && plain.len() == before, "something came behind the end");
            error = error.or(result.err());
            assert!(end.transmit().len() <= MOST);
        }
        while !end.transmit().is_empty() {
            sent.extend_from_slice(end.transmit());
            end.transmitted(end.transmit().len());
        }
        assert!(error.is_none() || end.stage() == Stage::Closed);
        (plain, error, sent, end.stage())
    };
    let whole = hear(usize::MAX);
    for piece in [1, 3] {
        assert!(whole == hear(piece), "cut into pieces of {piece} it means something else");
    }
}

/// A conversation: each pair of bytes is a step.
fn together(steps: &[u8]) {
    let (mut client, mut server) = open();
    let (mut sent, mut came) = ([Vec::new(), Vec::new()], [BytesMut::new(), BytesMut::new()]);
    for step in steps.chunks_exact(2) {
        let amount = usize::from(step[1]) << (step[0] >> 4);
        match step[0] % 5 {
            0 => {
                let data = vec![step[1]; amount];
                let taken = client.write(&data);
                sent[0].extend_from_slice(&data[..taken]);
            }
            1 => {
                let data = vec![step[1]; amount];
                let taken = server.write(&data);
                sent[1].extend_from_slice(&data[..taken]);
            }
            2 => carry(&mut client, &mut server, amount, &mut came[0]),
            3 => carry(&mut server, &mut client, amount, &mut came[1]),
            _ => match &mut server {
                End::Server(server) => server.ping(&step[..1]),
                End::Client(_) => unreachable!("it is a server"),
            },
        }
        assert!(client.transmit().len() <= MOST && server.transmit().len() <= MOST);
    }
    while !client.transmit().is_empty() || !server.transmit().is_empty() {
        carry(&mut client, &mut server, usize::MAX, &mut came[0]);
        carry(&mut server, &mut client, usize::MAX, &mut came[1]);
    }
    assert!(came[0] == sent[0] && came[1] == sent[1], "what went in came out");
}
