//! The PROXY protocol: any bytes, whole and in pieces.
use bytes::BytesMut;
use mqtt_pipes::{MAX_HEADER, Port, PortSettings, ProxyError, ProxyHeader, Served, Spoken, Stage};
use std::net::Ipv4Addr;

/// The bytes are a header, perhaps, and what follows it.
pub fn proxy(data: &[u8]) {
    let whole = read(data, usize::MAX);
    for piece in [1, 5] {
        assert_eq!(whole, read(data, piece), "cut into pieces of {piece} it means something else");
    }
    if let Ok(Some((_, length))) = whole {
        assert!(length <= MAX_HEADER);
        // Nothing of what follows is part of it, and without its last byte it is none.
        assert_eq!(read(&data[..length], usize::MAX), whole);
        assert_eq!(read(&data[..length - 1], usize::MAX), Ok(None));
    }
    through_a_port(data, &whole);
}

/// What was found, and the header's length.
fn read(data: &[u8], piece: usize) -> Result<Option<(Spoken, usize)>, ProxyError> {
    let mut header = ProxyHeader::default();
    let mut taken = 0;
    for part in data.chunks(piece.min(data.len().max(1))) {
        let mut rest = part;
        let found = header.read(&mut rest)?;
        taken += part.len() - rest.len();
        if let Some(spoken) = found {
            return Ok(Some((spoken, taken)));
        }
    }
    Ok(None)
}

/// A connection from a trusted proxy: what follows the header is MQTT.
fn through_a_port(data: &[u8], whole: &Result<Option<(Spoken, usize)>, ProxyError>) {
    let endpoint = "mqtt://127.0.0.1".parse().expect("an address");
    let proxies = Some(vec!["127.0.0.0/8".parse().expect("a network")]);
    let (port, _) = Port::open(PortSettings { proxies, ..PortSettings::new(endpoint) }).expect("a port");
    let Ok(Served::Piped(mut pipe)) = port.accept(Some(Ipv4Addr::LOCALHOST.into())) else { panic!("a pipe") };
    let mut plain = BytesMut::new();
    let result = pipe.handle_input(data, &mut plain);
    match whole {
        Err(_) => assert!(result.is_err() && plain.is_empty() && pipe.stage() == Stage::Closed),
        Ok(None) => assert!(result.is_ok() && plain.is_empty() && pipe.stage() == Stage::Handshake),
        Ok(Some((spoken, length))) => {
            assert!(result.is_ok() && plain[..] == data[*length..] && pipe.is_transparent());
            let source = match spoken {
                Spoken::For(source) => Some(*source),
                Spoken::Itself => None,
            };
            assert_eq!(pipe.source(), source);
        }
    }
}
