//! Where a broker listens, as a URL: `mqtt://host:port`.
//!
//! Invariant: an `Endpoint` names a transport that this crate serves.
use std::{fmt, str::FromStr};

/// The port of `mqtt://` URLs that name none (registered for MQTT, section 4.2).
const DEFAULT_PORT: u16 = 1883;

/// A host and a port to listen on. Written `mqtt://127.0.0.1:1883`, `mqtt://[::1]`, `tcp://localhost:0`; the port is
/// 1883 unless given, and 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is no [`Endpoint`]; its message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    text: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    NoScheme,
    NotYet,
    UnknownScheme,
    Host,
    Port,
    Tail,
}

impl Endpoint {
    /// Host name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 0 lets the system choose.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |problem| EndpointError { text: text.to_owned(), problem };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail(Problem::NoScheme))?;
        match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => {}
            "mqtts" | "ssl" | "tls" | "ws" | "wss" | "unix" => return Err(fail(Problem::NotYet)),
            _ => return Err(fail(Problem::UnknownScheme)),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(fail(Problem::Tail));
        }
        let (host, port) = split_port(authority).ok_or_else(|| fail(Problem::Host))?;
        if host.is_empty() || host.contains(['[', ']', ' ']) {
            return Err(fail(Problem::Host));
        }
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| fail(Problem::Port))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Splits `host:port`, `host`, `[v6]:port` and `[v6]`; `None` for an IPv6 address without brackets or an open bracket.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, tail) = rest.split_once(']')?;
        return match tail {
            "" => Some((host, None)),
            _ => tail.strip_prefix(':').map(|port| (host, Some(port))),
        };
    }
    match authority.split_once(':') {
        Some((_, tail)) if tail.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "mqtt://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "mqtt://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.text.split("://").next().unwrap_or_default();
        write!(f, "`{}`: ", self.text)?;
        match self.problem {
            Problem::NoScheme => write!(f, "an address begins with its protocol, as in mqtt://127.0.0.1:1883"),
            Problem::NotYet => write!(f, "{scheme}:// is not served yet; mqtt:// (plain TCP) is"),
            Problem::UnknownScheme => write!(f, "unknown protocol {scheme}://; use mqtt:// or its other name tcp://"),
            Problem::Host => write!(f, "no host; write mqtt://127.0.0.1:1883, mqtt://[::1]:1883 or mqtt://name:1883"),
            Problem::Port => write!(f, "the port is a number from 0 to 65535"),
            Problem::Tail => write!(f, "only protocol, host and port are allowed, as in mqtt://127.0.0.1:1883"),
        }
    }
}

impl std::error::Error for EndpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_host_and_port() {
        for (text, host, port) in [
            ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884),
            ("mqtt://localhost", "localhost", 1883),
            ("TCP://0.0.0.0:0/", "0.0.0.0", 0),
            ("mqtt://[::1]:1885", "::1", 1885),
            ("mqtt://[::]", "::", 1883),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port), "{text}");
            assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_refused_is_explained() {
        for (text, hint) in [
            ("127.0.0.1:1883", "mqtt://"),
            ("mqtts://localhost", "not served yet"),
            ("wss://localhost", "not served yet"),
            ("http://localhost", "unknown protocol"),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://::1", "no host"),
            ("mqtt://[::1", "no host"),
            ("mqtt://[::1]x", "no host"),
            ("mqtt://host:70000", "0 to 65535"),
            ("mqtt://host:", "0 to 65535"),
            ("mqtt://user@host", "only protocol"),
            ("mqtt://host/path", "only protocol"),
        ] {
            let message = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(message.contains(hint) && message.contains(text), "{message}");
        }
    }
}
