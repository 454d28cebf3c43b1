//! Where an agent listens.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The longest path of a local socket, in bytes: the kernel's, less the closing zero.
const MAX_PATH: usize = 107;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// The address of one of this machine's interfaces; unspecified (`0.0.0.0`) for all of them.
        ip: IpAddr,
        /// The port; 0 for one that the system chooses.
        port: u16,
    },
    /// A local socket: an absolute path in the file system.
    Ipc(String),
}

impl Endpoint {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Endpoint::Tcp { ip, .. } => ip.to_canonical().is_loopback(),
            Endpoint::Ipc(_) => true,
        }
    }
}

/// As it is written in the configuration, and as libzmq wants it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { ip: IpAddr::V6(ip), port } => write!(f, "tcp://[{ip}]:{port}"),
            Endpoint::Tcp { ip, port } => write!(f, "tcp://{ip}:{port}"),
            Endpoint::Ipc(path) => write!(f, "ipc://{path}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let given = || text.to_owned();
        match text.split_once("://") {
            Some(("tcp", rest)) => {
                let (host, port) = rest
                    .rsplit_once(':')
                    .ok_or_else(|| EndpointError::NoPort { given: given() })?;
                let port = match port {
                    "*" => 0,
                    _ => {
                        port.parse().map_err(|_| EndpointError::Port { given: port.to_owned() })?
                    }
                };
                Ok(Endpoint::Tcp { ip: ip(host)?, port })
            }
            Some(("ipc", path)) if !path.starts_with('/') => {
                Err(EndpointError::Relative { given: path.to_owned() })
            }
            // libzmq takes the path up to a zero byte, and nobody wants any of the others.
            Some(("ipc", path)) if path.contains(char::is_control) => {
                Err(EndpointError::Control { given: path.escape_debug().to_string() })
            }
            Some(("ipc", path)) if path.len() > MAX_PATH => {
                Err(EndpointError::LongPath { given: path.len() })
            }
            Some(("ipc", path)) => Ok(Endpoint::Ipc(path.to_owned())),
            _ => Err(EndpointError::Scheme { given: given() }),
        }
    }
}

/// The address in `host`. No name is looked up: what it means may change, and with it who can come.
fn ip(host: &str) -> Result<IpAddr, EndpointError> {
    let wrong = || EndpointError::Host { given: host.to_owned() };
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse().map(IpAddr::V6).map_err(|_| wrong()),
        None if host == "*" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        None if host.parse::<Ipv6Addr>().is_ok() => {
            Err(EndpointError::Brackets { given: host.to_owned() })
        }
        None => host.parse().map(IpAddr::V4).map_err(|_| wrong()),
    }
}

/// What is wrong with an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither of the two kinds.
    #[error("'{given}' is no endpoint; write tcp://ADDRESS:PORT or ipc:///PATH")]
    Scheme {
        /// What was written.
        given: String,
    },
    /// The port is missing.
    #[error("'{given}' has no port; write tcp://ADDRESS:PORT, with * for any free port")]
    NoPort {
        /// What was written.
        given: String,
    },
    /// The port is no port.
    #[error("'{given}' is no port; it must be 0 to 65535, or * for any free one")]
    Port {
        /// What was written.
        given: String,
    },
    /// The address is no address.
    #[error(
        "'{given}' is no IP address; write one of this machine's like 127.0.0.1 or [::1], \
         or * for all of them"
    )]
    Host {
        /// What was written.
        given: String,
    },
    /// The port cannot be told from the address.
    #[error("an IPv6 address stands in brackets: [{given}]")]
    Brackets {
        /// The address.
        given: String,
    },
    /// The path depends on where the agent was started.
    #[error("the path '{given}' of a local socket must start with /")]
    Relative {
        /// The path.
        given: String,
    },
    /// The path cannot be meant.
    #[error("the path '{given}' of a local socket has a control character")]
    Control {
        /// The path, escaped.
        given: String,
    },
    /// The kernel would refuse the path.
    #[error("the path of a local socket has {given} bytes; it may have {MAX_PATH}")]
    LongPath {
        /// Its bytes.
        given: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_and_written_back() {
        for (text, local) in [
            ("tcp://127.0.0.1:5555", true),
            ("tcp://127.0.0.1:0", true),
            ("tcp://0.0.0.0:5555", false),
            ("tcp://10.1.2.3:65535", false),
            ("tcp://[::1]:5555", true),
            ("tcp://[::]:5555", false),
            ("ipc:///run/proximity/agent.sock", true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_local(), local, "{text}");
        }
    }

    #[test]
    fn a_star_is_all_addresses_or_any_free_port() {
        let endpoint: Endpoint = "tcp://*:*".parse().unwrap();
        assert_eq!(endpoint, Endpoint::Tcp { ip: Ipv4Addr::UNSPECIFIED.into(), port: 0 });
        assert!(!endpoint.is_local());
    }

    #[test]
    fn a_mapped_loopback_address_is_local() {
        assert!("tcp://[::ffff:127.0.0.1]:1".parse::<Endpoint>().unwrap().is_local());
    }
}
