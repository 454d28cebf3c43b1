//! TAP devices on 10GbE cores. No network device is made: the core's registers are set, and the server tells about it.

use crate::memory::Memory;
use crate::peripherals::{ARP_ENTRIES, NO_STATION};
use std::net::Ipv4Addr;

/// A 10GbE core that the server's kernel sees as a network device.
#[derive(Debug, Clone)]
pub(crate) struct Tap {
    pub(crate) name: String,
    /// Byte address of the core.
    pub(crate) core: usize,
    pub(crate) ip: Ipv4Addr,
    pub(crate) prefix: u32,
    pub(crate) port: u16,
    pub(crate) mac: [u8; 6],
    pub(crate) gateway: Ipv4Addr,
    pub(crate) groups: Vec<String>,
}

impl Tap {
    fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// The address as the core's 64-bit registers hold it.
    fn mac_entry(&self) -> Vec<u8> {
        [&[0, 0][..], &self.mac].concat()
    }

    fn index(&self) -> usize {
        usize::from(self.ip.octets()[3])
    }

    /// Sets up the core as the server does.
    pub(crate) fn configure(&self, memory: &mut Memory) {
        memory.write(self.core, &self.mac_entry());
        memory.write(self.core + 0x0c, &u32::from(self.gateway.octets()[3]).to_be_bytes());
        memory.write(self.core + 0x10, &self.ip.octets());
        let [high, low] = self.port.to_be_bytes();
        memory.write(self.core + 0x20, &[0, 1, high, low]);
        let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
        memory.write(self.core + 0x38, &mask.to_be_bytes());
        self.forget_stations(memory);
    }

    /// Empties the core's ARP table, but for the core's own entry.
    pub(crate) fn forget_stations(&self, memory: &mut Memory) {
        const TABLE: usize = 0x3000;
        memory.write(self.core + TABLE, &NO_STATION.to_be_bytes().repeat(ARP_ENTRIES));
        memory.write(self.core + TABLE + 8 * self.index(), &self.mac_entry());
    }

    /// What `?tap-info` logs. The counts are those of the recording.
    pub(crate) fn report(&self, link: u32) -> Vec<String> {
        let mac = self.mac_text();
        let stations = 1_u64 << (32 - self.prefix);
        vec![
            format!("self {mac} at index {} valid for 1980ms", self.index()),
            format!("mac {mac}"),
            "current iteration 3".to_owned(),
            "polling interval 10ms".to_owned(),
            "max reads per interval 8".to_owned(),
            format!("address {}", self.ip),
            format!("subnet is /{} with {stations}-2 stations", self.prefix),
            format!("gateware port is {}", self.port),
            format!("tap device name {} on fd 5", self.name),
            "valid entries cached for 500000ms".to_owned(),
            "arp will loop another 2 times".to_owned(),
            "announce period initially every 1000ms currently 2000ms incrementing by 1000ms until \
             16000ms"
                .to_owned(),
            "query period initially every 50ms currently 7050ms incrementing by 7000ms until \
             1600000ms"
                .to_owned(),
            "current arp spam deferrals 0".to_owned(),
            "current index 20".to_owned(),
            "current buffers arp=42/rx=0/tx=0".to_owned(),
            format!("subscribed to {} groups via fd=-1", self.groups.len()),
            "TX arp=1 user=0 error=2 total=1".to_owned(),
            "TX sizes smallest=72 biggest=72".to_owned(),
            "RX arp=0 user=0 error=0 total=0".to_owned(),
            "RX sizes smallest=4097 biggest=0".to_owned(),
            "arp requests used to glean stations 0".to_owned(),
            format!("link status word is {link:#010x}"),
        ]
    }
}
