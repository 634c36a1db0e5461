//! Listening sockets: bound by address, accepted from with patience.
//!
//! Invariant: an error of `accept` never spins and never stops the listener.
use super::{Endpoint, StartError};
use crate::stream::{Origin, Stream};
use mqtt_pipes::Port;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

/// Connections that may wait to be accepted; the system may lower it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// Silence after which the system asks whether the other end is still there.
const KEEP_ALIVE: Duration = Duration::from_mins(5);

/// A socket that is bound, and what its port expects of connections.
pub(super) struct Bound {
    socket: BoundSocket,
    port: Arc<Port>,
    /// The same with the address that it really has.
    pub(super) endpoint: Endpoint,
    #[cfg(unix)]
    file: Option<Arc<File>>,
}

enum BoundSocket {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// The same while it is served.
pub(super) struct Listener {
    socket: Socketed,
    pub(super) port: Arc<Port>,
    #[cfg(unix)]
    _file: Option<Arc<File>>,
}

enum Socketed {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// The file of a socket, removed with the last who listens there.
#[cfg(unix)]
struct File(PathBuf);

#[cfg(unix)]
impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // somebody else may have done it
    }
}

impl Bound {
    /// The address, if it has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            BoundSocket::Tcp(socket) => socket.local_addr().ok(),
            #[cfg(unix)]
            BoundSocket::Unix(_) => None,
        }
    }

    /// The same socket for another shard.
    pub(super) fn share(&self) -> io::Result<Self> {
        Ok(Self {
            socket: match &self.socket {
                BoundSocket::Tcp(socket) => BoundSocket::Tcp(socket.try_clone()?),
                #[cfg(unix)]
                BoundSocket::Unix(socket) => BoundSocket::Unix(socket.try_clone()?),
            },
            port: Arc::clone(&self.port),
            endpoint: self.endpoint.clone(),
            #[cfg(unix)]
            file: self.file.clone(),
        })
    }

    /// Begins to serve it on the runtime that calls this.
    pub(super) fn serve(self) -> io::Result<Listener> {
        Ok(Listener {
            socket: match self.socket {
                BoundSocket::Tcp(socket) => Socketed::Tcp(TcpListener::from_std(socket)?),
                #[cfg(unix)]
                BoundSocket::Unix(socket) => Socketed::Unix(UnixListener::from_std(socket)?),
            },
            port: self.port,
            #[cfg(unix)]
            _file: self.file,
        })
    }
}

/// Binds a port.
pub(super) async fn bind(port: &Arc<Port>) -> Result<Vec<Bound>, StartError> {
    let endpoint = port.endpoint();
    #[cfg(unix)]
    if let Some(path) = endpoint.unix_path() {
        let socket = bind_path(&path).map_err(|source| StartError::BindPath { path: path.clone(), source })?;
        return Ok(vec![Bound {
            socket: BoundSocket::Unix(socket),
            port: Arc::clone(port),
            endpoint: endpoint.clone(),
            file: Some(Arc::new(File(path))),
        }]);
    }
    let bound = |socket: std::net::TcpListener| {
        let endpoint = match socket.local_addr() {
            Ok(address) => endpoint.bound(&address.ip().to_string(), address.port()),
            Err(_) => endpoint.clone(),
        };
        let port = Arc::clone(port);
        Bound {
            socket: BoundSocket::Tcp(socket),
            port,
            endpoint,
            #[cfg(unix)]
            file: None,
        }
    };
    Ok(bind_addresses(endpoint).await?.into_iter().map(bound).collect())
}

/// Binds a socket in the file system. One that a process left behind when it died is replaced.
#[cfg(unix)]
fn bind_path(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let socket = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path) {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds every address of an endpoint: a name such as `localhost` may have one for IPv4 and one for IPv6. An address
/// that this machine has not is passed over if the name has another.
async fn bind_addresses(endpoint: &Endpoint) -> Result<Vec<std::net::TcpListener>, StartError> {
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
    Stream(Stream, Origin),
    /// None waits; the driver is woken by the next.
    Nothing,
    /// The system is out of something (open files, memory): try again later.
    Exhausted(io::Error),
}

/// Accepts one connection. Errors that belong to a connection which is already gone are passed over.
pub(super) fn accept(listener: &Listener, cx: &mut Context<'_>) -> Accepted {
    loop {
        let accepted = match &listener.socket {
            Socketed::Tcp(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, address)| (Stream::Tcp(stream), Origin::Address(address)))
            }
            #[cfg(unix)]
            Socketed::Unix(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| {
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                (Stream::Unix(stream), Origin::Local(user))
            }),
        };
        match accepted {
            Poll::Pending => return Accepted::Nothing,
            Poll::Ready(Ok((stream, origin))) => {
                if let Stream::Tcp(stream) = &stream
                    && cfg!(not(target_os = "linux"))
                    && stream.set_nodelay(true).is_err()
                {
                    continue; // it is gone already
                }
                return Accepted::Stream(stream, origin);
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
