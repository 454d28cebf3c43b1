//! Ethernet and IP addresses as people and programs write them.

use proximity_proto::{
    FromArg, ToReply, Value,
    arg::{Mismatch, Type},
};
use std::{fmt, net::Ipv4Addr};

/// A MAC address: a number of 48 bits, or text as 02:00:00:00:00:01.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub u64);

/// The largest number of 48 bits.
const MAC_MAX: u64 = (1 << 48) - 1;

impl FromArg<'_> for Mac {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        let must_be = "a MAC address such as '02:00:00:00:00:01', or its number";
        let Some(text) = value.as_text() else {
            let number = u64::from_arg(value)?;
            let out = Mismatch::OutOfRange { given: number.into(), min: 0, max: MAC_MAX.into() };
            return if number > MAC_MAX { Err(out) } else { Ok(Self(number)) };
        };
        let digits: Vec<&str> = text.split([':', '-']).collect();
        let byte = |digits: &&str| {
            let sound = digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            sound.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u64>> = digits.iter().map(byte).collect();
        match bytes {
            Some(bytes) if bytes.len() == 6 => {
                Ok(Self(bytes.into_iter().fold(0, |mac, byte| mac << 8 | byte)))
            }
            _ => Err(Mismatch::Refused { must_be: must_be.into() }),
        }
    }

    fn ty() -> Type {
        Type::named("int|str")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, bytes @ ..] = self.0.to_be_bytes();
        for (place, byte) in bytes.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// An IPv4 address: a number of 32 bits, or text as 10.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip(pub u32);

impl FromArg<'_> for Ip {
    fn from_arg(value: Value<'_>) -> Result<Self, Mismatch> {
        match value.as_text() {
            None => u32::from_arg(value).map(Self),
            Some(text) => text.parse().map(|ip: Ipv4Addr| Self(ip.to_bits())).map_err(|_| {
                let must_be = "an IPv4 address such as '10.0.0.1', or its number".into();
                Mismatch::Refused { must_be }
            }),
        }
    }

    fn ty() -> Type {
        Type::named("int|str")
    }
}

impl ToReply for Ip {
    fn to_reply(&self, out: &mut Vec<u8>) {
        self.0.to_reply(out);
    }

    fn ty() -> Type {
        Type::named("int")
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from_bits(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_numbers_and_as_text() {
        let mac = |value| Mac::from_arg(value).map(|mac| mac.to_string());
        assert_eq!(mac(Value::Text("02:0:a0:00:00:ff")).unwrap(), "02:00:A0:00:00:FF");
        assert_eq!(mac(Value::Uint(0x0200_0000_0001)).unwrap(), "02:00:00:00:00:01");
        assert!(mac(Value::Uint(1 << 48)).is_err());
        for wrong in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:100", "+2:0:0:0:0:0"]
        {
            assert!(mac(Value::Text(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(Ip::from_arg(Value::Text("10.0.0.1")), Ok(Ip(0x0a00_0001)));
        assert_eq!(Ip(0xffff_ff00).to_string(), "255.255.255.0");
        assert!(Ip::from_arg(Value::Text("10.0.0")).is_err());
    }
}
