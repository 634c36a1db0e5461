//! A broker's end: what a listening port expects of its connections.
//!
//! Invariant: the order on the wire is PROXY header, TLS, WebSocket, MQTT.
use crate::stack::Stack;
use crate::{Endpoint, Network, PipeError, ProxyHeader, SetupError, Spoken, Stage};
use bytes::BytesMut;
use mqtt_tls::{Acceptor, Application, ClientCertificates, Files, IdentityFrom, LoadError, Loaded, ServerSettings};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// TLS of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Where certificate, key and the authorities of clients lie.
    pub files: Files,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// Which part of a client's certificate is its identity.
    pub identity: IdentityFrom,
    /// Whether the identity takes the place of the User Name in CONNECT. A client without one is refused.
    pub identity_as_username: bool,
}

/// What a port expects of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// Where it is.
    pub endpoint: Endpoint,
    /// TLS: needed by `mqtts` and `wss`, refused by the others.
    pub tls: Option<ServerTls>,
    /// WebSocket, for `ws` and `wss`. A path in the endpoint's URL takes the place of those in here.
    pub websocket: mqtt_ws::ServerConfig,
    /// The proxies that may connect, and begin with a header of the PROXY protocol. `None`: no header is expected.
    pub proxies: Option<Vec<Network>>,
}

impl PortSettings {
    /// A port without TLS and without proxies.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, tls: None, websocket: mqtt_ws::ServerConfig::default(), proxies: None }
    }
}

/// A port that is ready to serve.
#[derive(Debug)]
pub struct Port {
    endpoint: Endpoint,
    tls: Option<(ServerTls, Acceptor)>,
    websocket: Option<Arc<mqtt_ws::ServerConfig>>,
    proxies: Option<Vec<Network>>,
}

/// How a connection is served.
pub enum Served {
    /// Its bytes are MQTT.
    Plain,
    /// MQTT's bytes come out of a pipe.
    Piped(Box<ServerPipe>),
}

impl Port {
    /// Checks the settings, and reads and checks the files of TLS.
    pub fn open(settings: PortSettings) -> Result<(Self, Option<Loaded>), SetupError> {
        let PortSettings { endpoint, tls, mut websocket, proxies } = settings;
        let scheme = endpoint.scheme();
        if !endpoint.path().is_empty() {
            websocket.paths = vec![endpoint.path().to_owned()];
        }
        if proxies.is_some() && endpoint.unix_path().is_some() {
            return Err(SetupError::Settings("the PROXY protocol is for addresses of TCP"));
        }
        let (tls, loaded) = match (tls, scheme.is_tls()) {
            (None, false) => (None, None),
            (Some(tls), true) => {
                let application = if scheme.is_websocket() { Application::WebSocket } else { Application::Mqtt };
                if tls.identity_as_username && tls.client_certificates == ClientCertificates::Ignored {
                    return Err(SetupError::Settings(
                        "the identity of certificates is to be the user name, but they are not asked for",
                    ));
                }
                let settings = ServerSettings {
                    application,
                    client_certificates: tls.client_certificates,
                    identity: tls.identity,
                };
                let (acceptor, loaded) = Acceptor::new(settings, &tls.files.read()?)?;
                (Some((tls, acceptor)), Some(loaded))
            }
            (None, true) => return Err(SetupError::Settings("TLS needs a certificate and its key")),
            (Some(_), false) => {
                return Err(SetupError::Settings(
                    "a certificate is for mqtts:// and wss://, which this address is not",
                ));
            }
        };
        let websocket = scheme.is_websocket().then(|| Arc::new(websocket));
        Ok((Self { endpoint, tls, websocket, proxies }, loaded))
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How to serve a connection from this address (`None`: from a `unix` socket).
    ///
    /// # Errors
    /// It is to be closed at once.
    pub fn accept(&self, from: Option<IpAddr>) -> Result<Served, PipeError> {
        if let (Some(trusted), Some(from)) = (&self.proxies, from)
            && !trusted.iter().any(|network| network.contains(from))
        {
            return Err(PipeError::Untrusted(from));
        }
        if self.tls.is_none() && self.websocket.is_none() && self.proxies.is_none() {
            return Ok(Served::Plain);
        }
        let tls = self.tls.as_ref().map(|(_, acceptor)| acceptor.accept());
        let ws = self.websocket.as_ref().map(|config| mqtt_ws::Server::new(Arc::clone(config)));
        Ok(Served::Piped(Box::new(ServerPipe {
            proxy: self.proxies.is_some().then(ProxyHeader::default),
            source: None,
            stack: Stack::new(tls, ws),
            identity_as_username: self.tls.as_ref().is_some_and(|(tls, _)| tls.identity_as_username),
        })))
    }

    /// Reads the files of TLS again, for the connections to come; `None` without TLS.
    ///
    /// # Errors
    /// Something is wrong with them: the old ones stay in use.
    pub fn reload(&self) -> Option<Result<Loaded, LoadError>> {
        let (tls, acceptor) = self.tls.as_ref()?;
        Some(tls.files.read().and_then(|material| acceptor.replace(&material)))
    }
}

/// One connection of a port.
pub struct ServerPipe {
    proxy: Option<ProxyHeader>,
    source: Option<SocketAddr>,
    stack: Stack<mqtt_tls::Server, mqtt_ws::Server>,
    identity_as_username: bool,
}

impl ServerPipe {
    /// Takes what the network brought, all of it, and appends the MQTT bytes in it to `plain`: never more than came.
    ///
    /// # Errors
    /// The peer broke a rule of some layer. [`ServerPipe::transmit`] holds the last that it is owed; what came before is in
    /// `plain`.
    pub fn handle_input(&mut self, mut input: &[u8], plain: &mut BytesMut) -> Result<(), PipeError> {
        if let Some(header) = &mut self.proxy {
            match header.read(&mut input) {
                Ok(None) => return Ok(()),
                Ok(Some(spoken)) => {
                    if let Spoken::For(source) = spoken {
                        self.source = Some(source);
                    }
                    self.proxy = None;
                }
                Err(error) => {
                    self.proxy = None;
                    self.stack.fail();
                    return Err(PipeError::Proxy(error));
                }
            }
        }
        self.stack.handle_input(input, plain)
    }

    /// Takes MQTT bytes; returns how many: what there is room for, 0 before all layers agree and after the end.
    pub fn write(&mut self, chunks: &[&[u8]]) -> usize {
        self.stack.write(chunks)
    }

    /// Bytes that [`ServerPipe::write`] would take now, at most 64 KiB.
    pub fn room(&self) -> usize {
        self.stack.room()
    }

    /// What has to go to the network.
    pub fn transmit(&self) -> &[u8] {
        self.stack.transmit()
    }

    /// The network took this many bytes of [`ServerPipe::transmit`].
    pub fn transmitted(&mut self, bytes: usize) {
        self.stack.transmitted(bytes);
    }

    /// Says good-bye on every layer. Nothing can be written afterwards, and what comes is of no interest.
    pub fn close(&mut self) {
        self.stack.close();
    }

    /// Where the connection stands.
    pub fn stage(&self) -> Stage {
        match self.proxy {
            Some(_) => Stage::Handshake,
            None => self.stack.stage(),
        }
    }

    /// Whether nothing is left to do: MQTT's bytes are the network's from now on (the header of a proxy was all).
    pub fn is_transparent(&self) -> bool {
        self.proxy.is_none() && self.stack.tls.is_none() && self.stack.ws.is_none() && self.stage() == Stage::Open
    }

    /// Whom a trusted proxy speaks for.
    pub fn source(&self) -> Option<SocketAddr> {
        self.source
    }

    /// Who the client is by its certificate, which was verified.
    pub fn identity(&self) -> Option<String> {
        self.stack.tls.as_ref()?.identity()
    }

    /// Whether the identity takes the place of the User Name in CONNECT.
    pub fn identity_as_username(&self) -> bool {
        self.identity_as_username
    }

    /// The upgrade request of a WebSocket, once it was accepted.
    pub fn request(&self) -> Option<&mqtt_ws::Request> {
        self.stack.ws.as_ref()?.request()
    }
}
