//! 10 gigabit Ethernet cores in the gateware.
//!
//! A core is a register of 16 KiB and more: settings at its start, an ARP table of 256 stations behind. There are two
//! layouts; a core of the newer one tells its type by its first word.
//!
//! | | MAC | gateway | IP | netmask | multicast IP, mask | enable | port | ARP table |
//! |---|---|---|---|---|---|---|---|---|
//! | older | 0x00 | 0x0c | 0x10 | 0x38 | 0x30, 0x34 | 0x21 | 0x22 | 0x3000 |
//! | newer | 0x0c | 0x18 | 0x14 | 0x1c | 0x20, 0x24 | 0x2f | 0x32 | 0x1000 |

use super::{
    Fpga, FpgaError,
    address::{Ip, Mac},
    plain::{Dict, Plain},
};
use crate::katcp_client::Limit;
use proximity_proto::{Context, expose};
use std::fmt::Write;

/// The stations of an ARP table.
const STATIONS: usize = 256;
/// As much of a core as tells its layout.
const HEAD: u64 = 0x40;
/// How much of a core is looked at: settings, transmit and receive buffers, ARP table.
const CORE: u64 = 0x4000;

/// Where the settings of a core are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Older,
    Newer,
}

impl Layout {
    /// The layout of a core that begins with these bytes.
    ///
    /// The newer one begins with its type: whether it has a processor's transmit and receive side, revision, 2. But so
    /// does an older one whose MAC address begins with 02:02, as many do; what tells them apart is the netmask of the
    /// newer one, or, before it has one, that its MAC address is 0 where the older one has its IP address.
    fn of(core: &[u8]) -> Self {
        let mask = u32_at(core, 0x1c);
        let is_mask = mask != 0 && mask.leading_ones() + mask.trailing_zeros() == 32;
        match core {
            [0 | 1, 0 | 1, _, 2, ..] if is_mask || u32_at(core, 0x10) == 0 => Self::Newer,
            _ => Self::Older,
        }
    }

    fn arp(self) -> usize {
        match self {
            Self::Older => 0x3000,
            Self::Newer => 0x1000,
        }
    }
}

#[expose(part = TenGbe)]
impl Fpga {
    /// Sets up a 10GbE core and switches it on.
    ///
    /// device_name: the core's register
    /// mac: MAC address, as a number or as text
    /// ip: IP address, as a number or as text
    /// port: UDP port
    /// arp_table: a list of 256 MAC addresses as numbers, by the last byte of the station's IP address
    /// gateway: the last byte of the gateway's IP address, or all of it
    /// subnet_mask: as a number or as text
    ///
    /// Packets on their way are lost. The ARP table is read back; the settings are not.
    ///
    /// raises KeyError: the running gateware has no such core
    /// raises ValueError: it has too few bytes to be one
    /// raises ValueError: arp_table has not 256 entries
    #[allow(clippy::too_many_arguments)] // a published signature
    pub fn config_10gbe_core(
        &mut self,
        cx: &Context<'_>,
        device_name: &str,
        mac: Mac,
        ip: Ip,
        port: u16,
        arp_table: Vec<u64>,
        #[default(1)] gateway: u32,
        #[default(Ip(0xffff_ff00))] subnet_mask: Ip,
    ) -> Result<(), FpgaError> {
        if arp_table.len() != STATIONS {
            return Err(FpgaError::BadValue {
                what: "the length of argument 'arp_table'",
                value: arp_table.len().to_string(),
                must_be: "256",
            });
        }
        let limit = self.limit(cx, CORE);
        let head = self.read_range(&limit, device_name, 0, HEAD)?;
        let layout = Layout::of(self.data.get(head).unwrap_or_default());
        let arp: Vec<u8> = arp_table.iter().flat_map(|station| station.to_be_bytes()).collect();
        let [mac, mask] = [mac.0.to_be_bytes().to_vec(), subnet_mask.0.to_be_bytes().to_vec()];
        let [gateway, ip] = [gateway.to_be_bytes(), ip.0.to_be_bytes()];
        // Switched on, not in reset; then the port.
        let [enable, port] = [[0, 1], port.to_be_bytes()];
        let settings: Vec<(u64, Vec<u8>)> = match layout {
            Layout::Older => {
                let block = [&mac[..], &[0; 4], &gateway, &ip, &[0; 12], &enable, &port].concat();
                vec![(0x00, block), (0x38, mask)]
            }
            Layout::Newer => vec![
                (0x0c, [&mac[..], &ip, &gateway, &mask].concat()),
                (0x30, [&[0; 2][..], &port].concat()),
                (0x2c, [&[0; 2][..], &enable].concat()),
            ],
        };
        for (offset, bytes) in settings {
            self.write_range(&limit, device_name, offset, &bytes)?;
        }
        self.write_verified(&limit, device_name, layout.arp() as u64, &arp)
    }

    /// Tells how a 10GbE core is set up.
    ///
    /// dev_name: the core's register
    /// returns: a dictionary of its settings; arp is a list of the 256 stations' MAC addresses
    ///
    /// Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such core
    /// raises ValueError: it has too few bytes to be one
    #[effect(read)]
    pub fn get_10gbe_core_details(
        &mut self,
        cx: &Context<'_>,
        dev_name: &str,
    ) -> Result<Dict, FpgaError> {
        let limit = self.limit(cx, CORE);
        let core = self.core(&limit, dev_name)?;
        Ok(details(&core))
    }

    /// Tells how a 10GbE core is set up, as text for a person.
    ///
    /// dev_name: the core's register
    /// arp: the stations of the ARP table too
    /// cpu: the processor's packet buffers too
    /// returns: text of many lines
    ///
    /// Nothing on the board changes.
    ///
    /// raises KeyError: the running gateware has no such core
    /// raises ValueError: it has too few bytes to be one
    #[effect(read)]
    pub fn print_10gbe_core_details(
        &mut self,
        cx: &Context<'_>,
        dev_name: &str,
        #[default(false)] arp: bool,
        #[default(false)] cpu: bool,
    ) -> Result<String, FpgaError> {
        let limit = self.limit(cx, CORE);
        let core = self.core(&limit, dev_name)?;
        Ok(report(dev_name, &core, arp, cpu))
    }
}

impl Fpga {
    /// A core's bytes.
    fn core(&mut self, limit: &Limit<'_>, name: &str) -> Result<Vec<u8>, FpgaError> {
        // Some cores have less, and lack the last parts; what has no head is none.
        let size = self.check_range(limit, name, 0, HEAD)?.unwrap_or(CORE);
        let range = self.read_range(limit, name, 0, size.min(CORE))?;
        Ok(self.data.get(range).unwrap_or_default().to_vec())
    }
}

fn u32_at(core: &[u8], at: usize) -> u32 {
    core.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn u64_at(core: &[u8], at: usize) -> u64 {
    core.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn u8_at(core: &[u8], at: usize) -> u32 {
    core.get(at).copied().unwrap_or_default().into()
}

fn stations(core: &[u8], layout: Layout) -> impl Iterator<Item = Mac> {
    let table = core.get(layout.arp()..).unwrap_or_default();
    let (entries, _) = table.as_chunks::<8>();
    let mac = |entry: &[u8; 8]| Mac(u64::from_be_bytes(*entry) & 0xffff_ffff_ffff);
    entries.iter().take(STATIONS).map(mac)
}

fn details(core: &[u8]) -> Dict {
    let layout = Layout::of(core);
    let mac = |at| Mac(u64_at(core, at) & 0xffff_ffff_ffff).to_string();
    let ip = |at| Ip(u32_at(core, at)).to_string();
    let mut dict = Dict::default();
    match layout {
        Layout::Older => {
            dict.add("layout", "older");
            dict.add("mac", mac(0x00));
            dict.add("gateway_ip", ip(0x0c));
            dict.add("ip", ip(0x10));
            dict.add("subnet_mask", ip(0x38));
            dict.add("fabric_port", u32_at(core, 0x20) & 0xffff);
            dict.add("fabric_en", u8_at(core, 0x21) & 1 != 0);
            dict.add("reset", u8_at(core, 0x20) & 1 != 0);
            dict.add("multicast_base_ip", ip(0x30));
            dict.add("multicast_mask", ip(0x34));
            let status = u8_at(core, 0x27);
            let lanes = (2..6).map(|bit| Plain::Bool(status >> bit & 1 != 0)).collect::<Vec<_>>();
            dict.add("xaui_lane_sync", lanes);
            dict.add("xaui_chan_bond", status >> 6 & 1 != 0);
            for (place, name) in [(0x28, "rx_eq_mix"), (0x29, "rx_eq_pol")] {
                dict.add(name, u8_at(core, place));
            }
            for (place, name) in [(0x2a, "tx_preemph"), (0x2b, "tx_swing")] {
                dict.add(name, u8_at(core, place));
            }
            dict.add("rx_unacked", u8_at(core, 0x1b));
        }
        Layout::Newer => {
            dict.add("layout", "newer");
            dict.add("core_revision", u8_at(core, 0x02));
            dict.add("mac", mac(0x0c));
            dict.add("ip", ip(0x14));
            dict.add("gateway_ip", ip(0x18));
            dict.add("subnet_mask", ip(0x1c));
            dict.add("multicast_base_ip", ip(0x20));
            dict.add("multicast_mask", ip(0x24));
            dict.add("fabric_en", u32_at(core, 0x2c) & 1 != 0);
            dict.add("fabric_port", u32_at(core, 0x30) & 0xffff);
        }
    }
    dict.add(
        "arp",
        stations(core, layout).map(|mac| mac.to_string().into()).collect::<Vec<Plain>>(),
    );
    dict
}

fn report(name: &str, core: &[u8], arp: bool, cpu: bool) -> String {
    let mut text = format!("10GbE core {name}\n");
    for (key, value) in details(core).0 {
        let shown = match value {
            Plain::Text(text) => text,
            Plain::Int(number) => number.to_string(),
            Plain::Bool(truth) => if truth { "yes" } else { "no" }.into(),
            Plain::List(lanes) if key == "xaui_lane_sync" => lanes
                .iter()
                .map(|lane| if *lane == Plain::Bool(true) { '1' } else { '0' })
                .collect(),
            _ => continue,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {key:<18} {shown}");
    }
    let layout = Layout::of(core);
    if arp {
        text += "ARP table\n";
        for (station, mac) in stations(core, layout).enumerate() {
            let _ = writeln!(text, "  {station:3}  {mac}");
        }
    }
    if cpu && layout == Layout::Older {
        for (title, start) in [("transmit buffer", 0x1000), ("receive buffer", 0x2000)] {
            let _ = writeln!(text, "{title}");
            let buffer = core.get(start..start + 0x1000).unwrap_or_default();
            for (line, bytes) in
                buffer.chunks(16).enumerate().filter(|(_, b)| b.iter().any(|b| *b != 0))
            {
                let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let _ = writeln!(text, "  {:04x}  {}", 16 * line, digits.join(" "));
            }
        }
    }
    text
}
