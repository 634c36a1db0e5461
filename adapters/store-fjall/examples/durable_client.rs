//! An application that may be killed at any moment: what it published is sent, and each command is done once.
//!
//! Start a broker, then `cargo run -p mqtt-store-fjall --example durable_client [mqtt://host:port]`. Kill it, stop the broker, publish commands
//! meanwhile (`zanzara pub -q 2 -t plant/commands -m open`), and start it again.
use mqtt_store_fjall::{ClientFolder, Durability};
use mqtt_tokio::client::{Client, QoS, ReasonCode, Store, StoreBatch, StoreDone};
use std::io::Write as _;
use std::time::Duration;

/// The folder, as the client takes it.
struct Folder(ClientFolder);

impl Store for Folder {
    fn start(&mut self, done: StoreDone) -> std::io::Result<()> {
        self.0.start(done)
    }

    fn write(&mut self, batch: StoreBatch) {
        self.0.write(batch);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://127.0.0.1:1883".to_owned());
    let (folder, contents, report) = ClientFolder::open("plant-session".as_ref(), Durability::Disk)?;
    println!("{} messages of the last time are still to be sent", report.messages.0);
    let client = Client::builder(&url)
        .client_id("plant")
        .persistent(Duration::from_hours(24)) // the server has its part of the session
        .manual_acks(true)
        .store(Folder(folder), contents)
        .open()?;
    let commands = tokio::spawn(obey(client.clone()));
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    while !commands.is_finished() {
        clock.tick().await;
        let mut reading = client.try_publish("plant/readings", "21.5 °C", QoS::ExactlyOnce)?;
        reading.kept().await?; // from here on it will arrive, once
        println!("a reading is kept; {} are not acknowledged yet", client.unfinished());
    }
    Ok(commands.await??)
}

/// Does each command once, also when the process was killed between doing it and saying so.
async fn obey(client: Client) -> Result<(), std::io::Error> {
    let failed = std::io::Error::other;
    // What was done can be told from what was made of it: here, a line of a file. The last one has the greatest token.
    let mut journal = std::fs::OpenOptions::new().create(true).append(true).open("plant-journal")?;
    let text = std::fs::read_to_string("plant-journal")?;
    let mut done: u64 = text.lines().filter_map(|line| line.split_once(' ')?.0.parse().ok()).max().unwrap_or(0);
    let mut commands = client.subscribe("plant/commands", QoS::ExactlyOnce).await.map_err(failed)?;
    while let Some(command) = commands.recv().await {
        let Some(token) = command.ack else { continue }; // QoS 0
        let seen = command.qos == QoS::ExactlyOnce && token.as_u64() <= done;
        if !seen {
            let text = String::from_utf8_lossy(&command.payload);
            journal.write_all(format!("{} {text}\n", token.as_u64()).as_bytes())?; // the deed and its token, at once
            journal.sync_data()?;
            done = done.max(token.as_u64());
        }
        client.acknowledge(token, ReasonCode::Success);
    }
    Ok(())
}
