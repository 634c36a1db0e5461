//! Publishes "hello world!" to `mqtt/demo`, and receives it.
//!
//! Start a broker, then `cargo run -p mqtt-tokio --example hello [mqtt://host:port]`.
use mqtt_tokio::client::{Client, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_owned());
    let client = Client::connect(&url).await?;
    let mut messages = client.subscribe("mqtt/demo", QoS::AtMostOnce).await?;
    client.publish("mqtt/demo", "hello world!", QoS::AtMostOnce).await?;
    if let Some(message) = messages.recv().await {
        println!("{}: {}", message.topic, String::from_utf8_lossy(&message.payload));
    }
    client.end().await?;
    Ok(())
}
