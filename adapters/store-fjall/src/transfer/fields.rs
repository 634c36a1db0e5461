//! The fields of a line, taken one by one.
use super::base64;
use crate::value::{Kept, message_properties, will_properties};
use bytes::Bytes;
use mqtt_proto::{ClientId, PacketId, Properties, QoS, TopicFilter, TopicName, Will};
use mqtt_session::UnixTime;
use mqtt_session::broker::{Message, Position};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// Which field is wrong, and what is wrong with it.
pub(super) type Wrong = (String, String);

/// A line that is being taken apart.
pub(super) struct Fields {
    fields: Map<String, Json>,
    /// What the names of its fields begin with.
    within: &'static str,
}

impl Fields {
    /// The object that a line is.
    pub(super) fn parse(line: &str) -> Result<Self, Wrong> {
        match serde_json::from_str(line) {
            Ok(Json::Object(fields)) => Ok(Self { fields, within: "" }),
            Ok(_) => Err(("line".to_owned(), "it is no JSON object".to_owned())),
            Err(error) => Err(("line".to_owned(), error.to_string())),
        }
    }

    fn wrong<T>(&self, name: &str, why: impl Into<String>) -> Result<T, Wrong> {
        Err((format!("{}{name}", self.within), why.into()))
    }

    /// A field that may be missing.
    fn take(&mut self, name: &str) -> Option<Json> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, Wrong> {
        match self.take(name) {
            Some(Json::String(text)) => Ok(text),
            _ => self.wrong(name, "a text is expected"),
        }
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Wrong> {
        if self.fields.get(name).is_none_or(Json::is_null) {
            self.fields.remove(name);
            return Ok(None);
        }
        self.text(name).map(Some)
    }

    pub(super) fn number(&mut self, name: &str) -> Result<u64, Wrong> {
        match self.take(name).and_then(|value| value.as_u64()) {
            Some(number) => Ok(number),
            None => self.wrong(name, "a number is expected"),
        }
    }

    pub(super) fn small(&mut self, name: &str) -> Result<u32, Wrong> {
        let number = self.number(name)?;
        u32::try_from(number).or_else(|_| self.wrong(name, "the number is too large"))
    }

    pub(super) fn optional_time(&mut self, name: &str) -> Result<Option<UnixTime>, Wrong> {
        if self.fields.get(name).is_none_or(Json::is_null) {
            self.fields.remove(name);
            return Ok(None);
        }
        Ok(Some(UnixTime::from_millis(self.number(name)?)))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Wrong> {
        match self.take(name) {
            Some(Json::Bool(flag)) => Ok(flag),
            _ => self.wrong(name, "true or false is expected"),
        }
    }

    pub(super) fn client(&mut self) -> Result<ClientId, Wrong> {
        let text = self.text("client")?;
        ClientId::try_from(text).or_else(|_| self.wrong("client", "it is no Client Identifier"))
    }

    pub(super) fn filter(&mut self) -> Result<TopicFilter, Wrong> {
        let text = self.text("filter")?;
        TopicFilter::try_from(text).or_else(|_| self.wrong("filter", "it is no Topic Filter"))
    }

    pub(super) fn topic(&mut self) -> Result<TopicName, Wrong> {
        let text = self.text("topic")?;
        TopicName::try_from(text).or_else(|_| self.wrong("topic", "it is no Topic Name"))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, Wrong> {
        let number = self.number("id")?;
        let id = u16::try_from(number).ok().and_then(PacketId::new);
        id.map_or_else(|| self.wrong("id", "it is no Packet Identifier"), Ok)
    }

    pub(super) fn qos(&mut self) -> Result<QoS, Wrong> {
        let number = self.number("qos")?;
        let qos = u8::try_from(number).ok().and_then(QoS::new);
        qos.map_or_else(|| self.wrong("qos", "0, 1 or 2 is expected"), Ok)
    }

    fn bytes(&mut self, name: &str) -> Result<Vec<u8>, Wrong> {
        let text = self.text(name)?;
        base64::decode(&text).map_or_else(|| self.wrong(name, "it is no base64"), Ok)
    }

    /// Text where it is text, base64 where it is not.
    fn payload(&mut self) -> Result<Bytes, Wrong> {
        match self.optional_text("payload")? {
            Some(text) => Ok(text.into()),
            None => Ok(self.bytes("payload_base64")?.into()),
        }
    }

    fn properties(&mut self, decode: fn(&[u8]) -> Option<Properties>) -> Result<Properties, Wrong> {
        if !self.fields.contains_key("properties") {
            return Ok(Properties::new());
        }
        let bytes = self.bytes("properties")?;
        decode(&bytes).map_or_else(|| self.wrong("properties", "these are no properties"), Ok)
    }

    pub(super) fn message(&mut self) -> Result<Kept, Wrong> {
        let message = Message {
            topic: self.topic()?,
            payload: self.payload()?,
            qos: self.qos()?,
            retain: self.flag("retain")?,
            properties: self.properties(message_properties)?,
            expires_at: None,
            publisher: self.optional_text("publisher")?.map(Arc::from),
        };
        Ok(Kept { message: Arc::new(message), expires_at: self.optional_time("expires_at")? })
    }

    pub(super) fn will(&mut self) -> Result<Option<Arc<Will>>, Wrong> {
        let mut inner = match self.take("will") {
            None => return Ok(None),
            Some(Json::Object(fields)) => Self { fields, within: "will." },
            Some(_) => return self.wrong("will", "an object is expected"),
        };
        let will = Will {
            topic: inner.topic()?,
            payload: inner.payload()?,
            qos: inner.qos()?,
            retain: inner.flag("retain")?,
            properties: inner.properties(will_properties)?,
        };
        inner.done()?;
        Ok(Some(Arc::new(will)))
    }

    pub(super) fn identifiers(&mut self) -> Result<Vec<u32>, Wrong> {
        let Some(Json::Array(all)) = self.take("identifiers") else {
            return self.wrong("identifiers", "a list is expected");
        };
        let numbers = all.iter().map(|one| one.as_u64().and_then(|number| u32::try_from(number).ok()));
        numbers.collect::<Option<_>>().map_or_else(|| self.wrong("identifiers", "numbers are expected"), Ok)
    }

    pub(super) fn places(&mut self) -> Result<Vec<(TopicFilter, Position)>, Wrong> {
        let Some(Json::Array(all)) = self.take("places") else { return self.wrong("places", "a list is expected") };
        let mut places = Vec::with_capacity(all.len());
        for one in all {
            let Json::Object(fields) = one else { return self.wrong("places", "objects are expected") };
            let mut inner = Self { fields, within: "places." };
            places.push((inner.filter()?, Position(inner.number("at")?)));
            inner.done()?;
        }
        Ok(places)
    }

    /// Nothing may be left that was not understood.
    pub(super) fn done(self) -> Result<(), Wrong> {
        match self.fields.keys().next() {
            Some(name) => self.wrong(name, "this field is not known here"),
            None => Ok(()),
        }
    }
}

/// The fields of a payload.
fn put_payload(line: &mut Map<String, Json>, payload: &[u8]) {
    match std::str::from_utf8(payload) {
        Ok(text) => line.insert("payload".to_owned(), json!(text)),
        Err(_) => line.insert("payload_base64".to_owned(), json!(base64::encode(payload))),
    };
}

fn put_properties(line: &mut Map<String, Json>, properties: &Properties) {
    if !properties.raw().is_empty() {
        line.insert("properties".to_owned(), json!(base64::encode(properties.raw())));
    }
}

/// The fields of a message.
pub(super) fn put_message(line: &mut Map<String, Json>, Kept { message, expires_at }: &Kept) {
    let Message { topic, payload, qos, retain, properties, expires_at: _, publisher } = &**message;
    line.insert("topic".to_owned(), json!(topic.as_str()));
    line.insert("qos".to_owned(), json!(*qos as u8));
    line.insert("retain".to_owned(), json!(retain));
    put_payload(line, payload);
    put_properties(line, properties);
    if let Some(publisher) = publisher {
        line.insert("publisher".to_owned(), json!(&**publisher));
    }
    if let Some(at) = expires_at {
        line.insert("expires_at".to_owned(), json!(at.as_millis()));
    }
}

pub(super) fn will(will: &Will) -> Json {
    let mut line = Map::new();
    line.insert("topic".to_owned(), json!(will.topic.as_str()));
    line.insert("qos".to_owned(), json!(will.qos as u8));
    line.insert("retain".to_owned(), json!(will.retain));
    put_payload(&mut line, &will.payload);
    put_properties(&mut line, &will.properties);
    Json::Object(line)
}
