//! Enhanced authentication and re-authentication (MQTT 5.0 sections 3.15 and 4.12).
//!
//! Invariants: without a configured Authentication Method no AUTH leaves [MQTT-4.12.0-7] and none is taken [MQTT-4.12.0-6]; an AUTH answers
//! one of the Server, or begins a re-authentication.
use super::connection::Phase;
use super::{AuthStep, Client, Event, ProtocolError, StateError};
use crate::Instant;
use alloc::string::{String, ToString};
use bytes::Bytes;
use mqtt_proto::{Auth, Packet, Properties, Property, ReasonCode};

/// Where an exchange stands.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The Server waits for our AUTH.
    our_turn: bool,
    /// A re-authentication is under way.
    again: bool,
}

impl Client {
    /// Answers [`Event::Auth`] with the next step's Authentication Data.
    #[expect(clippy::needless_pass_by_value, reason = "as all byte strings of the interface")]
    pub fn authenticate(&mut self, now: Instant, data: Option<Bytes>) -> Result<(), StateError> {
        if !self.auth.our_turn {
            return Err(StateError::NotAsked);
        }
        self.auth.our_turn = false;
        self.send_auth(now, ReasonCode::ContinueAuthentication, data.as_ref()); // [MQTT-4.12.0-3]
        Ok(())
    }

    /// Authenticates again on the connection in use, with the method of CONNECT [MQTT-4.12.1-1]. Messages go on meanwhile. The end is
    /// [`Event::ReAuthenticated`] or a DISCONNECT of the Server.
    #[expect(clippy::needless_pass_by_value, reason = "as all byte strings of the interface")]
    pub fn reauthenticate(&mut self, now: Instant, data: Option<Bytes>) -> Result<(), StateError> {
        if self.phase != Phase::Online {
            return Err(StateError::NotConnected);
        }
        if self.config.auth_method.is_none() || self.auth.again {
            return Err(StateError::NotAsked);
        }
        self.auth.again = true;
        self.send_auth(now, ReasonCode::ReAuthenticate, data.as_ref());
        Ok(())
    }

    fn send_auth(&mut self, now: Instant, reason: ReasonCode, data: Option<&Bytes>) {
        let mut properties = Properties::builder();
        if let Some(method) = &self.config.auth_method {
            properties = properties.with(Property::AuthenticationMethod(method));
        }
        // Data beyond 65,535 bytes cannot be said in MQTT; the Server refuses the exchange without it.
        let _ = data.map(|data| properties.push(Property::AuthenticationData(data)));
        // Without Reason String and User Properties [MQTT-3.15.2-3].
        let auth = Packet::Auth(Auth { reason, properties: properties.build() });
        if self.send(now, &auth).is_err() {
            self.refuse(
                now,
                ProtocolError {
                    reason: ReasonCode::PacketTooLarge,
                    statement: "MQTT-3.2.2-15",
                    detail: "AUTH larger than the server allows",
                },
            );
        }
    }

    pub(super) fn on_auth(&mut self, _: Instant, auth: &Auth) -> Result<(), ProtocolError> {
        let step = self.auth_step(&auth.properties)?;
        let continues = auth.reason == ReasonCode::ContinueAuthentication;
        if matches!(self.phase, Phase::Handshake { .. }) && !continues {
            return Err(ProtocolError::new("MQTT-4.12.0-2", "AUTH before CONNACK that does not continue"));
        }
        if self.phase == Phase::Online && !self.auth.again {
            return Err(ProtocolError::new("section 4.12.1", "AUTH that nobody asked for"));
        }
        if self.auth.our_turn {
            return Err(ProtocolError::new("section 4.12", "AUTH before ours was sent"));
        }
        if continues {
            self.auth.our_turn = true;
            self.event(Event::Auth(step));
        } else {
            self.auth.again = false;
            self.event(Event::ReAuthenticated(step));
        }
        Ok(())
    }

    /// The Authentication Method of AUTH and of a successful CONNACK must be ours [MQTT-4.12.0-5], and absent if we gave none
    /// [MQTT-4.12.0-6].
    pub(super) fn auth_step(&self, properties: &Properties) -> Result<AuthStep, ProtocolError> {
        let Some(method) = &self.config.auth_method else {
            return Err(ProtocolError::new("MQTT-4.12.0-6", "authentication that CONNECT did not ask for"));
        };
        if properties.authentication_method() != Some(method) {
            return Err(ProtocolError::new("MQTT-4.12.0-5", "another Authentication Method than that of CONNECT"));
        }
        let data = properties.authentication_data().map(Bytes::copy_from_slice);
        Ok(AuthStep { method: String::to_string(method), data })
    }
}
