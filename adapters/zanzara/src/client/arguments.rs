//! The flags that mosquitto_pub/sub and the MQTT.js command line have in common.
//!
//! Invariant: a flag means what it means there.
use super::properties;
use crate::config::Durability;
use crate::exit::Failure;
use clap::{ArgAction, ArgGroup, Args};
use mqtt_tokio::client::{Builder, Pem, QoS, Version};
use std::path::PathBuf;

/// Server, session and Will.
#[derive(Args, Clone, Debug)]
pub(super) struct ConnectArgs {
    /// Server
    #[arg(short = 'h', long, default_value = "localhost", value_name = "HOST")]
    host: String,
    /// Port [default: 1883, or 8883 with TLS]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// Server, credentials and topic at once: mqtt://[user[:password]@]host[:port][/topic], likewise mqtts://; or a server and
    /// credentials: ws://host:port/path, wss://host:port/path, unix:///path
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// Use TLS, and trust the certificate authorities in this file (PEM) [default for mqtts:// and wss://: those of the system]
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Use TLS, and show this certificate (PEM) to servers that ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of --cert (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Use TLS, and expect the server's certificate to be for this name [default: the host]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Use TLS, and accept any certificate for any name: whoever sits in between can read and change everything. For tests
    #[arg(long, conflicts_with = "cafile")]
    insecure_accept_any_certificate: bool,
    /// Client identifier [default: one is assigned]
    #[arg(short, long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub(super) username: Option<String>,
    /// Password
    #[arg(short = 'P', long = "password", visible_alias = "pw", value_name = "PASSWORD")]
    pub(super) password: Option<String>,
    /// Seconds without a packet after which a ping is sent; 0: never
    #[arg(short, long = "keepalive", default_value_t = 60, value_name = "SECONDS")]
    pub(super) keep_alive: u16,
    /// Protocol version: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5)
    #[arg(short = 'V', long = "protocol-version", default_value = "5", value_name = "VERSION", value_parser = version)]
    pub(super) version: Version,
    /// Seconds for which the server keeps the session afterwards (MQTT 5.0)
    #[arg(short = 'x', long = "session-expiry-interval", value_name = "SECONDS")]
    pub(super) session_expiry: Option<u32>,
    /// Topic of the message that the server publishes if the connection is lost
    #[arg(long, value_name = "TOPIC")]
    pub(super) will_topic: Option<String>,
    /// Payload of that message
    #[arg(long, visible_alias = "will-message", value_name = "MESSAGE", requires = "will_topic")]
    pub(super) will_payload: Option<String>,
    /// QoS of that message
    #[arg(long, default_value = "0", value_name = "QOS", value_parser = qos, requires = "will_topic")]
    pub(super) will_qos: QoS,
    /// Retain that message
    #[arg(long, requires = "will_topic")]
    pub(super) will_retain: bool,
    /// A property (MQTT 5.0), such as `-D publish content-type text/plain` or `-D publish user-property NAME VALUE`;
    /// may be repeated
    #[arg(short = 'D', long = "property", num_args = 3..=4, action = ArgAction::Append,
          value_names = ["PACKET", "PROPERTY", "VALUE"], help = properties::HELP)]
    pub(super) properties: Vec<String>,
    /// Keep in this folder what is on its way (QoS 1 and 2), and go on with it when a run before was killed or did not
    /// reach the server; has the server keep the session for a day, or as -x says
    #[arg(long, value_name = "DIR")]
    pub(super) store: Option<PathBuf>,
    /// With --store, when something counts as kept: memory (at once; a kill can lose the last moments), os (a power cut
    /// can), disk (synced) [default: disk]
    #[arg(long, value_name = "LEVEL", requires = "store")]
    pub(super) durability: Option<Durability>,
    /// Give up after this many seconds, with exit code 27
    #[arg(short = 'W', long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
    /// Say what happens
    #[arg(short, long)]
    pub(super) debug: bool,
    /// Print no error
    #[arg(long, conflicts_with = "debug")]
    pub(super) quiet: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl ConnectArgs {
    /// The server's URL, and the topic that stood in it.
    pub(super) fn server(&self) -> Result<(String, Option<String>), Failure> {
        let tls = self.cafile.is_some()
            || self.cert.is_some()
            || self.tls_server_name.is_some()
            || self.insecure_accept_any_certificate;
        let Some(url) = &self.url else {
            let (scheme, default) = if tls { ("mqtts", 8883) } else { ("mqtt", 1883) };
            let port = self.port.unwrap_or(default);
            let brackets = self.host.contains(':') && !self.host.starts_with('[');
            let host = if brackets { format!("[{}]", self.host) } else { self.host.clone() };
            return Ok((format!("{scheme}://{host}:{port}"), None));
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| Failure::usage(format_args!("-L {url}: begin with the protocol, as in mqtt://{url}")))?;
        let name = scheme.to_ascii_lowercase();
        let is_tls = matches!(name.as_str(), "mqtts" | "tls" | "ssl" | "wss");
        if tls && !is_tls {
            return Err(Failure::usage(format_args!("-L {url}: options of TLS are for mqtts:// and wss://")));
        }
        if matches!(name.as_str(), "ws" | "wss" | "unix") {
            return Ok((url.clone(), None)); // the path belongs to the server
        }
        let (server, topic) = rest.split_once('/').unwrap_or((rest, ""));
        Ok((format!("{scheme}://{server}"), (!topic.is_empty()).then(|| topic.to_owned())))
    }
}

impl ConnectArgs {
    /// Gives a client what TLS needs.
    pub(super) fn secure(&self, mut builder: Builder) -> Result<Builder, Failure> {
        let read = |file: &PathBuf| Pem::read(file).map_err(Failure::usage);
        if let Some(file) = &self.cafile {
            builder = builder.ca(read(file)?);
        }
        if let Some((certificate, key)) = self.cert.as_ref().zip(self.key.as_ref()) {
            builder = builder.client_certificate(read(certificate)?, read(key)?);
        }
        if let Some(name) = &self.tls_server_name {
            builder = builder.server_name(name);
        }
        if self.insecure_accept_any_certificate {
            if !self.quiet {
                eprintln!("zanzara: warning: any certificate is accepted: this connection is not secure");
            }
            builder = builder.dangerously_accept_any_certificate();
        }
        Ok(builder)
    }
}

/// `zanzara pub`.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, group = ArgGroup::new("what").required(true))]
pub(crate) struct PubArgs {
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    /// Topic
    #[arg(short, long, value_name = "TOPIC")]
    pub(super) topic: Option<String>,
    /// Message
    #[arg(short, long, value_name = "MESSAGE", group = "what", allow_hyphen_values = true)]
    pub(super) message: Option<String>,
    /// Send a file as the message
    #[arg(short, long, value_name = "FILE", group = "what")]
    pub(super) file: Option<PathBuf>,
    /// Send an empty message; with -r it clears the retained one
    #[arg(short, long, group = "what")]
    pub(super) null_message: bool,
    /// Send standard input as one message
    #[arg(short, long = "stdin-file", visible_alias = "stdin", group = "what")]
    pub(super) stdin: bool,
    /// Send each line of standard input as a message
    #[arg(short = 'l', long = "stdin-line", visible_alias = "multiline", group = "what")]
    pub(super) lines: bool,
    /// Send only what earlier runs have left in the folder of --store
    #[arg(long, group = "what", requires = "store")]
    pub(super) pending: bool,
    /// Quality of service: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_name = "QOS", value_parser = qos)]
    pub(super) qos: QoS,
    /// Have the server keep the message for later subscribers
    #[arg(short, long)]
    pub(super) retain: bool,
}

/// `zanzara sub`.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
    /// Topic filter; may be repeated
    #[arg(short, long = "topic", value_name = "FILTER")]
    pub(super) topics: Vec<String>,
    /// Highest quality of service: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_name = "QOS", value_parser = qos)]
    pub(super) qos: QoS,
    /// Resume the session of this client identifier, and have it kept; needs -i
    #[arg(short = 'c', long = "disable-clean-session", visible_alias = "no-clean", requires = "id")]
    pub(super) keep_session: bool,
    /// End after this many messages
    #[arg(short = 'C', long, value_name = "COUNT")]
    pub(super) count: Option<u64>,
    /// Print the topic before each message
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// Print no newline after a message
    #[arg(short = 'N', long)]
    pub(super) no_newline: bool,
    /// Print no message that was retained before the subscription
    #[arg(short = 'R', long)]
    pub(super) no_retained: bool,
    /// Have messages marked as retained as they were published (MQTT 5.0)
    #[arg(long)]
    pub(super) retain_as_published: bool,
    /// Receive no message that this client identifier published (MQTT 5.0)
    #[arg(long)]
    pub(super) no_local: bool,
}

fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::new).ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    match text.to_ascii_lowercase().trim_start_matches("mqttv") {
        "31" | "3.1" | "3" => Ok(Version::V3_1),
        "311" | "3.1.1" | "4" => Ok(Version::V3_1_1),
        "5" | "5.0" => Ok(Version::V5),
        _ => Err("expected 31, 311, 5, mqttv31, mqttv311 or mqttv5".to_owned()),
    }
}
