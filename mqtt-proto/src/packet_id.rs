//! Packet identifiers (MQTT 5.0 section 2.2.1).
use core::num::NonZeroU16;

/// A non-zero Packet Identifier [MQTT-2.2.1-3] [3.1.1: MQTT-2.3.1-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The largest identifier.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// `None` for zero, which the standard forbids.
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The identifier as it stands on the wire.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier that follows this one; 65,535 is followed by 1.
    #[must_use]
    pub const fn next(self) -> Self {
        match NonZeroU16::new(self.0.get().wrapping_add(1)) {
            Some(id) => Self(id),
            None => Self::MIN,
        }
    }
}
