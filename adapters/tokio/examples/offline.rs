//! Offline mode in three steps: subscribe with QoS 1 and a session that is kept, and leave; somebody publishes; come back and receive.
//!
//! Start a broker, then `cargo run -p mqtt-tokio --example offline [mqtt://host:port] [1|2|3]`; without a step all three are done.
use mqtt_tokio::client::{Builder, Client, QoS};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_owned());
    let step = std::env::args().nth(2);
    if step.as_deref().is_none_or(|step| step == "1") {
        subscribe_and_leave(&url).await?;
    }
    if step.as_deref().is_none_or(|step| step == "2") {
        publish(&url).await?;
    }
    if step.as_deref().is_none_or(|step| step == "3") {
        come_back(&url).await?;
    }
    Ok(())
}

/// The same identifier, and a session that the server keeps for an hour.
fn subscriber(url: &str) -> Builder {
    Client::builder(url).client_id("offline-demo").persistent(Duration::from_hours(1))
}

async fn subscribe_and_leave(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = subscriber(url).connect().await?;
    client.subscribe("mqtt/demo", QoS::AtLeastOnce).await?;
    client.end().await?;
    println!("1. subscribed to mqtt/demo, and gone");
    Ok(())
}

async fn publish(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(url).await?;
    client.publish("mqtt/demo", "hello world!", QoS::AtLeastOnce).await?;
    client.end().await?;
    println!("2. published while the subscriber is away");
    Ok(())
}

async fn come_back(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = subscriber(url).connect().await?;
    let mut messages = client.messages(); // the session has the subscription: there is nothing to subscribe
    if let Some(message) = messages.recv().await {
        println!("3. back: {}: {}", message.topic, String::from_utf8_lossy(&message.payload));
    }
    client.end().await?;
    Ok(())
}
