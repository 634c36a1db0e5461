//! Where a server is: the URLs that a client connects to.
//!
//! Invariant: what cannot be served is refused with the way out; nothing of a URL is silently ignored.
use std::fmt;

/// A server's address, from `mqtt://user:password@host:port`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without the brackets of an IPv6 address.
    pub host: String,
    /// TCP port; 1883 if the URL has none.
    pub port: u16,
    /// User name, percent-decoded.
    pub username: Option<String>,
    /// Password, percent-decoded; any bytes.
    pub password: Option<Vec<u8>>,
}

/// The registered port for MQTT.
const DEFAULT_PORT: u16 = 1883;

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        let error = |kind| AddressError { url: without_password(url), kind };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| error(AddressErrorKind::NoScheme))?;
        match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => {}
            "mqtts" | "tls" | "ssl" | "ws" | "wss" | "unix" => {
                return Err(error(AddressErrorKind::NotSupportedYet(scheme.to_owned())));
            }
            _ => return Err(error(AddressErrorKind::UnknownScheme(scheme.to_owned()))),
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if !matches!(path, "" | "/") {
            return Err(error(AddressErrorKind::Path(path.to_owned())));
        }
        let (userinfo, endpoint) =
            authority.rsplit_once('@').map_or((None, authority), |(user, end)| (Some(user), end));
        let (host, port) = split_port(endpoint).ok_or_else(|| error(AddressErrorKind::Host))?;
        if host.is_empty() {
            return Err(error(AddressErrorKind::Host));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| error(AddressErrorKind::Port(port.to_owned())))?,
        };
        let (username, password) =
            match userinfo.map(|info| info.split_once(':').map_or((info, None), |(user, pass)| (user, Some(pass)))) {
                None => (None, None),
                Some((user, pass)) => {
                    let username = percent_decode(user).and_then(|user| String::from_utf8(user).ok());
                    let password = pass
                        .map(|pass| percent_decode(pass).ok_or_else(|| error(AddressErrorKind::Encoding)))
                        .transpose()?;
                    (Some(username.ok_or_else(|| error(AddressErrorKind::Encoding))?), password)
                }
            };
        Ok(Self { host: host.to_owned(), port, username, password })
    }
}

/// `host`, `host:port`, `[v6]` and `[v6]:port`. A bare IPv6 address is ambiguous.
fn split_port(endpoint: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = endpoint.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match endpoint.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((endpoint, None)),
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    Some(decoded)
}

/// Error messages end up in logs.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    format!("{scheme}://{user}@{host}")
}

impl fmt::Display for Address {
    /// Without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "mqtt://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "mqtt://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// A URL that no client can connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The URL, without its password.
    pub url: String,
    /// What is wrong.
    pub kind: AddressErrorKind,
}

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressErrorKind {
    /// There is no `scheme://`.
    NoScheme,
    /// A scheme that later builds will support.
    NotSupportedYet(String),
    /// A scheme that is none of MQTT's.
    UnknownScheme(String),
    /// The host is missing or ambiguous.
    Host,
    /// The port is no number from 1 to 65,535.
    Port(String),
    /// A path or query, which `mqtt` has no use for.
    Path(String),
    /// User name or password are wrongly percent-encoded.
    Encoding,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to `{}`: ", self.url)?;
        match &self.kind {
            AddressErrorKind::NoScheme => write!(f, "write it as `mqtt://{}`", self.url),
            AddressErrorKind::NotSupportedYet(scheme) => {
                write!(f, "`{scheme}` is not supported yet by this build; `mqtt://host:port` is")
            }
            AddressErrorKind::UnknownScheme(scheme) => {
                write!(f, "`{scheme}` is no scheme of MQTT; `mqtt://host:port` is")
            }
            AddressErrorKind::Host => f.write_str(
                "no clear host; write `mqtt://host:port`, and an IPv6 address in brackets: `mqtt://[::1]:1883`",
            ),
            AddressErrorKind::Port(port) => write!(f, "`{port}` is no port from 1 to 65535"),
            AddressErrorKind::Path(path) => write!(f, "`{path}` has no meaning behind the port"),
            AddressErrorKind::Encoding => {
                f.write_str("user name or password are wrongly percent-encoded (`@` is `%40`)")
            }
        }
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, AddressError> {
        url.parse()
    }

    fn kind(url: &str) -> AddressErrorKind {
        parse(url).unwrap_err().kind
    }

    #[test]
    fn hosts_ports_and_credentials() {
        let all = parse("mqtt://me:p%40ss@example.org:8000").unwrap();
        assert_eq!((all.host.as_str(), all.port), ("example.org", 8000));
        assert_eq!((all.username.as_deref(), all.password.as_deref()), (Some("me"), Some(&b"p@ss"[..])));
        assert_eq!(parse("tcp://localhost/").unwrap().to_string(), "mqtt://localhost:1883");
        assert_eq!(parse("MQTT://[::1]:7").unwrap().to_string(), "mqtt://[::1]:7");
        assert_eq!(parse("mqtt://[fe80::1]").unwrap().port, 1883);
        assert_eq!(parse("mqtt://me@h").unwrap().password, None);
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!(kind("localhost:1883"), AddressErrorKind::NoScheme);
        for scheme in ["mqtts", "ws", "wss", "unix"] {
            assert_eq!(kind(&format!("{scheme}://h")), AddressErrorKind::NotSupportedYet(scheme.into()));
        }
        assert_eq!(kind("http://h"), AddressErrorKind::UnknownScheme("http".into()));
        assert_eq!(kind("mqtt://"), AddressErrorKind::Host);
        assert_eq!(kind("mqtt://::1"), AddressErrorKind::Host);
        assert_eq!(kind("mqtt://[::1"), AddressErrorKind::Host);
        assert_eq!(kind("mqtt://h:0"), AddressErrorKind::Port("0".into()));
        assert_eq!(kind("mqtt://h:70000"), AddressErrorKind::Port("70000".into()));
        assert_eq!(kind("mqtt://h/a"), AddressErrorKind::Path("/a".into()));
        assert_eq!(kind("mqtt://%zz@h"), AddressErrorKind::Encoding);
        let shown = parse("mqtt://me:secret@h/a").unwrap_err().to_string();
        assert!(shown.contains("me@h") && !shown.contains("secret"), "{shown}");
    }
}
