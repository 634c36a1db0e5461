//! The options of a client.
//!
//! Invariant: an option that is not named here has the default of [`ClientConfig`].
use super::driver::{self, Server};
use super::messages::Routes;
use super::shared::{Handle, Shared};
use super::store::{self, Store};
use super::{Address, Client, ConnectError, Lagging};
use bytes::Bytes;
use mqtt_pipes::tls::{Pem, Roots};
use mqtt_pipes::{Transport, TransportSettings};
use mqtt_session::UnixTime;
use mqtt_session::client::{
    self as machine, AliasPolicy, Backoff, ClientConfig, MemoryStore, QueueConfig, SessionState,
};
use mqtt_session::proto::{ClientId, TextError, Utf8String, Version, Will};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the session comes from, and where it is kept.
#[derive(Debug)]
enum Session {
    New,
    Exported(SessionState),
    Stored(Stored),
}

struct Stored(Box<dyn Store>, MemoryStore);

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stored").field(&self.1).finish_non_exhaustive()
    }
}

/// Options of a client; made by [`Client::builder`]. Errors of single options are reported by [`Builder::connect`] and [`Builder::open`].
#[derive(Debug)]
#[must_use = "a builder does nothing before `connect` or `open`"]
pub struct Builder {
    urls: Vec<String>,
    transport: TransportSettings,
    config: ClientConfig,
    text_error: Option<TextError>,
    capacity: usize,
    lagging: Lagging,
    session: Session,
    seed: Option<[u8; 32]>,
}

impl Builder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            urls: vec![url.to_owned()],
            transport: TransportSettings::default(),
            config: ClientConfig::default(),
            text_error: None,
            capacity: 100,
            lagging: Lagging::default(),
            session: Session::New,
            seed: None,
        }
    }

    /// A further server, to be tried when the ones before it fail. User name and password come from the first URL that has them.
    pub fn server(mut self, url: &str) -> Self {
        self.urls.push(url.to_owned());
        self
    }

    /// Trusts these certificate authorities (PEM) instead of those of the system, for `mqtts` and `wss`. [`Pem::read`] reads a file.
    pub fn ca(mut self, authorities: Pem) -> Self {
        self.transport.roots = Roots::Pem(authorities);
        self
    }

    /// Shows this certificate (PEM, with those between it and the root) and its key to servers that ask for one, for `mqtts` and `wss`.
    pub fn client_certificate(mut self, certificate: Pem, key: Pem) -> Self {
        self.transport.certificate = Some((certificate, key));
        self
    }

    /// The name that the server's certificate has to be for, if it is not the URL's host.
    pub fn server_name(mut self, name: &str) -> Self {
        self.transport.server_name = Some(name.to_owned());
        self
    }

    /// Accepts any certificate of a server, whoever made it and for whatever name: whoever sits in between can read and change everything,
    /// passwords included. For tests.
    pub fn dangerously_accept_any_certificate(mut self) -> Self {
        self.transport.roots = Roots::DangerouslyAcceptAnyCertificate;
        self
    }

    /// A further field of the upgrade request, for `ws` and `wss`: `Authorization` or `Cookie`, say.
    pub fn websocket_header(mut self, name: &str, value: &str) -> Self {
        self.transport.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Protocol version. Default: 5.0.
    pub fn version(mut self, version: Version) -> Self {
        self.config.version = version;
        self
    }

    /// Client Identifier. Default: the server assigns one (5.0), or one is made.
    pub fn client_id(mut self, id: &str) -> Self {
        match ClientId::try_from(id) {
            Ok(id) => self.config.client_id = id,
            Err(error) => self.text_error = Some(error),
        }
        self
    }

    /// User name and password, instead of those of a URL.
    pub fn credentials(mut self, username: &str, password: impl Into<Bytes>) -> Self {
        self.config.password = Some(password.into());
        self.username(username)
    }

    fn username(mut self, username: &str) -> Self {
        match Utf8String::try_from(username) {
            Ok(username) => self.config.username = Some(username),
            Err(error) => self.text_error = Some(error),
        }
        self
    }

    /// Keeps the session at the server between connections: subscriptions, and QoS 1 and 2 messages that come meanwhile. `expiry` says for how long
    /// (5.0; whole seconds, [`Duration::MAX`] for ever). Needs a Client Identifier of your own. Default: a new session each time.
    pub fn persistent(mut self, expiry: Duration) -> Self {
        self.config.clean_start = false;
        self.config.session_expiry = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
        self
    }

    /// Keep Alive in whole seconds; zero turns it off. Default: 60 s.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.config.keep_alive = u16::try_from(interval.as_secs()).unwrap_or(u16::MAX);
        self
    }

    /// The message that the server publishes when the connection is lost.
    pub fn will(mut self, will: Will) -> Self {
        self.config.will = Some(will);
        self
    }

    /// How long one attempt to connect may take. Default: 30 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Delays between attempts to reconnect; `None` never reconnects. Default: 1 s doubling to 60 s, with jitter.
    pub fn reconnect(mut self, backoff: impl Into<Option<Backoff>>) -> Self {
        self.config.reconnect = backoff.into();
        self
    }

    /// Limits of the queue of outgoing messages.
    pub fn queue(mut self, queue: QueueConfig) -> Self {
        self.config.queue = queue;
        self
    }

    /// Whether received messages wait for [`Client::acknowledge`]. Default: they are acknowledged when they enter a stream.
    pub fn manual_acks(mut self, manual: bool) -> Self {
        self.config.manual_acks = manual;
        self
    }

    /// Whether, and how, outgoing topics get aliases (5.0). Default: off.
    pub fn topic_alias(mut self, policy: AliasPolicy) -> Self {
        self.config.topic_alias = policy;
        self
    }

    /// Enhanced authentication (5.0): the method, and the first data. Answer [`Event::Auth`](super::Event::Auth) with [`Client::authenticate`].
    pub fn auth(mut self, method: &str, data: Option<Bytes>) -> Self {
        self.config.auth_method = Some(method.to_owned());
        self.config.auth_data = data;
        self
    }

    /// Changes any option of the machine.
    pub fn configure(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Messages that each stream holds. Default: 100.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// What happens to a message whose stream is full. Default: [`Lagging::Wait`].
    pub fn lagging(mut self, lagging: Lagging) -> Self {
        self.lagging = lagging;
        self
    }

    /// Goes on with a session of [`Client::export`]. Takes the place of [`Builder::store`].
    pub fn session(mut self, session: SessionState) -> Self {
        self.session = Session::Exported(session);
        self
    }

    /// Keeps the session in a store, which holds `contents` at the beginning, and goes on with these: what a killed process had accepted is
    /// sent, and what it had acknowledged does not come again. [`machine::Client::with_store`] says exactly what is promised. Takes the place of
    /// [`Builder::session`].
    ///
    /// Beside the store it needs a session that the server keeps ([`Builder::persistent`]), and for an application that must see each message
    /// [`Builder::manual_acks`]. The store is started by [`Builder::connect`] or [`Builder::open`], and dropped with the client's task.
    pub fn store(mut self, store: impl Store + 'static, contents: MemoryStore) -> Self {
        self.session = Session::Stored(Stored(Box::new(store), contents));
        self
    }

    /// Fixes what is random otherwise: jitter and made identifiers.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Connects, and gives a client once a server has accepted it. When every server failed once, the last failure is the error, and nothing goes
    /// on in the background. Later losses are repaired by themselves.
    ///
    /// Cancel-safe: dropping the future stops the attempt.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let client = self.open()?;
        match client.first_connection().await {
            Ok(()) => Ok(client),
            Err(error) => {
                let _ = client.end_within(Duration::ZERO).await; // then the store can be opened again
                Err(error)
            }
        }
    }

    /// Gives a client at once, which connects in the background and does not give up: what is published or subscribed meanwhile is queued.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(mut self) -> Result<Client, ConnectError> {
        let mut servers = Vec::new();
        for url in std::mem::take(&mut self.urls) {
            let address: Address = url.parse()?;
            if let (None, Some(username)) = (&self.config.username, &address.username) {
                self.config.password = address.password.clone().map(Bytes::from);
                let username = username.clone();
                self = self.username(&username);
            }
            let name = address.to_string();
            let transport = Transport::new(address, &self.transport)
                .map_err(|source| ConnectError::Transport { server: name.clone(), source })?;
            servers.push(Server { name, transport });
        }
        if let Some(error) = self.text_error {
            return Err(error.into());
        }
        self.config.servers = servers.len();
        if !self.config.version.is_v5() {
            self.config.session_expiry = 0; // there Clean Session says it
        }
        let seed = self.seed.unwrap_or_else(random_seed);
        let now = mqtt_session::Instant::ZERO;
        let (machine, store) = match self.session {
            Session::New => (machine::Client::new(self.config, seed, now)?, None),
            Session::Exported(session) => (machine::Client::restore(self.config, session, seed, now)?, None),
            Session::Stored(Stored(store, contents)) => {
                (machine::Client::with_store(self.config, &contents, seed, now, wall_clock())?, Some(store))
            }
        };
        let shared = Arc::new(Shared::new(machine, Routes::new(self.capacity, self.lagging), store.is_some()));
        let store = store.map(|store| store::start(store, &shared)).transpose().map_err(ConnectError::Store)?;
        driver::spawn(Arc::clone(&shared), servers, store);
        Ok(Client { handle: Arc::new(Handle(shared)) })
    }
}

/// The clock that survives a restart.
fn wall_clock() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The standard library's own source for hash maps, which is keyed by the system's: not for secrets, which nothing here needs
/// (TLS has its own), but nobody outside can foretell it.
pub(super) fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for (at, word) in seed.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&RandomState::new().hash_one(at).to_le_bytes());
    }
    seed
}
