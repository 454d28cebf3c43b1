//! The registers of the running gateware, as the board lists them.

use super::{BOARD_ID, ByteOrder, Fpga, FpgaError};
use crate::katcp_client::{Arg, KatcpError, Limit};
use proximity_proto::{fault::did_you_mean, katcp::Message};
use std::collections::BTreeMap;

/// The most registers taken from a board. A large design has a few thousand.
const MOST: usize = 65_536;

/// The board's list of registers, as it was at some time.
#[derive(Default)]
pub(super) struct Devices {
    sizes: BTreeMap<String, Bits>,
    /// The client's count of changes when it was asked for; `None` if it is to be asked for anew.
    at: Option<u64>,
    /// Whether the board lists sizes at all.
    unlisted: bool,
}

/// The size of a register, or its address, in bits: few, but some, are no whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(pub(super) u64);

impl Bits {
    /// The bytes that it takes.
    pub(super) fn bytes(self) -> u64 {
        self.0.div_ceil(8)
    }

    /// Reads `4:0`, bytes and bits, or `4` from older servers; decimal or `0x` hexadecimal.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (bytes, bits) = text.split_once(':').unwrap_or((text, "0"));
        number(bytes)?.checked_mul(8)?.checked_add(number(bits)?).map(Self)
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Devices {
    /// Forgets the list: the registers may have changed.
    pub(super) fn forget(&mut self) {
        self.at = None;
    }
}

impl Fpga {
    /// Sees to it that `count` bytes at `offset` lie in `register`, and returns its size; `None` where the
    /// board does not tell sizes.
    pub(super) fn check_range(
        &mut self,
        limit: &Limit<'_>,
        register: &str,
        offset: u64,
        count: u64,
    ) -> Result<Option<u64>, FpgaError> {
        self.client.connect(limit)?;
        let fresh = self.devices.at != Some(self.client.changes());
        if fresh {
            self.list(limit)?;
            if self.detects {
                // Untold, it has to be asked for again: a list is not enough to read words by.
                let detected = self.detect_byte_order(limit);
                detected.inspect_err(|_| self.devices.forget())?;
            }
        }
        let result = self.range_in_list(register, offset, count);
        if result.is_err() && !fresh {
            // Old servers do not tell their other clients of new gateware: make sure.
            self.list(limit)?;
            return self.range_in_list(register, offset, count);
        }
        result
    }

    /// The reason why the board refused something, where its list of registers tells it.
    pub(super) fn explain(
        &mut self,
        limit: &Limit<'_>,
        error: KatcpError,
        (register, offset, count): (&str, u64, u64),
    ) -> FpgaError {
        if !matches!(error, KatcpError::Refused { .. }) {
            return error.into();
        }
        match self.list(limit).and_then(|()| self.range_in_list(register, offset, count)) {
            Ok(_) | Err(FpgaError::Katcp(_)) => error.into(),
            Err(reason) => reason,
        }
    }

    fn range_in_list(
        &self,
        register: &str,
        offset: u64,
        count: u64,
    ) -> Result<Option<u64>, FpgaError> {
        if self.devices.unlisted {
            return Ok(None);
        }
        let sizes = &self.devices.sizes;
        let Some(size) = sizes.get(register).map(|size| size.bytes()) else {
            let meant = did_you_mean(register, sizes.keys().map(String::as_str));
            return Err(FpgaError::NoRegister {
                board: self.client.board().clone(),
                register: register.to_owned(),
                meant: meant.map(str::to_owned),
                count: sizes.len(),
            });
        };
        if offset.checked_add(count).is_none_or(|end| end > size) {
            let register = register.to_owned();
            return Err(FpgaError::PastEnd { register, size, count, offset });
        }
        Ok(Some(size))
    }

    /// Tells the byte order by the board's id, where the design has it. An id has two bytes as a rule, so one that
    /// has others is the wrong way round; only two kinds of board have ids of four.
    fn detect_byte_order(&mut self, limit: &Limit<'_>) -> Result<(), FpgaError> {
        if !self.devices.sizes.contains_key(BOARD_ID) {
            return Ok(());
        }
        let args = [BOARD_ID.into(), Arg::Uint(0), Arg::Uint(4)];
        let mut reply = self.client.ask(limit, "read", &args, |_| {})?;
        let id = reply.next_arg().unwrap_or_default();
        let known = matches!(id, [0xb0, 0x0b, ..] | [0xba, 0xbe, ..]);
        let big = id != [0; 4] && (id.first() == Some(&0) || known);
        self.byte_order = if big { ByteOrder::Big } else { ByteOrder::Little };
        Ok(())
    }

    /// Asks the board for its registers and their sizes.
    fn list(&mut self, limit: &Limit<'_>) -> Result<(), FpgaError> {
        self.devices.forget();
        let mut sizes = BTreeMap::new();
        let listed = self.list_devices(limit, Some("size"), |name, size| {
            if let Some(size) = size {
                sizes.insert(name, size);
            }
        });
        self.devices.unlisted = match listed {
            Ok(()) => false,
            // A server that does not know the question answers `invalid`.
            Err(FpgaError::Katcp(KatcpError::Refused { reply, .. }))
                if reply.starts_with("invalid") =>
            {
                true
            }
            Err(error) => return Err(error),
        };
        self.devices.sizes = sizes;
        self.devices.at = Some(self.client.changes());
        Ok(())
    }

    /// Passes each device of `?listdev` to `each`, with its size or address if `what` asks for one.
    pub(super) fn list_devices(
        &mut self,
        limit: &Limit<'_>,
        what: Option<&'static str>,
        mut each: impl FnMut(String, Option<Bits>),
    ) -> Result<(), FpgaError> {
        let args = what.map(Arg::from);
        let mut count = 0;
        let on_inform = |mut inform: Message<'_>| {
            count += 1;
            if let Some(name) = inform.next_arg().filter(|_| count <= MOST) {
                let name = String::from_utf8_lossy(name).into_owned();
                each(name, inform.next_arg().and_then(|size| Bits::parse(size)));
            }
        };
        let reply = self.client.ask(limit, "listdev", args.as_slice(), on_inform);
        match reply.map(|_| ()) {
            // tcpborphserver refuses to list the registers of nothing, and says so in its log only.
            Err(KatcpError::Refused { reply, logs, .. })
                if !reply.starts_with("invalid")
                    && logs.iter().any(|line| line.contains("not programmed")) =>
            {
                Err(FpgaError::NotProgrammed { board: self.client.board().clone() })
            }
            result => Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_both_servers_are_read() {
        let bytes = |text: &[u8]| Bits::parse(text).map(Bits::bytes);
        assert_eq!(bytes(b"65536:0"), Some(65_536));
        assert_eq!(bytes(b"65536"), Some(65_536));
        assert_eq!(bytes(b"0:12"), Some(2));
        assert_eq!(Bits::parse(b"0x8000:4"), Some(Bits(0x8000 * 8 + 4)));
        for wrong in [&b""[..], b":", b"x:0", b"-4:0", b"99999999999999999999:0"] {
            assert_eq!(Bits::parse(wrong), None, "{wrong:?}");
        }
    }
}
