//! What the scripts of broker and client have in common: small bytes that name a few texts, identifiers and deliveries, so
//! that steps meet each other.
use mqtt_session::proto::{Delivery, PacketId, QoS};

/// The same bytes twice must give the same transcript.
pub(crate) fn run_twice(data: &[u8], run: fn(&[u8]) -> String) {
    assert_eq!(run(data), run(data), "the same input, another output");
}

/// One of these texts, as what it is to be.
pub(crate) fn pick<'a, T: TryFrom<&'a str>>(from: &[&'a str], index: u8) -> T {
    from[usize::from(index) % from.len()].try_into().ok().expect("the texts are valid")
}

pub(crate) fn an_id(id: u8) -> PacketId {
    PacketId::new(u16::from(id % 8) + 1).expect("not zero")
}

pub(crate) fn a_qos(qos: u8) -> QoS {
    QoS::new(qos % 3).expect("0 to 2")
}

pub(crate) fn delivery(qos: u8, id: u8, dup: bool) -> Delivery {
    match a_qos(qos) {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { id: an_id(id), dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { id: an_id(id), dup },
    }
}
