//! Puts a broker together and starts its shards.
//!
//! Invariant: an address is bound before anything runs, so a broker that started is reachable.
use super::commands::{Command, MAILBOX};
use super::handle::ShardHandle;
use super::listener::Bound;
use super::shard::{Clock, Setup};
use super::{Authentication, BrokerHandle, Config, Contents, Hooks, PortSettings, StartError, Store, listener, shard};
use mqtt_pipes::Port;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// Where a broker begins: [`Broker::builder`].
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// A broker with this configuration, which listens nowhere yet.
    pub fn builder(config: Config) -> Builder {
        Builder { config, listen: Vec::new(), hooks: None, shards: 1, seed: None, store: None }
    }
}

/// Where to listen.
#[derive(Debug)]
enum Listen {
    Url(String),
    Port(PortSettings),
}

/// A broker that is about to start.
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    config: Config,
    listen: Vec<Listen>,
    hooks: Option<Arc<dyn Hooks>>,
    shards: usize,
    seed: Option<[u8; 32]>,
    store: Option<(Box<dyn Store>, Contents)>,
}

impl Builder {
    /// Listens at this URL as well, `mqtt://127.0.0.1:1883` for example (see [`Endpoint`](super::Endpoint)). A broker without any
    /// serves its embedder alone.
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen.push(Listen::Url(url.into()));
        self
    }

    /// Listens there as well, with what a URL does not say: certificates, the paths and origins of WebSockets, proxies that
    /// are trusted.
    pub fn listen_on(mut self, port: PortSettings) -> Self {
        self.listen.push(Listen::Port(port));
        self
    }

    /// Who decides what the configuration leaves to requests.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks = Some(Arc::new(hooks));
        self
    }

    /// How many threads share the work. Default 1, and until messages travel between shards no other number is
    /// accepted.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// What decides everything that looks random. Default: different at each start.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where to keep what must survive, and what it holds: the broker goes on from there, and acknowledges nothing before
    /// it is kept. Default: in memory, until the end.
    pub fn store(mut self, store: Box<dyn Store>, contents: Contents) -> Self {
        self.store = Some((store, contents));
        self
    }

    /// Binds the addresses and starts. Hooks run on the runtime that calls this; the shards bring their own.
    pub async fn start(self) -> Result<BrokerHandle, StartError> {
        if self.shards != 1 {
            return Err(StartError::Shards(self.shards));
        }
        self.start_shards().await
    }

    async fn start_shards(self) -> Result<BrokerHandle, StartError> {
        if self.config.authentication == Authentication::Request && self.hooks.is_none() {
            return Err(StartError::NoHooks);
        }
        let (mut ports, mut listeners) = (Vec::new(), Vec::new());
        for listen in self.listen {
            let settings = match listen {
                Listen::Url(url) => PortSettings::new(url.parse()?),
                Listen::Port(settings) => settings,
            };
            let endpoint = settings.endpoint.to_string();
            let opened = Port::open(settings);
            let (port, loaded) = opened.map_err(|source| StartError::Port { endpoint: endpoint.clone(), source })?;
            let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            if loaded.and_then(|loaded| loaded.not_after).is_some_and(|end| end < unix) {
                tracing::warn!(listener = endpoint, "the certificate has expired: clients will refuse it");
            }
            let port = Arc::new(port);
            listeners.extend(listener::bind(&port).await?);
            ports.push(port);
        }
        let addresses: Vec<_> = listeners.iter().filter_map(Bound::address).collect();
        let endpoints: Vec<_> = listeners.iter().map(|listener| listener.endpoint.clone()).collect();

        let config = Arc::new(self.config);
        let clock = Clock::start();
        let seed = self.seed.unwrap_or_else(random_seed);
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            (0..self.shards).map(|_| mpsc::channel::<Command>(MAILBOX)).unzip();
        let peers: Arc<[_]> = mailboxes.iter().map(mpsc::Sender::downgrade).collect();
        let placement = RandomState::new();
        let mut store = self.store;
        let mut shards = Vec::new();
        for (index, (mailbox, inbox)) in mailboxes.into_iter().zip(inboxes).enumerate() {
            let (end, ended) = watch::channel(false);
            let mut seed = seed;
            seed[0] ^= u8::try_from(index).unwrap_or(u8::MAX); // shards must not assign the same identifiers
            let mut own = Vec::new();
            for listener in &listeners {
                own.push(listener.share().map_err(StartError::Thread)?);
            }
            let setup = Setup {
                index,
                config: Arc::clone(&config),
                clock,
                seed,
                listeners: own,
                inbox,
                peers: Arc::clone(&peers),
                placement: placement.clone(),
                hooks: self.hooks.clone(),
                store: store.take(), // there is one shard
                runtime: tokio::runtime::Handle::current(),
            };
            shard::start(setup, end)?;
            shards.push(ShardHandle { mailbox, ended });
        }
        Ok(BrokerHandle {
            shards: shards.into(),
            addresses: addresses.into(),
            endpoints: endpoints.into(),
            ports: ports.into(),
            clock,
        })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config, listen, hooks, shards, seed: _, store } = self;
        f.debug_struct("Builder")
            .field("config", config)
            .field("listen", listen)
            .field("hooks", &hooks.is_some())
            .field("shards", shards)
            .field("store", &store.is_some())
            .finish_non_exhaustive()
    }
}

/// A seed from the randomness that the standard library gets from the system.
fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for (index, word) in seed.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&RandomState::new().hash_one(index).to_le_bytes());
    }
    seed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    /// Connects with MQTT 3.1.1, with PINGREQ right behind CONNECT, and waits for both answers.
    fn connect(address: SocketAddr, client_id: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = u8::try_from(client_id.len()).unwrap();
        let mut bytes = vec![0x10, 12 + length, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, length];
        bytes.extend_from_slice(client_id.as_bytes());
        bytes.extend_from_slice(&[0xC0, 0]);
        stream.write_all(&bytes).unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x20, 2, 0, 0, 0xD0, 0]);
        stream
    }

    #[test]
    fn every_client_finds_its_shard() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let builder = Broker::builder(Config::default()).listen("mqtt://127.0.0.1:0").shards(3);
        let broker = runtime.block_on(builder.start_shards()).unwrap();
        let address = broker.local_addrs()[0];
        let ids: Vec<String> = (0..60).map(|number| format!("client {number}")).collect();
        let mut first: Vec<TcpStream> = ids.iter().map(|id| connect(address, id)).collect();
        assert_eq!(runtime.block_on(broker.stats()).unwrap().connections, 60);
        // Whichever shard accepts, the same client comes to the same one: the second connection takes over.
        let second: Vec<TcpStream> = ids.iter().map(|id| connect(address, id)).collect();
        for stream in &mut first {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
        assert_eq!(runtime.block_on(broker.stats()).unwrap().connections, 60);
        drop(second);
        runtime.block_on(broker.drain(Duration::from_secs(20))).unwrap();
    }

    #[test]
    fn a_connection_takes_its_pipe_along_to_its_shard() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let builder = Broker::builder(Config::default()).listen("ws://127.0.0.1:0").shards(3);
            let broker = builder.start_shards().await.unwrap();
            let url = broker.endpoints()[0].to_string();
            let mut clients = Vec::new();
            for number in 0..20 {
                let client = crate::client::Client::builder(&url).client_id(&format!("client {number}"));
                let client = client.connect().await.unwrap();
                client.publish("a", vec![b'x'; 100_000], crate::client::QoS::ExactlyOnce).await.unwrap();
                clients.push(client);
            }
            assert_eq!(broker.stats().await.unwrap().connections, 20);
        });
    }
}
