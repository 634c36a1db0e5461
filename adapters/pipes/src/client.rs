//! A client's end: how it reaches a server.
//!
//! Invariant: the order on the wire is TLS, WebSocket, MQTT.
use crate::stack::Stack;
use crate::{Address, PipeError, SetupError, Stage};
use bytes::BytesMut;
use mqtt_tls::{Application, ClientSettings, Connector, Pem, Roots};

/// What a client's URL does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportSettings {
    /// Who may stand for the server (`mqtts`, `wss`).
    pub roots: Roots,
    /// The client's own certificate and its key, for servers that ask for one (`mqtts`, `wss`).
    pub certificate: Option<(Pem, Pem)>,
    /// The name that the server's certificate has to be for, if it is not the URL's host (`mqtts`, `wss`).
    pub server_name: Option<String>,
    /// Further fields of the upgrade request (`ws`, `wss`).
    pub fields: Vec<(String, String)>,
}

/// How to reach one server, again and again.
#[derive(Clone, Debug)]
pub struct Transport {
    address: Address,
    tls: Option<Connector>,
    server_name: String,
    websocket: Option<mqtt_ws::ClientConfig>,
}

impl Transport {
    /// Checks the settings, as far as the address needs them.
    pub fn new(address: Address, settings: &TransportSettings) -> Result<Self, SetupError> {
        let TransportSettings { roots, certificate, server_name, fields } = settings;
        let scheme = address.scheme;
        let tls = if scheme.is_tls() {
            let application = if scheme.is_websocket() { Application::WebSocket } else { Application::Mqtt };
            let certificate = certificate.clone();
            Some(Connector::new(&ClientSettings { application, roots: roots.clone(), certificate })?)
        } else {
            None
        };
        let host = match (address.host.contains(':'), address.port == scheme.default_port()) {
            (false, true) => address.host.clone(),
            (false, false) => format!("{}:{}", address.host, address.port),
            (true, true) => format!("[{}]", address.host),
            (true, false) => format!("[{}]:{}", address.host, address.port),
        };
        let websocket = scheme.is_websocket().then(|| mqtt_ws::ClientConfig {
            fields: fields.clone(),
            ..mqtt_ws::ClientConfig::new(&host, &address.path)
        });
        let server_name = server_name.clone().unwrap_or_else(|| address.host.clone());
        let transport = Self { address, tls, server_name, websocket };
        transport.open([0; 32])?; // whatever can fail fails now
        Ok(transport)
    }

    /// The server's address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A pipe for a new connection, whose first output begins the handshake; `None` if MQTT goes over it as it is. The seed
    /// decides how a WebSocket masks its frames: take it from a good source of randomness.
    pub fn open(&self, seed: [u8; 32]) -> Result<Option<Box<ClientPipe>>, SetupError> {
        if self.tls.is_none() && self.websocket.is_none() {
            return Ok(None);
        }
        let name = "the server's name is neither a host name nor an address";
        let tls = match &self.tls {
            Some(tls) => Some(tls.connect(&self.server_name).map_err(|_| SetupError::Settings(name))?),
            None => None,
        };
        let ws = match &self.websocket {
            Some(config) => Some(mqtt_ws::Client::new(config, seed).map_err(SetupError::WebSocket)?),
            None => None,
        };
        Ok(Some(Box::new(ClientPipe { stack: Stack::new(tls, ws) })))
    }
}

/// One connection of a client.
pub struct ClientPipe {
    stack: Stack<mqtt_tls::Client, mqtt_ws::Client>,
}

impl ClientPipe {
    /// Takes what the network brought, all of it, and appends the MQTT bytes in it to `plain`: never more than came.
    ///
    /// # Errors
    /// The server refused, or broke a rule of some layer. [`ClientPipe::transmit`] holds the last that it is owed; what came
    /// before is in `plain`.
    pub fn handle_input(&mut self, input: &[u8], plain: &mut BytesMut) -> Result<(), PipeError> {
        self.stack.handle_input(input, plain)
    }

    /// Takes MQTT bytes; returns how many: what there is room for, 0 before all layers agree and after the end.
    pub fn write(&mut self, chunks: &[&[u8]]) -> usize {
        self.stack.write(chunks)
    }

    /// Bytes that [`ClientPipe::write`] would take now, at most 64 KiB.
    pub fn room(&self) -> usize {
        self.stack.room()
    }

    /// What has to go to the network.
    pub fn transmit(&self) -> &[u8] {
        self.stack.transmit()
    }

    /// The network took this many bytes of [`ClientPipe::transmit`].
    pub fn transmitted(&mut self, bytes: usize) {
        self.stack.transmitted(bytes);
    }

    /// Says good-bye on every layer. Nothing can be written afterwards, and what comes is of no interest.
    pub fn close(&mut self) {
        self.stack.close();
    }

    /// Where the connection stands.
    pub fn stage(&self) -> Stage {
        self.stack.stage()
    }
}
