//! Where a broker listens, as a URL.
//!
//! Invariant: nothing of a URL is silently ignored.
use crate::{Scheme, url};
use std::path::PathBuf;
use std::{fmt, str::FromStr};

/// An address to listen on. Written `mqtt://127.0.0.1:1883`, `mqtts://[::1]`, `ws://0.0.0.0:8080/mqtt`, `wss://localhost`,
/// `unix:///run/mqtt.sock`, `tcp://localhost:0`; the port is the scheme's own unless given, and 0 lets the system choose one.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
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
    UnknownScheme,
    Host,
    Port,
    Tail,
    Path,
    UnixPath,
}

impl Endpoint {
    /// What carries MQTT there.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host name or address, without brackets; empty for `unix`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 0 lets the system choose.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of a WebSocket URL that names one, or of a `unix` socket; else empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file of a `unix` socket.
    pub fn unix_path(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::Unix).then(|| PathBuf::from(&self.path))
    }

    /// The same with this host and port: what was bound.
    #[must_use]
    pub fn bound(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, ..self.clone() }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |problem| EndpointError { text: text.to_owned(), problem };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail(Problem::NoScheme))?;
        let scheme = url::scheme(scheme).ok_or_else(|| fail(Problem::UnknownScheme))?;
        if scheme == Scheme::Unix {
            let is_path = rest.starts_with('/') && !rest.ends_with('/') && !rest.contains('\0');
            let path = rest.to_owned();
            return if is_path {
                Ok(Self { scheme, host: String::new(), port: 0, path })
            } else {
                Err(fail(Problem::UnixPath))
            };
        }
        let (authority, path) = url::split_path(rest);
        if authority.contains('@') {
            return Err(fail(Problem::Tail));
        }
        let path = match path {
            "" | "/" => "",
            _ if !scheme.is_websocket() => return Err(fail(Problem::Tail)),
            path if !url::is_target(path) || path.contains('?') => return Err(fail(Problem::Path)),
            path => path,
        };
        let (host, port) = url::split_port(authority).ok_or_else(|| fail(Problem::Host))?;
        if host.is_empty() || host.contains(['[', ']', ' ']) {
            return Err(fail(Problem::Host));
        }
        let port = port.map_or(Ok(scheme.default_port()), str::parse).map_err(|_| fail(Problem::Port))?;
        Ok(Self { scheme, host: host.to_owned(), port, path: path.to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == Scheme::Unix {
            return write!(f, "unix://{}", self.path);
        }
        url::show(f, self.scheme, &self.host, self.port)?;
        f.write_str(&self.path)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.text.split("://").next().unwrap_or_default();
        write!(f, "`{}`: ", self.text)?;
        match self.problem {
            Problem::NoScheme => write!(f, "an address begins with its protocol, as in mqtt://127.0.0.1:1883"),
            Problem::UnknownScheme => {
                write!(
                    f,
                    "unknown protocol {scheme}://; there are mqtt:// (or tcp://), mqtts://, ws://, wss:// and unix://"
                )
            }
            Problem::Host => {
                write!(f, "no host; write {scheme}://127.0.0.1, {scheme}://[::1] or {scheme}://name, and a port")
            }
            Problem::Port => write!(f, "the port is a number from 0 to 65535"),
            Problem::Tail => write!(f, "only protocol, host and port are allowed, as in mqtt://127.0.0.1:1883"),
            Problem::Path => write!(f, "this path cannot be asked for; write one as in {scheme}://127.0.0.1:8080/mqtt"),
            Problem::UnixPath => write!(f, "the socket's file needs its whole path, as in unix:///run/zanzara.sock"),
        }
    }
}

impl std::error::Error for EndpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_host_and_port() {
        for (text, scheme, host, port, path) in [
            ("mqtt://127.0.0.1:1884", Scheme::Mqtt, "127.0.0.1", 1884, ""),
            ("mqtt://localhost", Scheme::Mqtt, "localhost", 1883, ""),
            ("TCP://0.0.0.0:0/", Scheme::Mqtt, "0.0.0.0", 0, ""),
            ("mqtt://[::1]:1885", Scheme::Mqtt, "::1", 1885, ""),
            ("mqtt://[::]", Scheme::Mqtt, "::", 1883, ""),
            ("mqtts://localhost", Scheme::Mqtts, "localhost", 8883, ""),
            ("ssl://[::1]:1", Scheme::Mqtts, "::1", 1, ""),
            ("ws://localhost:8080/mqtt/v5", Scheme::Ws, "localhost", 8080, "/mqtt/v5"),
            ("ws://localhost/", Scheme::Ws, "localhost", 80, ""),
            ("wss://localhost", Scheme::Wss, "localhost", 443, ""),
            ("unix:///run/mqtt.sock", Scheme::Unix, "", 0, "/run/mqtt.sock"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            let found = (endpoint.scheme(), endpoint.host(), endpoint.port(), endpoint.path());
            assert_eq!(found, (scheme, host, port, path), "{text}");
            assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_refused_is_explained() {
        for (text, hint) in [
            ("127.0.0.1:1883", "mqtt://"),
            ("http://localhost", "unknown protocol"),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://::1", "no host"),
            ("mqtt://[::1", "no host"),
            ("mqtt://[::1]x", "no host"),
            ("mqtt://host:70000", "0 to 65535"),
            ("mqtt://host:", "0 to 65535"),
            ("mqtt://user@host", "only protocol"),
            ("ws://user@host/path", "only protocol"),
            ("mqtt://host/path", "only protocol"),
            ("mqtts://host?a", "only protocol"),
            ("ws://host/a b", "this path"),
            ("ws://host/mqtt?a=b", "this path"),
            ("unix://run/mqtt.sock", "whole path"),
            ("unix:///run/", "whole path"),
        ] {
            let message = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(message.contains(hint) && message.contains(text), "{message}");
        }
    }
}
