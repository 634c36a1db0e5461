//! Subscribes to the pattern `mqtt/+`, and receives what is published to topics that match it.
//!
//! Start a broker, then `cargo run -p mqtt-tokio --example pattern [mqtt://host:port]`.
use mqtt_tokio::client::{Client, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_owned());
    let client = Client::connect(&url).await?;
    let mut messages = client.subscribe("mqtt/+", QoS::AtLeastOnce).await?;
    for topic in ["mqtt/demo", "mqtt/demo/too/deep", "other/demo", "mqtt/last"] {
        client.publish(topic, "hello world!", QoS::AtLeastOnce).await?;
    }
    while let Some(message) = messages.recv().await {
        println!("{}: {}", message.topic, String::from_utf8_lossy(&message.payload));
        if &*message.topic == "mqtt/last" {
            break;
        }
    }
    client.end().await?;
    Ok(())
}
