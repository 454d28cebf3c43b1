//! TAP devices on the 10GbE cores.

use super::{Answer, Context, OK, Refusal, fail, invalid, text};
use crate::clients::Level;
use crate::taps::Tap;
use std::net::Ipv4Addr;

/// The port a tap uses unless told otherwise.
const PORT: u16 = 7148;
const PREFIX: u32 = 24;

fn position(context: &Context<'_>, name: &[u8]) -> Option<usize> {
    context.world.board.taps.iter().position(|tap| tap.name.as_bytes() == name)
}

pub(super) fn start(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let [name, register, ip, rest @ ..] = args else {
        let what = "need at least a tap device name, register name and an ip address";
        return Err(context.malformed(what));
    };
    let (name, register, ip) = (text(name), text(register), text(ip));
    let Some(entry) = context.world.board.registers.get(register.as_bytes()).copied() else {
        context.log(Level::Error, format!("no register of name {register} available"));
        return Err(not_set_up(context, &name, &register));
    };
    let (address, prefix) = ip.split_once('/').unwrap_or((&ip, ""));
    let prefix = if prefix.is_empty() { Some(PREFIX) } else { prefix.parse().ok() };
    let word = |at: usize| rest.get(at).map(|word| text(word));
    let port = word(0).map_or(Some(PORT), |port| port.parse().ok());
    let mac = word(1).map_or(Some([0x02, 0, 0, 0, 0, 1]), |mac| parse_mac(&mac));
    let gateway = word(2).map_or(Some(Ipv4Addr::UNSPECIFIED), |ip| ip.parse().ok());
    let (Ok(ip), Some(prefix @ 1..=32), Some(port), Some(mac), Some(gateway)) =
        (address.parse(), prefix, port, mac, gateway)
    else {
        context.log(Level::Error, format!("unable to use address {ip}"));
        return Err(not_set_up(context, &name, &register));
    };
    if position(context, name.as_bytes()).is_some() {
        return Err(context.refuse("register", format!("tap device {name} already exists")));
    }
    let core = entry.bytes().start;
    let tap = Tap { name, core, ip, prefix, port, mac, gateway, groups: Vec::new() };
    tap.configure(&mut context.world.board.memory);
    context.world.board.taps.push(tap);
    OK
}

fn not_set_up(context: &mut Context<'_>, name: &str, register: &str) -> Refusal {
    let what = format!("failed to set up tap devices {name} on register {register}");
    context.log(Level::Error, what);
    context.log(Level::Error, "unable to initialise tap component");
    invalid()
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

pub(super) fn stop(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let Some(name) = args.first() else {
        return Err(context.malformed("need a register name"));
    };
    let at = located(context, name)?;
    context.world.board.taps.remove(at);
    OK
}

fn located(context: &mut Context<'_>, name: &[u8]) -> Result<usize, Refusal> {
    position(context, name).ok_or_else(|| {
        let what = [b"unable to locate ", name].concat();
        context.refuse("register", what)
    })
}

fn active<'b>(context: &'b mut Context<'_>, args: &[&[u8]]) -> Result<&'b mut Tap, Refusal> {
    let name = args.first().copied().unwrap_or_default();
    if position(context, name).is_none() {
        let what = [b"no active tap instance ", name, b" found"].concat();
        context.log(Level::Error, what);
    }
    context.world.board.taps.iter_mut().find(|tap| tap.name.as_bytes() == name).ok_or_else(fail)
}

pub(super) fn info(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let taps = if args.is_empty() {
        context.world.board.taps.clone()
    } else {
        vec![active(context, args)?.clone()]
    };
    for tap in taps {
        let link = context.world.board.memory.word(tap.core + 0x24);
        for line in tap.report(link) {
            context.log(Level::Info, line);
        }
        let ip = tap.ip.to_string();
        context.inform(&[tap.name.as_bytes(), ip.as_bytes()]);
    }
    OK
}

pub(super) fn arp_reload(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let tap = active(context, args)?.clone();
    tap.forget_stations(&mut context.world.board.memory);
    OK
}

pub(super) fn arp_config(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    active(context, args)?;
    if args.len() < 3 { Err(context.malformed("need a key and a value")) } else { OK }
}

pub(super) fn ip_config(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let ip = args.get(1).and_then(|ip| text(ip).parse().ok());
    let tap = active(context, args)?;
    let Some(ip) = ip else { return Err(context.malformed("need an ip address")) };
    tap.ip = ip;
    let tap = tap.clone();
    tap.configure(&mut context.world.board.memory);
    OK
}

pub(super) fn route_add(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    active(context, args)?;
    if args.len() < 3 { Err(context.malformed("need a network and a gateway")) } else { OK }
}

pub(super) fn multicast_add(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let at = located(context, args.first().copied().unwrap_or_default())?;
    let [_, mode, groups @ ..] = args else {
        return Err(context.malformed("need a tap, recv or send, and groups"));
    };
    let mode = text(mode);
    let groups = groups.iter().map(|group| format!("{mode} {}", text(group)));
    if let Some(tap) = context.world.board.taps.get_mut(at) {
        tap.groups.extend(groups);
    }
    OK
}

pub(super) fn multicast_remove(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let at = located(context, args.first().copied().unwrap_or_default())?;
    let group = args.get(1).map(|group| text(group));
    if let Some(tap) = context.world.board.taps.get_mut(at) {
        tap.groups.retain(|known| group.as_ref().is_some_and(|group| !known.ends_with(group)));
    }
    OK
}
