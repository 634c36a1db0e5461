//! Listening sockets: bound by address, accepted from with patience.
//!
//! Invariant: an error of `accept` never spins and never stops the listener.
use super::{Endpoint, StartError};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted; the system may lower it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// Silence after which the system asks whether the other end is still there.
const KEEP_ALIVE: Duration = Duration::from_mins(5);

/// Binds every address of an endpoint: a name such as `localhost` may have one for IPv4 and one for IPv6. An address
/// that this machine has not is passed over if the name has another.
pub(super) async fn bind(endpoint: &Endpoint) -> Result<Vec<std::net::TcpListener>, StartError> {
    let host = endpoint.host();
    let resolve = |source| StartError::Resolve { host: host.to_owned(), source };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, endpoint.port())).await.map_err(resolve)?.collect();
    let mut listeners = Vec::new();
    let mut absent = None;
    for address in addresses {
        match bind_address(address) {
            Ok(listener) => listeners.push(listener),
            Err(source) if is_absent(&source) => absent = Some(StartError::Bind { address, source }),
            Err(source) => return Err(StartError::Bind { address, source }),
        }
    }
    if listeners.is_empty() {
        return Err(absent.unwrap_or_else(|| resolve(io::Error::from(io::ErrorKind::NotFound))));
    }
    Ok(listeners)
}

/// Whether the machine has no such address, or no such address family at all.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
}

fn bind_address(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // so that `[::]` and `0.0.0.0` can be listened on side by side
    }
    if cfg!(unix) {
        socket.set_reuse_address(true)?; // elsewhere it would let two servers share the port
    }
    // Inherited by the accepted as well: it finds dead peers that never promised a keep alive.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    socket.set_nonblocking(true)?;
    if cfg!(target_os = "linux") {
        socket.set_tcp_nodelay(true)?; // inherited by the accepted: a system call less for each
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What one `accept` brought.
pub(super) enum Accepted {
    /// A connection.
    Stream(TcpStream, SocketAddr),
    /// None waits; the driver is woken by the next.
    Nothing,
    /// The system is out of something (open files, memory): try again later.
    Exhausted(io::Error),
}

/// Accepts one connection. Errors that belong to a connection which is already gone are passed over.
pub(super) fn accept(listener: &TcpListener, cx: &mut Context<'_>) -> Accepted {
    loop {
        match listener.poll_accept(cx) {
            Poll::Pending => return Accepted::Nothing,
            Poll::Ready(Ok((stream, address))) => {
                if cfg!(not(target_os = "linux")) && stream.set_nodelay(true).is_err() {
                    continue; // it is gone already
                }
                return Accepted::Stream(stream, address);
            }
            Poll::Ready(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
                | io::ErrorKind::PermissionDenied => {}
                _ => return Accepted::Exhausted(error),
            },
        }
    }
}
