//! Registers: lists, reads, writes, definitions.

use super::{Answer, Context, OK, Outcome, Refusal, invalid_because, text};
use crate::board::State;
use crate::clients::{Level, message};
use crate::config::{Alignment, Personality};
use crate::memory::Entry;
use crate::numbers::{Bits, by_word, strtoul};
use proximity_proto::katcp::escape;

pub(super) fn listdev(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.need(State::Mapped)?;
    let roach1 = context.world.board.is_roach1();
    let show: fn(&Entry, bool) -> Option<String> = match args.first() {
        None => |_, _| None,
        Some(&b"size") => |entry, roach1| {
            Some(if roach1 { entry.size.bytes.to_string() } else { entry.size.to_string() })
        },
        Some(&b"detail") => {
            |entry, _| Some(format!("{:#x}:{}", entry.address.bytes, entry.address.bits))
        }
        Some(_) => {
            context.log(Level::Fatal, "unable to get raw state");
            return Err(super::fail());
        }
    };
    let mut lines = Vec::new();
    for (name, entry) in &context.world.board.registers {
        let detail = show(entry, roach1);
        let args: Vec<&[u8]> = [b"listdev", &name[..]]
            .into_iter()
            .chain(detail.as_deref().map(str::as_bytes))
            .collect();
        message(&mut lines, b"#", context.mid, &args);
    }
    if let Some(client) = context.client() {
        client.output.tail().extend(lines);
    }
    OK
}

/// The register called `name`, if it may be used so.
fn find(
    context: &mut Context<'_>,
    name: &[u8],
    allowed: fn(&Entry) -> bool,
    how: &str,
) -> Result<Entry, Refusal> {
    let Some(entry) = context.world.board.registers.get(name).copied() else {
        let what = [b"register ", name, b" not defined"].concat();
        return Err(context.refuse("register", what));
    };
    if allowed(&entry) {
        Ok(entry)
    } else {
        let what = [b"register ", name, b" is not marked ", how.as_bytes()].concat();
        Err(context.refuse("register", what))
    }
}

/// A ROACH1 may insist on whole words.
fn check_alignment(context: &mut Context<'_>, offset: u64, len: u64) -> Result<(), Refusal> {
    if !context.world.board.is_roach1() || (offset.is_multiple_of(32) && len.is_multiple_of(32)) {
        return Ok(());
    }
    match context.world.board.config.alignment {
        Alignment::Off => Ok(()),
        Alignment::Warn => {
            context.log(Level::Warn, "access is not aligned to words");
            Ok(())
        }
        Alignment::Refuse => Err(invalid_because("alignment")),
    }
}

/// Which part of which register a `?read` means: start and length in bits.
struct Part {
    start: u64,
    offset: u64,
    len: u64,
}

fn part_to_read(context: &mut Context<'_>, args: &[&[u8]], default: Bits) -> Result<Part, Refusal> {
    context.need(State::Ready)?;
    let Some((&name, rest)) = args.split_first() else {
        let what = "need a register to read, followed by optional offset and count";
        return Err(context.malformed(what));
    };
    let offset = rest.first().map_or(0, |arg| Bits::parse(arg).total());
    let size = rest.get(1).map_or(default, |arg| Bits::parse(arg));
    let len = size.total();
    if size.bytes > i32::MAX as u32 {
        let what = format!("unable to allocate {} bytes", size.bytes);
        return Err(context.refuse("allocation", what));
    }
    let entry = find(context, name, |entry| entry.readable, "readable")?;
    check_alignment(context, offset, len)?;
    let room = entry.size.total();
    let problem = if offset > room {
        Some("read request starts after end of register".to_owned())
    } else if len > room - offset {
        let (len, offset, room) = (by_word(len), by_word(offset), by_word(room));
        Some(format!(
            "read request exceeds size available (request {len} at {offset} larger than {room}"
        ))
    } else {
        None
    };
    if let Some(problem) = &problem {
        context.log(Level::Error, problem);
    }
    if problem.is_some() || len == 0 {
        let bytes = len.div_ceil(8);
        return Err(context.refuse("read", format!("requested {bytes} bytes but got -1")));
    }
    Ok(Part { start: entry.address.total() + offset, offset, len })
}

/// Reverses each whole 32-bit word, as boards of the other byte order do.
fn swap_words(data: &[u8]) -> Vec<u8> {
    let mut swapped = data.to_vec();
    for word in swapped.as_chunks_mut::<4>().0 {
        word.reverse();
    }
    swapped
}

pub(super) fn read(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let personality = context.world.board.config.personality;
    let default = Bits::from_bytes(if personality == Personality::Roach1 { 4 } else { 1 });
    let part = part_to_read(context, args, default)?;
    let (swap, mid, client) = (context.world.board.faults.swap, context.mid, context.client);
    let Some(data) = context.world.board.read(part.start, part.len) else {
        return Err(context.refuse("read", "register is outside of the memory"));
    };
    let Some(client) = context.world.clients.by_id(client) else { return Ok(Outcome::Sent) };
    let out = client.output.tail();
    message(out, b"!", mid, &[b"read", b"ok"]);
    // Behind the argument comes the line's end again.
    out.pop();
    out.push(b' ');
    // The recorded server repeats a byte instead of the last one. Seen with offset 3 and 5 bytes; that it is so for
    // other unaligned offsets and rests is a guess.
    let (offset, len) = (part.offset / 8, part.len / 8);
    let repeats = offset % 4 == 3 && len > 4 && len % 4 == 1;
    if swap {
        escape(&swap_words(&data), out);
    } else if let (true, Personality::Roach2, [body @ .., last, _]) = (repeats, personality, &*data)
    {
        escape(&[body, &[*last, *last]].concat(), out);
    } else {
        escape(&data, out);
    }
    out.push(b'\n');
    Ok(Outcome::Sent)
}

pub(super) fn bulkread(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    const CHUNK: usize = 4096;
    let size = args.first().and_then(|name| context.world.board.registers.get(*name));
    let offset = args.get(1).map_or(0, |arg| strtoul(arg));
    let rest = size.map_or(0, |entry| entry.size.bytes.saturating_sub(offset));
    let part = part_to_read(context, args, Bits::from_bytes(rest))?;
    let Some(data) =
        context.world.board.read(part.start, part.len).map(std::borrow::Cow::into_owned)
    else {
        return Err(context.refuse("read", "register is outside of the memory"));
    };
    let data = if context.world.board.faults.swap { swap_words(&data) } else { data };
    for chunk in data.chunks(CHUNK) {
        context.inform(&[chunk]);
    }
    super::count(data.len())
}

pub(super) fn write(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.need(State::Ready)?;
    let [name, offset, data, rest @ ..] = args else {
        let what = "need a register to read, followed by offset and one or more values";
        return Err(context.malformed(what));
    };
    let entry = find(context, name, |entry| entry.writable, "writeable")?;
    let offset = Bits::parse(offset).total();
    let given = data.len() as u64 * 8;
    let len = rest.first().map_or(given, |len| Bits::parse(len).total());
    if len > given {
        let what = format!("requested {len} bits to copy, buffer only contains {given}");
        return Err(context.refuse("write", what));
    }
    check_alignment(context, offset, len)?;
    let room = entry.size.total();
    if offset > room || len > room - offset {
        let (name, rest) = (text(name), format!("start bits {offset}, payload {len} bits"));
        let what =
            format!("trying to write past the end of the register {name} of bits {room}, {rest}");
        return Err(context.refuse("write", what));
    }
    let board = &mut *context.world.board;
    if board.faults.swap {
        board.write(entry.address.total() + offset, &swap_words(data), len);
    } else {
        board.write(entry.address.total() + offset, data, len);
    }
    board.counters.writes += 1;
    OK
}

pub(super) fn wordread(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.need(State::Ready)?;
    let Some((&name, rest)) = args.split_first() else {
        let what = "need a register to read, followed by optional offset and count";
        return Err(context.malformed(what));
    };
    let entry = find(context, name, |entry| entry.readable, "readable")?;
    let offset = rest.first().map_or(0, |arg| u64::from(strtoul(arg)) * 4);
    let len = rest.get(1).map_or(4, |arg| u64::from(strtoul(arg)) * 4);
    if len == 0 {
        let what = [b"zero read request length on register ", name].concat();
        return Err(context.refuse("read", what));
    }
    if offset + len > entry.size.total() / 8 {
        let at = format!("read request @{offset}+{len} extends beyond end of register ");
        return Err(context.refuse("read", [at.as_bytes(), name].concat()));
    }
    let Some(data) = context.world.board.read(entry.address.total() + offset * 8, len * 8) else {
        return Err(context.refuse("read", "register is outside of the memory"));
    };
    let (words, _) = data.as_chunks();
    let words = words.iter().map(|word| format!("{:#x}", u32::from_be_bytes(*word)).into_bytes());
    Ok(Outcome::Ok(words.collect()))
}

pub(super) fn wordwrite(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.need(State::Ready)?;
    let [name, offset, values @ ..] = args else {
        return Err(context.malformed(WORDWRITE));
    };
    if values.is_empty() {
        return Err(context.malformed(WORDWRITE));
    }
    let entry = find(context, name, |entry| entry.writable, "writeable")?;
    let offset = u64::from(strtoul(offset)) * 4;
    let count = values.len() as u64;
    if offset + count * 4 > entry.size.total() / 8 {
        let (name, size) = (text(name), entry.size);
        let what = format!(
            "write offset {offset} plus {count} words overruns register {name} of size {}.{}",
            size.bytes, size.bits
        );
        return Err(context.refuse("write", what));
    }
    let data: Vec<u8> = values.iter().flat_map(|value| strtoul(value).to_be_bytes()).collect();
    context.world.board.write(entry.address.total() + offset * 8, &data, count * 32);
    context.world.board.counters.writes += 1;
    OK
}

const WORDWRITE: &str = "need a register to write, followed by offset and one or more values";

pub(super) fn register(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.need(State::Mapped)?;
    let [name, address, rest @ ..] = args else {
        return Err(context.refuse("register", "insufficient parameters"));
    };
    let size = rest.first().map_or(Bits::from_bytes(4), |size| Bits::parse(size));
    let entry = Entry { address: Bits::parse(address), size, readable: true, writable: true };
    let board = &mut *context.world.board;
    if board.registers.contains_key(*name) {
        let what = [b"register called ", *name, b" already defined"].concat();
        return Err(context.refuse("register", what));
    }
    if entry.bytes().end > board.memory.len() {
        let what = [b"register ", *name, b" lies outside of the mapped memory"].concat();
        return Err(context.refuse("register", what));
    }
    board.registers.insert(name.to_vec(), entry);
    OK
}

pub(super) fn meta(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.need(State::Mapped)?;
    match args {
        [] => {
            let mut lines = context.world.board.metadata.clone().unwrap_or_default();
            // The server keeps them by key, and those of a key in the order they came.
            lines.sort_by(|a, b| a.first().cmp(&b.first()));
            if lines.is_empty() {
                context.log(Level::Info, "no meta info to display");
            }
            for line in lines {
                context.inform(&line.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            OK
        }
        [key] => {
            let lines = context.world.board.metadata.clone().unwrap_or_default();
            let mut found = false;
            for line in lines.iter().filter(|line| line.first().is_some_and(|k| k == key)) {
                context.inform(&line.iter().map(Vec::as_slice).collect::<Vec<_>>());
                found = true;
            }
            if found {
                return OK;
            }
            context.log(Level::Info, [b"key entry ", *key, b" not matching"].concat());
            Err(super::fail())
        }
        [key, ..] => {
            let Some(metadata) = &mut context.world.board.metadata else {
                context.log(Level::Warn, [b"unable to store definition of key ", *key].concat());
                return Err(super::fail());
            };
            metadata.push(args.iter().map(|arg| arg.to_vec()).collect());
            OK
        }
    }
}
