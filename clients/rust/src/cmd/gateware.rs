//! `proximity gateware`: prints what is in a gateware file.

use crate::{failure::Failure, output::Output};
use clap::Args;
use flate2::read::GzDecoder;
use proximity_proto::gateware::{Gateware as Contents, is_gzip};
use serde_json::json;
use std::{
    fmt::Write,
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

/// The largest design in MiB, as it is and unpacked: the bitstreams of today's parts are a fifth of it.
const LARGEST: u64 = 256;

/// Show what is in a gateware file (.fpg or .bof, also gzipped, up to 256 MiB); needs no agent
#[derive(Args)]
pub(crate) struct Gateware {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Gateware {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Failure> {
        let path = self.file.display();
        let refuse =
            |why: String| Failure::usage(format!("{path}: {why}"), "it takes .fpg and .bof");
        let unread = |error: io::Error| refuse(error.to_string());
        let mut bytes = File::open(&self.file).and_then(all).map_err(unread)?;
        if is_gzip(&bytes) {
            bytes = all(GzDecoder::new(bytes.as_slice())).map_err(unread)?;
        }
        let gateware = Contents::parse(&bytes).map_err(|error| refuse(error.to_string()))?;
        let text = if output.json { as_json(&gateware) } else { for_people(&gateware) };
        Ok(output.line(text.trim_end())?)
    }
}

/// All that there is to read, which some files have no end of.
fn all(source: impl Read) -> io::Result<Vec<u8>> {
    let (most, mut bytes) = (LARGEST << 20, Vec::new());
    source.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("it has more than {LARGEST} MiB, and no gateware is that large");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

fn as_json(gateware: &Contents<'_>) -> String {
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

fn for_people(gateware: &Contents<'_>) -> String {
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
    let rows: Vec<(String, String)> = gateware
        .metadata
        .iter()
        .map(|m| (format!("{} {} {}", m.device, m.tag, m.key), m.values.join(" ")))
        .collect();
    if !rows.is_empty() {
        text += "\n";
        let width = rows.iter().map(|(place, _)| place.chars().count()).max().unwrap_or(0);
        for (place, value) in rows {
            let _ = writeln!(text, "{place:width$}  {value}");
        }
    }
    text
}
