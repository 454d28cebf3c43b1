//! `proximity gateware FILE`

use crate::{failure::Failure, show};
use flate2::read::GzDecoder;
use proximity_proto::gateware::{Gateware, is_gzip};
use serde_json::json;
use std::{fmt::Write, io::Read, path::Path};

/// The largest design that is unpacked: the bitstreams of today's parts are a tenth of it.
const LARGEST: u64 = 512 << 20;

/// Prints a gateware file's registers and what it says of its design.
pub(crate) fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let mut bytes = std::fs::read(path).map_err(|error| Failure::file(path, error))?;
    if is_gzip(&bytes) {
        let mut whole = Vec::new();
        GzDecoder::new(bytes.as_slice())
            .take(LARGEST)
            .read_to_end(&mut whole)
            .map_err(|error| Failure::file(path, error))?;
        bytes = whole;
    }
    let gateware = Gateware::parse(&bytes)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), None))?;
    let text = if json { as_json(&gateware) } else { for_people(&gateware) };
    Ok(show::say(&text)?)
}

fn as_json(gateware: &Gateware<'_>) -> String {
    let registers: Vec<_> = gateware
        .registers
        .iter()
        .map(|r| {
            json!({"name": r.name, "address": r.address, "size": r.size,
                   "readable": r.readable, "writable": r.writable})
        })
        .collect();
    let metadata: Vec<_> = gateware
        .metadata
        .iter()
        .map(|m| json!({"device": m.device, "tag": m.tag, "key": m.key, "values": m.values}))
        .collect();
    json!({"registers": registers, "metadata": metadata, "bitstream": gateware.bitstream.len()})
        .to_string()
}

fn for_people(gateware: &Gateware<'_>) -> String {
    let width = gateware.registers.iter().map(|r| r.name.len()).max().unwrap_or(0);
    let mut text = format!(
        "{} registers, {} bytes of bitstream{}\n\n",
        gateware.registers.len(),
        gateware.bitstream.len(),
        if is_gzip(gateware.bitstream) { ", gzipped" } else { "" },
    );
    for register in &gateware.registers {
        let access = match (register.readable, register.writable) {
            (true, true) => "read, write",
            (true, false) => "read",
            _ => "write",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:width$}  {:#010x}  {:>9} bytes  {access}",
            register.name, register.address, register.size
        );
    }
    let rows: Vec<_> = gateware
        .metadata
        .iter()
        .map(|m| (format!("{} {} {}", m.device, m.tag, m.key), m.values.join(" ")))
        .collect();
    if !rows.is_empty() {
        text += "\n";
        text += &show::columns(&rows);
    }
    text
}
