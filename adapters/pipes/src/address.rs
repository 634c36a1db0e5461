//! Where a server is: the URLs that a client connects to.
//!
//! Invariant: what cannot be served is refused with the way out; nothing of a URL is silently ignored.
use crate::{Scheme, url};
use std::fmt;

/// A server's address, from `mqtt://user:password@host:port`, `mqtts://host`, `ws://host:port/path`, `wss://host/path` or
/// `unix:///path`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// What carries MQTT.
    pub scheme: Scheme,
    /// Host name or IP address, without the brackets of an IPv6 address; empty for `unix`.
    pub host: String,
    /// TCP port; the scheme's own if the URL has none.
    pub port: u16,
    /// Path and query of a WebSocket, `/mqtt` if the URL has none; the file of a `unix` socket; else empty.
    pub path: String,
    /// User name, percent-decoded.
    pub username: Option<String>,
    /// Password, percent-decoded; any bytes.
    pub password: Option<Vec<u8>>,
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |kind| AddressError { url: without_password(text), kind };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| error(AddressErrorKind::NoScheme))?;
        let scheme = url::scheme(scheme).ok_or_else(|| error(AddressErrorKind::UnknownScheme(scheme.to_owned())))?;
        let (authority, path) = url::split_path(rest);
        let (userinfo, endpoint) =
            authority.rsplit_once('@').map_or((None, authority), |(user, end)| (Some(user), end));
        let path = match path {
            path if scheme == Scheme::Unix && path.len() > 1 && !path.contains('\0') => path,
            "" if scheme.is_websocket() => "/mqtt",
            "" | "/" if scheme != Scheme::Unix && !scheme.is_websocket() => "",
            path if scheme.is_websocket() && url::is_target(path) => path,
            path => return Err(error(AddressErrorKind::Path(path.to_owned()))),
        };
        let (host, port) = url::split_port(endpoint).ok_or_else(|| error(AddressErrorKind::Host))?;
        if host.is_empty() != (scheme == Scheme::Unix) {
            return Err(error(AddressErrorKind::Host));
        }
        let port = match port {
            None => scheme.default_port(),
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| error(AddressErrorKind::Port(port.to_owned())))?,
        };
        let (username, password) =
            userinfo.map_or(Ok((None, None)), credentials).map_err(|()| error(AddressErrorKind::Encoding))?;
        Ok(Self { scheme, host: host.to_owned(), port, path: path.to_owned(), username, password })
    }
}

/// `user` or `user:password`, percent-decoded.
fn credentials(userinfo: &str) -> Result<(Option<String>, Option<Vec<u8>>), ()> {
    let (user, password) = userinfo.split_once(':').map_or((userinfo, None), |(user, pass)| (user, Some(pass)));
    let user = percent_decode(user).and_then(|user| String::from_utf8(user).ok()).ok_or(())?;
    let password = password.map(|password| percent_decode(password).ok_or(())).transpose()?;
    Ok((Some(user), password))
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
    /// Without user name and password, and without a query, which may be as secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        if self.scheme == Scheme::Unix {
            return write!(f, "unix://{path}");
        }
        url::show(f, self.scheme, &self.host, self.port)?;
        f.write_str(path)
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
    /// A scheme that is none of MQTT's.
    UnknownScheme(String),
    /// The host is missing or ambiguous.
    Host,
    /// The port is no number from 1 to 65,535.
    Port(String),
    /// A path or query that the scheme has no use for, or none where it needs one (`unix`).
    Path(String),
    /// User name or password are wrongly percent-encoded.
    Encoding,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to `{}`: ", self.url)?;
        match &self.kind {
            AddressErrorKind::NoScheme => write!(f, "write it as `mqtt://{}`", self.url),
            AddressErrorKind::UnknownScheme(scheme) => {
                write!(f, "`{scheme}` is no scheme of MQTT; `mqtt`, `mqtts`, `ws`, `wss` and `unix` are")
            }
            AddressErrorKind::Host => f.write_str(
                "no clear host; write `mqtt://host:port`, and an IPv6 address in brackets: `mqtt://[::1]:1883`",
            ),
            AddressErrorKind::Port(port) => write!(f, "`{port}` is no port from 1 to 65535"),
            AddressErrorKind::Path(path) => {
                write!(f, "`{path}` has no meaning there: `ws` and `wss` take a path, `unix` needs the one of its file")
            }
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
        assert_eq!(parse("mqtts://h").unwrap().to_string(), "mqtts://h:8883");
        let ws = parse("wss://me:secret@h/mqtt?token=secret").unwrap();
        assert_eq!(
            (ws.port, ws.path.as_str(), ws.to_string().as_str()),
            (443, "/mqtt?token=secret", "wss://h:443/mqtt")
        );
        assert_eq!(parse("ws://h").unwrap().path, "/mqtt");
        assert_eq!(parse("ws://h/").unwrap().path, "/");
        let unix = parse("unix://me@/run/a.sock").unwrap();
        assert_eq!((unix.to_string().as_str(), unix.username.as_deref()), ("unix:///run/a.sock", Some("me")));
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!(kind("localhost:1883"), AddressErrorKind::NoScheme);
        assert_eq!(kind("http://h"), AddressErrorKind::UnknownScheme("http".into()));
        assert_eq!(kind("mqtt://"), AddressErrorKind::Host);
        assert_eq!(kind("mqtt://::1"), AddressErrorKind::Host);
        assert_eq!(kind("mqtt://[::1"), AddressErrorKind::Host);
        assert_eq!(kind("mqtt://h:0"), AddressErrorKind::Port("0".into()));
        assert_eq!(kind("mqtt://h:70000"), AddressErrorKind::Port("70000".into()));
        assert_eq!(kind("mqtt://h/a"), AddressErrorKind::Path("/a".into()));
        assert_eq!(kind("ws://h/a b"), AddressErrorKind::Path("/a b".into()));
        assert_eq!(kind("unix://h/a"), AddressErrorKind::Host);
        assert_eq!(kind("unix://"), AddressErrorKind::Path(String::new()));
        assert_eq!(kind("mqtt://%zz@h"), AddressErrorKind::Encoding);
        let shown = parse("mqtt://me:secret@h/a").unwrap_err().to_string();
        assert!(shown.contains("me@h") && !shown.contains("secret"), "{shown}");
    }
}
