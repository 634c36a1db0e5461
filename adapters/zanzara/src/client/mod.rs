//! `zanzara pub` and `zanzara sub`: what both share.
//!
//! Invariant: an option that the chosen protocol version does not have is refused before anything is sent.
mod arguments;
mod properties;
mod publish;
mod store;
mod subscribe;

pub(crate) use arguments::{PubArgs, SubArgs};
pub(crate) use publish::run as publish;
pub(crate) use subscribe::run as subscribe;

use crate::exit::Failure;
use crate::logging::{self, Format, Level};
use arguments::ConnectArgs;
use mqtt_tokio::client::{Builder, Client, Event, Events, Version, Will};
use properties::{Packet, Settings};
use std::time::Duration;

/// How long an orderly end may take once the work is done.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A client that is about to connect, and the topic of its URL.
struct Plan {
    builder: Builder,
    server: String,
    version: Version,
    settings: Settings,
    topic: Option<String>,
}

impl Plan {
    /// Reads what both commands take.
    fn new(arguments: &ConnectArgs, packets: &[Packet]) -> Result<Self, Failure> {
        let settings = Settings::parse(&arguments.properties, packets).map_err(Failure::usage)?;
        let version = arguments.version;
        if !version.is_v5() && (settings.is_used() || arguments.session_expiry.is_some()) {
            return Err(Failure::usage("properties and a session expiry need MQTT 5.0: use -V 5"));
        }
        let (server, topic) = arguments.server()?;
        let mut builder = arguments.secure(Client::builder(&server).version(version))?;
        if let Some(id) = &arguments.id {
            builder = builder.client_id(id);
        }
        if let Some(name) = &arguments.username {
            builder = match &arguments.password {
                Some(password) => builder.credentials(name, password.clone()),
                None => builder.configure(|config| config.username = name.as_str().try_into().ok()),
            };
        } else if let Some(password) = &arguments.password {
            let password = password.clone().into();
            builder = builder.configure(|config| config.password = Some(password));
        }
        if let Some(will) = will(arguments, &settings)? {
            builder = builder.will(will);
        }
        let (keep_alive, expiry) = (arguments.keep_alive, arguments.session_expiry);
        builder = builder.configure(|config| {
            config.keep_alive = keep_alive;
            config.session_expiry = expiry.unwrap_or(0);
        });
        if let Some(dir) = &arguments.store {
            builder = store::add(builder, dir, arguments)?;
        }
        Ok(Self { builder, server, version, settings, topic })
    }

    /// Begins to connect.
    fn open(self, debug: bool) -> Result<(Client, Events, Attempt), Failure> {
        let settings = self.settings;
        let builder = self.builder.configure(move |config| settings.configure(config));
        let client = builder.open().map_err(Failure::run)?;
        let events = client.events();
        Ok((client, events, Attempt { server: self.server, debug }))
    }
}

/// The one attempt to connect that decides whether the command works.
struct Attempt {
    server: String,
    debug: bool,
}

impl Attempt {
    /// Waits until the client is connected, or has failed at that once.
    async fn done(&self, client: &Client) -> Result<(), Failure> {
        client.first_connection().await.map_err(Failure::run)?;
        if self.debug {
            eprintln!("connected to {} as `{}`", self.server, client.client_id());
        }
        Ok(())
    }
}

/// The Will of the command line.
fn will(arguments: &ConnectArgs, settings: &Settings) -> Result<Option<Will>, Failure> {
    let Some(topic) = &arguments.will_topic else { return Ok(None) };
    let topic = topic.as_str().try_into().map_err(|error| Failure::usage(format_args!("--will-topic: {error}")))?;
    Ok(Some(Will {
        qos: arguments.will_qos,
        retain: arguments.will_retain,
        topic,
        payload: arguments.will_payload.clone().unwrap_or_default().into(),
        properties: settings.properties(Packet::Will),
    }))
}

/// Waits until the connection is lost for good; says why. Losses that the client repairs are told with `debug`.
async fn lost(events: &mut Events, debug: bool) -> Failure {
    let mut again = false;
    while let Some(event) = events.recv().await {
        match event {
            Event::Disconnected { reason, retry_in: None, .. } => return Failure::run(reason),
            Event::Disconnected { reason, retry_in: Some(delay), .. } if debug => {
                eprintln!("{reason}; trying again in {delay:.1?}");
            }
            Event::Connected(_) => {
                if again && debug {
                    eprintln!("connected again");
                }
                again = true;
            }
            Event::Settled { result: Err(failure), .. } => {
                return Failure::run(format_args!("a message of an earlier run: {failure}"));
            }
            Event::SubscriptionLost { filter, reason } => {
                return Failure::run(format_args!("the server no longer grants `{}`: {reason:?}", filter.as_str()));
            }
            _ => {}
        }
    }
    std::future::pending().await
}

/// Begins to connect, does `work`, which awaits the attempt, and disconnects, within the time limit of `-W`. The client has a thread of its own, so that a
/// slow standard output never costs it the connection.
fn with_client(
    arguments: &ConnectArgs,
    plan: Plan,
    work: impl AsyncFnOnce(&Client, &Attempt) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let debug = arguments.debug;
    if debug {
        logging::start(Format::Text, Level::Debug);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::run)?;
    let result = runtime.block_on(async {
        let timeout = timeout(arguments.timeout);
        tokio::pin!(timeout);
        let (client, mut events, attempt) = plan.open(debug)?;
        let result = tokio::select! {
            biased; // what has come is still printed
            result = work(&client, &attempt) => result,
            failure = lost(&mut events, debug) => Err(failure),
            failure = &mut timeout => Err(failure),
        };
        // However it went, the server hears DISCONNECT, or it would publish the Will.
        let ended = client.end_within(if result.is_ok() { END_WITHIN } else { Duration::ZERO }).await;
        result.and_then(|()| ended.map_err(Failure::run))
    });
    runtime.shutdown_background(); // a thread may still wait for standard input
    if arguments.quiet { result.map_err(Failure::silenced) } else { result }
}

/// Waits for the end of the time limit, if there is one.
async fn timeout(seconds: Option<u64>) -> Failure {
    let Some(seconds) = seconds else { return std::future::pending().await };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Failure::timeout(format_args!("nothing more within {seconds} s"))
}
