//! Scenarios of our own clients, which run against our broker and against mosquitto.

use super::{Broker, READY, retain};

/// Leaves the retained message of [`READY`].
pub(crate) fn prepared(broker: Broker) -> Broker {
    retain(broker.port, READY, READY);
    broker
}

/// Makes two tests of each scenario: one against our broker, and one against mosquitto where it is installed.
macro_rules! against_both {
    ($($(#[$note:meta])* fn $name:ident($broker:ident: &Broker) $body:block)*) => {
        $($(#[$note])* fn $name($broker: &Broker) $body)*

        mod with_our_broker {
            use crate::support::{Broker, prepared};
            $(#[test] fn $name() { super::$name(&prepared(Broker::start())); })*
        }

        mod with_mosquitto {
            use crate::support::{Broker, prepared};
            $(#[test] fn $name() { if let Some(broker) = Broker::mosquitto() { super::$name(&prepared(broker)); } })*
        }
    };
}
pub(crate) use against_both;
