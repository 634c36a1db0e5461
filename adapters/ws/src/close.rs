//! Why a connection is closed (RFC 6455 section 7.4).
//!
//! Invariant: a code that may not appear on the wire is never sent, and is refused when it is received.
use core::fmt;

/// A status code of a Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose was fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the end is going away: a server that stops, a page that is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a type of data that is not accepted: text, which never carries MQTT.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: data that contradicts its type: a reason that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: something that a policy forbids.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message above the limit.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: the server met something unexpected.
    pub const INTERNAL: Self = Self(1011);

    /// A code, if it may be sent: 1000 to 1003, 1007 to 1014, and 3000 to 4999 (sections 7.4.1 and 7.4.2, and the codes
    /// registered since).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
