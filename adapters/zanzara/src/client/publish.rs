//! `zanzara pub`: one message, or one for each line.
//!
//! Invariant: exit code 0 means that the server acknowledged everything (QoS 1 and 2), with `--store` also what earlier runs left, or that it
//! was sent (QoS 0).
use super::arguments::PubArgs;
use super::properties::Packet;
use super::{Plan, with_client};
use crate::exit::Failure;
use bytes::Bytes;
use mqtt_tokio::client::{Client, Delivery, Message, Properties, Property, PublishError, QoS, ReasonCode, TopicName};
use mqtt_tokio::proto::Disconnect;
use mqtt_tokio::session::client::PublishError as Rejected;
use std::collections::VecDeque;
use std::io::Read as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Messages of `-l` that may be on their way at once.
const WINDOW: usize = 1000;

/// Runs the command.
pub(crate) fn run(arguments: &PubArgs) -> Result<(), Failure> {
    let packets = [Packet::Connect, Packet::Will, Packet::Publish, Packet::Disconnect];
    let mut plan = Plan::new(&arguments.connect, &packets)?;
    let keeps = arguments.connect.store.is_some();
    if keeps && !arguments.pending && arguments.qos == QoS::AtMostOnce {
        return Err(Failure::usage("--store keeps messages of QoS 1 and 2 only: use -q 1 or -q 2"));
    }
    let message = if arguments.pending { None } else { Some(message(arguments, &mut plan)?) };
    let mut properties = plan.settings.properties(Packet::Disconnect);
    if keeps && plan.version.is_v5() && arguments.connect.session_expiry.is_none() && properties.is_empty() {
        // When everything is done, the session is of no more use.
        properties = Properties::builder().with(Property::SessionExpiryInterval(0)).build();
    }
    let farewell = Disconnect { reason: ReasonCode::Success, properties };

    with_client(&arguments.connect, plan, async |client, attempt| {
        match message {
            Some(message) if arguments.lines => {
                attempt.done(client).await?;
                publish_lines(client, &message).await?;
            }
            Some(message) => {
                let mut delivery = client.try_publish_message(message).map_err(Failure::run)?;
                if keeps {
                    delivery.kept().await.map_err(Failure::run)?; // also when the server cannot be reached
                }
                attempt.done(client).await?;
                delivery.await.map_err(Failure::run)?;
            }
            None => attempt.done(client).await?,
        }
        if keeps {
            client.drained().await; // what earlier runs left, too
        }
        if !farewell.properties.is_empty() {
            client.disconnect(&farewell).map_err(Failure::run)?;
        }
        Ok(())
    })
}

/// The message, without its payload if that comes line by line.
fn message(arguments: &PubArgs, plan: &mut Plan) -> Result<Message, Failure> {
    let topic = arguments.topic.clone().or_else(|| plan.topic.take());
    let topic = topic.ok_or_else(|| Failure::usage("a topic is needed: -t TOPIC"))?;
    let topic = TopicName::try_from(topic).map_err(|error| Failure::usage(format_args!("-t: {error}")))?;
    let mut message = Message::new(topic, payload(arguments)?, arguments.qos);
    message.retain = arguments.retain;
    message.properties = plan.settings.properties(Packet::Publish);
    Ok(message)
}

/// The payload, unless it comes line by line.
fn payload(arguments: &PubArgs) -> Result<Bytes, Failure> {
    if let Some(message) = &arguments.message {
        return Ok(message.clone().into());
    }
    if let Some(file) = &arguments.file {
        let read = std::fs::read(file);
        return read.map(Bytes::from).map_err(|error| Failure::run(format_args!("{}: {error}", file.display())));
    }
    let mut bytes = Vec::new();
    if arguments.stdin {
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Failure::run(format_args!("standard input: {error}")))?;
    }
    Ok(bytes.into())
}

/// Publishes each line of standard input, with many on their way at once.
async fn publish_lines(client: &Client, template: &Message) -> Result<(), Failure> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    let mut pending: VecDeque<Delivery> = VecDeque::new();
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line).await;
        if read.map_err(|error| Failure::run(format_args!("standard input: {error}")))? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        while pending.len() >= WINDOW {
            settle(&mut pending).await?;
        }
        let message = Message { payload: Bytes::copy_from_slice(&line), ..template.clone() };
        let delivery = loop {
            match client.try_publish_message(message.clone()) {
                Err(PublishError::Rejected(Rejected::QueueFull)) if !pending.is_empty() => settle(&mut pending).await?,
                other => break other.map_err(Failure::run)?,
            }
        };
        pending.push_back(delivery);
    }
    while !pending.is_empty() {
        settle(&mut pending).await?;
    }
    Ok(())
}

/// Waits for the oldest message.
async fn settle(pending: &mut VecDeque<Delivery>) -> Result<(), Failure> {
    if let Some(delivery) = pending.pop_front() {
        delivery.await.map_err(Failure::run)?;
    }
    Ok(())
}
