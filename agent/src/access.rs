//! Who may come, and what of an object they may see: networks and name filters.

use regex_lite::Regex;
use std::{fmt, net::IpAddr, str::FromStr};

/// The longest pattern taken, in bytes; a name has at most 256.
const MAX_PATTERN: usize = 1024;

/// Which methods and attributes of an object can be seen and used.
///
/// Patterns are regular expressions that must match a whole name. Matching takes time linear in the
/// name's length, whatever the pattern.
#[derive(Debug, Default)]
pub struct Filter {
    /// What may be seen; `None` for everything.
    expose: Option<Vec<Pattern>>,
    /// What may not be seen, whatever `expose` says.
    hide: Vec<Pattern>,
}

impl Filter {
    /// A filter that shows what `expose` matches (`None`: everything) and `hide` does not.
    pub fn new(expose: Option<Vec<Pattern>>, hide: Vec<Pattern>) -> Self {
        Self { expose, hide }
    }

    /// Whether the method or attribute called `name` can be seen and used.
    ///
    /// A name that starts with an underscore never can.
    pub fn allows(&self, name: &str) -> bool {
        let exposed = match &self.expose {
            None => true,
            Some(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
        };
        !name.starts_with('_') && exposed && !self.hide.iter().any(|pattern| pattern.matches(name))
    }

    /// All patterns of the filter, those of `expose` first.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.expose.iter().flatten().chain(&self.hide)
    }
}

/// A regular expression for whole names.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(source: &str) -> Result<Self, PatternError> {
        if source.len() > MAX_PATTERN {
            return Err(PatternError::TooLong { given: source.len() });
        }
        // Alone first: "a)|(?:b" is wrong, though it would be right between the parentheses below.
        let wrong = |reason| PatternError::Syntax { given: source.to_owned(), reason };
        Regex::new(source).map_err(wrong)?;
        let regex = Regex::new(&format!("^(?:{source})$")).map_err(wrong)?;
        Ok(Self { source: source.to_owned(), regex })
    }
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than any sensible one.
    #[error("the pattern has {given} bytes; it may have {MAX_PATTERN}")]
    TooLong {
        /// Its bytes.
        given: usize,
    },
    /// It is no regular expression.
    #[error("'{given}' is no regular expression: {reason}")]
    Syntax {
        /// The pattern.
        given: String,
        /// What is wrong with it.
        reason: regex_lite::Error,
    },
}

/// The networks from which a client may come without encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether a client at `address` may come: one in these networks, or on this machine.
    pub fn allows(&self, address: IpAddr) -> bool {
        // A socket that serves both families tells 10.1.2.3 as ::ffff:10.1.2.3.
        let address = address.to_canonical();
        address.is_loopback() || self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there are none: only this machine may come.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each network.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<T: IntoIterator<Item = Network>>(networks: T) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// A network: all addresses that share their first bits. `10.1.0.0/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether all addresses of its family lie in the network.
    pub fn is_everybody(&self) -> bool {
        self.prefix == 0
    }

    /// Whether `address` lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(address, self.prefix) == self.address
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| NetworkError::Address { given: address.to_owned() })?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(|| NetworkError::Prefix { given: digits.to_owned(), most })?,
        };
        let network = Self { address: masked(address, prefix), prefix };
        if network.address == address {
            Ok(network)
        } else {
            Err(NetworkError::HostBits { given: text.to_owned(), network })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// `address` with all but its first `prefix` bits cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// What is wrong with a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address stands before the slash.
    #[error("'{given}' is no IP address; a network is written like 10.1.0.0/16 or fd00:1::/32")]
    Address {
        /// What stands there.
        given: String,
    },
    /// No length stands behind the slash.
    #[error("'/{given}' is no length of a network; it must be /0 to /{most}")]
    Prefix {
        /// What stands there.
        given: String,
        /// The most for this family of addresses.
        most: u8,
    },
    /// An address and a network are mixed up.
    #[error("'{given}' has bits set behind its length; the network is {network}")]
    HostBits {
        /// What was written.
        given: String,
        /// The network that it lies in.
        network: Network,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(expose: Option<&[&str]>, hide: &[&str]) -> Filter {
        let patterns = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Filter::new(expose.map(patterns), patterns(hide))
    }

    #[test]
    fn without_patterns_all_but_underscored_names_are_seen() {
        let filter = filter(None, &[]);
        assert!(filter.allows("read_uint"));
        assert!(!filter.allows("_private"));
        assert!(!filter.allows("__init__"));
    }

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let filter = filter(Some(&["read", "list.*", "a|bc"]), &[]);
        for (name, seen) in [
            ("read", true),
            ("read_uint", false),
            ("bulkread", false),
            ("listdev", true),
            ("relist", false),
            ("a", true),
            ("bc", true),
            ("ac", false),
            ("", false),
        ] {
            assert_eq!(filter.allows(name), seen, "{name}");
        }
    }

    #[test]
    fn hide_wins_over_expose_and_the_underscore_over_both() {
        let filter = filter(Some(&[".*"]), &["tap_.*"]);
        assert!(filter.allows("read"));
        assert!(!filter.allows("tap_start"));
        assert!(!filter.allows("_x"));
    }

    #[test]
    fn nothing_is_seen_of_an_empty_expose() {
        assert!(!filter(Some(&[]), &[]).allows("read"));
    }

    #[test]
    fn a_pattern_can_not_escape_from_its_parentheses() {
        for bad in ["a)|(?:b", "(?x)a#", "a\\", "(", "[a", "*"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_that_would_backtrack_for_years_is_answered_at_once() {
        let filter = filter(Some(&["(a+)+(a+)+(a+)+b"]), &[]);
        assert!(!filter.allows(&"a".repeat(256)));
    }

    #[test]
    fn a_pattern_of_absurd_length_is_refused() {
        let error = "a".repeat(1025).parse::<Pattern>().unwrap_err();
        assert_eq!(error.to_string(), "the pattern has 1025 bytes; it may have 1024");
        assert!("a{1000}{1000}{1000}".parse::<Pattern>().is_err());
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let networks: Networks = ["10.1.0.0/16", "192.168.7.9", "fd00:1::/32"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        for (address, allowed) in [
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("10.0.255.255", false),
            ("192.168.7.9", true),
            ("192.168.7.8", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.2.2.3", false),
            ("fd00:1:2::3", true),
            ("fd00:2::1", false),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
        ] {
            assert_eq!(networks.allows(address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn without_networks_only_this_machine_may_come() {
        let networks = Networks::default();
        assert!(networks.allows("127.0.0.1".parse().unwrap()));
        assert!(!networks.allows("10.1.2.3".parse().unwrap()));
        assert!(!networks.allows("0.0.0.0".parse().unwrap()));
    }

    #[test]
    fn a_network_of_all_addresses_takes_its_family() {
        let networks: Networks = ["0.0.0.0/0"].iter().map(|n| n.parse().unwrap()).collect();
        assert!(networks.allows("8.8.8.8".parse().unwrap()));
        assert!(!networks.allows("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_wrong_network_is_told_what_is_wrong() {
        for (text, message) in [
            ("lab", "'lab' is no IP address; a network is written like 10.1.0.0/16 or fd00:1::/32"),
            ("10.1.0.0/33", "'/33' is no length of a network; it must be /0 to /32"),
            ("fd00::/x", "'/x' is no length of a network; it must be /0 to /128"),
            (
                "10.1.2.3/16",
                "'10.1.2.3/16' has bits set behind its length; the network is 10.1.0.0/16",
            ),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), message);
        }
    }
}
