//! `zanzara sub`: prints messages as they come.
//!
//! Invariants: a message is acknowledged only after it was written to standard output; payloads are written as they
//! are, byte by byte. With `--store`, a QoS 2 message is printed a second time only if the command was killed between both.
use super::arguments::SubArgs;
use super::properties::Packet;
use super::{Plan, with_client};
use crate::exit::Failure;
use crate::signals::Signals;
use mqtt_tokio::client::{
    Client, Messages, ReasonCode, Received, SubscribeOptions, Subscription, SubscriptionOptions, TopicFilter,
};
use std::io::{self, ErrorKind, Write};

/// Runs the command.
pub(crate) fn run(arguments: &SubArgs) -> Result<(), Failure> {
    let packets = [Packet::Connect, Packet::Will, Packet::Subscribe];
    let mut plan = Plan::new(&arguments.connect, &packets)?;
    let mut topics = arguments.topics.clone();
    topics.extend(plan.topic.take());
    if topics.is_empty() {
        return Err(Failure::usage("a topic filter is needed: -t FILTER"));
    }
    for topic in &topics {
        TopicFilter::try_from(topic.as_str()).map_err(|error| Failure::usage(format_args!("-t {topic}: {error}")))?;
    }
    let v5 = plan.version.is_v5();
    if !v5 && (arguments.no_local || arguments.retain_as_published) {
        return Err(Failure::usage("--no-local and --retain-as-published need MQTT 5.0: use -V 5"));
    }
    let options = SubscriptionOptions {
        qos: arguments.qos,
        no_local: arguments.no_local,
        retain_as_published: arguments.retain_as_published,
        ..SubscriptionOptions::default()
    };
    let more = SubscribeOptions {
        identifier: plan.settings.subscription_identifier(),
        user_properties: plan.settings.user_properties(Packet::Subscribe),
    };
    let keep_session = arguments.keep_session || arguments.connect.store.is_some();
    let expiry = arguments.connect.session_expiry;
    plan.builder = plan.builder.manual_acks(true).configure(|config| {
        config.clean_start = !keep_session;
        if arguments.keep_session && v5 && expiry.is_none() {
            config.session_expiry = u32::MAX; // as mosquitto_sub does
        }
    });

    with_client(&arguments.connect, plan, async |client, attempt| {
        attempt.done(client).await?;
        let signals = Signals::new().map_err(Failure::run)?;
        // What a resumed session has kept may come before the subscription is confirmed.
        let earlier = client.messages();
        let filters = topics.iter().map(|topic| (topic.as_str(), options));
        let subscription = client.subscribe_many(filters, more).await.map_err(Failure::run)?;
        if arguments.connect.debug {
            for (filter, granted) in subscription.granted() {
                eprintln!("subscribed to {}: {granted:?}", filter.as_str());
            }
        }
        let printer = Printer { arguments, out: io::BufWriter::new(io::stdout().lock()), printed: 0 };
        // Whatever was not acknowledged then stays with the server, if it keeps the session.
        print_all(client, earlier, subscription, signals, printer).await
    })
}

/// Prints until something ends it.
async fn print_all(
    client: &Client,
    mut earlier: Messages,
    mut subscription: Subscription,
    mut signals: Signals,
    mut printer: Printer<'_>,
) -> Result<(), Failure> {
    let mut acks = Vec::new();
    loop {
        let mut next = tokio::select! {
            biased;
            _ = signals.next() => return Ok(()),
            Some(message) = earlier.recv() => Some(message),
            Some(message) = subscription.recv() => Some(message),
            else => return std::future::pending().await, // the client has ended: the reason is on its way
        };
        // Everything that is there goes out in one write, which is on its way before anything is acknowledged.
        let mut outcome = Ok(false);
        while let Some(message) = next.take() {
            outcome = printer.print(&message);
            if outcome.is_err() {
                break;
            }
            acks.extend(message.ack);
            if matches!(outcome, Ok(true)) {
                break;
            }
            next = earlier.try_recv().or_else(|| subscription.try_recv());
        }
        let outcome = outcome.and_then(|done| printer.out.flush().map(|()| done));
        match outcome {
            Ok(done) => {
                for ack in acks.drain(..) {
                    client.acknowledge(ack, ReasonCode::Success);
                }
                if done {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()), // the reader has seen enough
            Err(error) => return Err(Failure::run(format_args!("standard output: {error}"))),
        }
    }
}

/// Writes messages.
struct Printer<'a> {
    arguments: &'a SubArgs,
    out: io::BufWriter<io::StdoutLock<'static>>,
    printed: u64,
}

impl Printer<'_> {
    /// Writes one message; `true`: it was the last one that was asked for.
    fn print(&mut self, message: &Received) -> io::Result<bool> {
        if self.arguments.no_retained && message.retain {
            return Ok(false);
        }
        if self.arguments.verbose {
            self.out.write_all(message.topic.as_str().as_bytes())?;
            self.out.write_all(b" ")?;
        }
        self.out.write_all(&message.payload)?;
        if !self.arguments.no_newline {
            self.out.write_all(b"\n")?;
        }
        self.printed += 1;
        Ok(self.arguments.count.is_some_and(|count| self.printed >= count))
    }
}
