//! Where an agent is, as people write it.

/// The port of an agent where none is named.
pub const DEFAULT_PORT: u16 = 5555;

/// The agent that is meant where none is named.
pub const DEFAULT_ADDRESS: &str = "tcp://127.0.0.1:5555";

/// A text that names no place where an agent could be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is no address of an agent: {why}")]
pub struct AddressError {
    pub(crate) given: String,
    pub(crate) why: String,
}

impl AddressError {
    /// What an address may be, for a person.
    pub fn hint(&self) -> &'static str {
        "HOST, HOST:PORT, tcp://HOST:PORT or ipc:///PATH"
    }
}

/// The ZeroMQ endpoint that `given` means: `HOST`, `HOST:PORT`, `tcp://HOST:PORT`, `ipc://PATH`.
pub(crate) fn endpoint(given: &str) -> Result<String, AddressError> {
    let error = |why: &str| AddressError { given: given.into(), why: why.into() };
    let place = match given.split_once("://") {
        Some(("ipc", "")) => return Err(error("the path is missing")),
        Some(("ipc", _)) => return Ok(given.into()),
        Some(("tcp", place)) => place,
        Some((other, _)) => return Err(error(&format!("there is no transport '{other}'"))),
        None => given,
    };
    // An IPv6 address stands in brackets, so that its colons are no port's.
    let colon = place.rfind(':').filter(|colon| !place[*colon..].contains(']'));
    let (host, port) = match colon {
        Some(colon) => {
            let port = place[colon + 1..].parse::<u16>().ok().filter(|port| *port > 0);
            (&place[..colon], port.ok_or_else(|| error("a port is 1 to 65535"))?)
        }
        None => (place, DEFAULT_PORT),
    };
    if host.is_empty() {
        return Err(error("the host is missing"));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(error("an IPv6 address stands in brackets, as in [::1]:5555"));
    }
    if host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(error("a host has no blanks and no slashes"));
    }
    Ok(format!("tcp://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn the_ways_to_say_where() {
        for (given, meant) in [
            ("colossus", "tcp://colossus:5555"),
            ("colossus:6000", "tcp://colossus:6000"),
            ("tcp://colossus", "tcp://colossus:5555"),
            ("tcp://127.0.0.1:1", "tcp://127.0.0.1:1"),
            ("[::1]", "tcp://[::1]:5555"),
            ("[::1]:6000", "tcp://[::1]:6000"),
            ("ipc:///run/proximity/agent.sock", "ipc:///run/proximity/agent.sock"),
        ] {
            assert_eq!(endpoint(given).as_deref(), Ok(meant));
        }
    }

    #[test]
    fn the_sentences_of_wrong_addresses() {
        for (given, why) in [
            ("", "the host is missing"),
            (":5555", "the host is missing"),
            ("host:port", "a port is 1 to 65535"),
            ("host:0", "a port is 1 to 65535"),
            ("host:70000", "a port is 1 to 65535"),
            ("udp://host:1", "there is no transport 'udp'"),
            ("ipc://", "the path is missing"),
            ("::1", "an IPv6 address stands in brackets, as in [::1]:5555"),
            ("a host", "a host has no blanks and no slashes"),
        ] {
            let error = endpoint(given).unwrap_err().to_string();
            assert_eq!(error, format!("'{given}' is no address of an agent: {why}"));
        }
    }
}
