//! TAP devices: the board's processor as a station on a 10GbE core's network.

use super::{
    Fpga, FpgaError,
    address::{Ip, Mac},
    lossy,
    plain::{Dict, Plain},
};
use crate::katcp_client::Arg;
use proximity_proto::{Context, expose};

/// The longest name of a TAP device.
const NAME: usize = 8;

#[expose(part = Taps)]
impl Fpga {
    /// Connects the board's processor to a 10GbE core's network.
    ///
    /// tap_dev: the name that the TAP device gets, at most 8 letters
    /// device: the core's register
    /// mac: the core's MAC address, as a number or as text
    /// ip: its IP address, as a number or as text
    /// port: its UDP port
    ///
    /// The board's server answers ARP for the core from then on, and fills its ARP table.
    ///
    /// raises ValueError: tap_dev is too long
    /// raises RuntimeError: the board refused
    pub fn tap_start(
        &mut self,
        cx: &Context<'_>,
        tap_dev: &str,
        device: &str,
        mac: Mac,
        ip: Ip,
        port: u16,
    ) -> Result<(), FpgaError> {
        if tap_dev.len() > NAME || tap_dev.is_empty() {
            return Err(FpgaError::BadValue {
                what: "argument 'tap_dev'",
                value: format!("'{tap_dev}'"),
                must_be: "1 to 8 letters long",
            });
        }
        let limit = self.limit(cx, 0);
        let (ip, mac) = (ip.to_string(), mac.to_string());
        let args = [tap_dev.into(), device.into(), ip.as_str().into(), u32::from(port).into()];
        let args: Vec<Arg<'_>> = args.into_iter().chain([mac.as_str().into()]).collect();
        let result = self.client.ask(&limit, "tap-start", &args, |_| {}).map(|_| ());
        result.map_err(|error| self.explain(&limit, error, (device, 0, 0)))
    }

    /// Disconnects the board's processor from a 10GbE core's network.
    ///
    /// device: the TAP device's name, as given to tap_start()
    ///
    /// raises RuntimeError: there is no such TAP device
    pub fn tap_stop(&mut self, cx: &Context<'_>, device: &str) -> Result<(), FpgaError> {
        self.tap(cx, "tap-stop", &[device.into()])
    }

    /// Tells of the TAP devices.
    ///
    /// tap_dev: one TAP device's name; None for all
    /// returns: a dictionary of dictionaries by name: ip, and report, the board's own lines about it
    ///
    /// Nothing on the board changes.
    ///
    /// raises RuntimeError: there is no such TAP device
    #[effect(read)]
    pub fn tap_info(
        &mut self,
        cx: &Context<'_>,
        #[default(None)] tap_dev: Option<&str>,
    ) -> Result<Dict, FpgaError> {
        let limit = self.limit(cx, 0);
        self.client.connect(&limit)?;
        // The board tells most of it in its log, and then which device it was about.
        self.client.listen(true);
        let args = tap_dev.map(Arg::from);
        let mut devices = Vec::new();
        let asked = self.client.ask(&limit, "tap-info", args.as_slice(), |mut inform| {
            let mut word = || inform.next_arg().map(|word| lossy(word)).unwrap_or_default();
            devices.push((word(), word()));
        });
        let asked = asked.map(|_| ());
        let mut lines = self.client.logs().into_iter();
        asked?;
        let mut taps = Dict::default();
        let last = devices.len().saturating_sub(1);
        for (place, (name, ip)) in devices.into_iter().enumerate() {
            // Each report ends with the line about the link.
            let mut report = Vec::new();
            for line in lines.by_ref() {
                let ends = line.starts_with("link status");
                report.push(Plain::Text(line));
                if ends && place < last {
                    break;
                }
            }
            let mut tap = Dict::default();
            tap.add("ip", ip);
            tap.add("report", report);
            taps.add(name, tap);
        }
        Ok(taps)
    }

    /// Lets a TAP device send to a multicast group.
    ///
    /// tap_dev: the TAP device's name
    /// ip_str: the group's address, or address+count
    ///
    /// raises RuntimeError: there is no such TAP device
    pub fn tap_multicast_add_send(
        &mut self,
        cx: &Context<'_>,
        tap_dev: &str,
        ip_str: &str,
    ) -> Result<(), FpgaError> {
        self.tap(cx, "tap-multicast-add", &[tap_dev.into(), "send".into(), ip_str.into()])
    }

    /// Lets a TAP device receive from a multicast group.
    ///
    /// tap_dev: the TAP device's name
    /// ip_str: the group's address, or address+count
    ///
    /// raises RuntimeError: there is no such TAP device
    pub fn tap_multicast_add_recv(
        &mut self,
        cx: &Context<'_>,
        tap_dev: &str,
        ip_str: &str,
    ) -> Result<(), FpgaError> {
        self.tap(cx, "tap-multicast-add", &[tap_dev.into(), "recv".into(), ip_str.into()])
    }

    /// Takes a TAP device out of its multicast groups.
    ///
    /// tap_dev: the TAP device's name
    /// ip_str: one group's address; None for all
    ///
    /// raises RuntimeError: there is no such TAP device
    pub fn tap_multicast_remove(
        &mut self,
        cx: &Context<'_>,
        tap_dev: &str,
        #[default(None)] ip_str: Option<&str>,
    ) -> Result<(), FpgaError> {
        let args: Vec<Arg<'_>> =
            [Some(tap_dev), ip_str].into_iter().flatten().map(Arg::from).collect();
        self.tap(cx, "tap-multicast-remove", &args)
    }

    /// Makes a TAP device forget the stations it knows, and ask for them anew.
    ///
    /// tap_dev: the TAP device's name
    ///
    /// raises RuntimeError: there is no such TAP device
    pub fn tap_arp_reload(&mut self, cx: &Context<'_>, tap_dev: &str) -> Result<(), FpgaError> {
        self.tap(cx, "tap-arp-reload", &[tap_dev.into()])
    }
}

impl Fpga {
    fn tap(
        &mut self,
        cx: &Context<'_>,
        request: &'static str,
        args: &[Arg<'_>],
    ) -> Result<(), FpgaError> {
        self.client.ask(&self.limit(cx, 0), request, args, |_| {})?;
        Ok(())
    }
}
