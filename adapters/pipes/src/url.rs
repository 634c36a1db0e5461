//! The parts of a URL that servers and clients read alike (RFC 3986).
//!
//! Invariant: what is ambiguous is `None`, never guessed.
use crate::Scheme;

/// The scheme of this name, in any case.
pub(crate) fn scheme(name: &str) -> Option<Scheme> {
    Some(match name.to_ascii_lowercase().as_str() {
        "mqtt" | "tcp" => Scheme::Mqtt,
        "mqtts" | "tls" | "ssl" => Scheme::Mqtts,
        "ws" => Scheme::Ws,
        "wss" => Scheme::Wss,
        "unix" => Scheme::Unix,
        _ => return None,
    })
}

/// Splits `host:port`, `host`, `[v6]:port` and `[v6]`; `None` for an IPv6 address without brackets or an open bracket.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
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

/// Splits the authority from what follows it.
pub(crate) fn split_path(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// Whether this can be a path, with a query perhaps, in an HTTP request.
pub(crate) fn is_target(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// `scheme://host:port`, with brackets where they are needed.
pub(crate) fn show(f: &mut std::fmt::Formatter<'_>, scheme: Scheme, host: &str, port: u16) -> std::fmt::Result {
    if host.contains(':') {
        write!(f, "{}://[{host}]:{port}", scheme.name())
    } else {
        write!(f, "{}://{host}:{port}", scheme.name())
    }
}
