//! Where a connection comes from, by what libzmq tells of it.

use proximity_proto::{Principal, object::PrincipalKind};
use std::net::IpAddr;

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A process of this machine, over a path.
    Path,
    Network(IpAddr),
    Unknown,
}

impl Origin {
    /// That of a message, by its property `Peer-Address`. For a path libzmq tells the numbers of user,
    /// group and process, after a colon each, where it tells an address otherwise.
    pub(super) fn of(told: Option<&str>) -> Self {
        match told {
            None => Self::Unknown,
            Some(told) => match told.parse::<IpAddr>() {
                Ok(address) => Self::Network(address.to_canonical()),
                Err(_) if told.matches(':').count() == 3 => Self::Path,
                Err(_) => Self::Unknown,
            },
        }
    }

    pub(super) fn address(self) -> Option<IpAddr> {
        if let Self::Network(address) = self { Some(address) } else { None }
    }

    fn is_local(self) -> bool {
        self == Self::Path || self.address().is_some_and(|address| address.is_loopback())
    }

    fn kind(self) -> PrincipalKind {
        if self.is_local() { PrincipalKind::Local } else { PrincipalKind::Address }
    }

    pub(super) fn principal(self) -> Principal {
        let address = self.address().map(|address| address.to_string()).unwrap_or_default();
        Principal { kind: self.kind(), name: String::new(), address }
    }
}
