//! Gateware files, programming, uploads.

use super::{Answer, Context, OK, Outcome, count, fail, text};
use crate::board::State;
use crate::clients::Level;
use crate::design::Design;
use crate::numbers::strtoul;
use crate::upload::{Goal, Upload};
use std::time::Duration;

/// The server looks at so many bytes to tell what a file is, and gives up on shorter ones.
const SNIFF: usize = 128;
/// The port uploads come to unless told otherwise.
const UPLOAD_PORT: u32 = 7146;
const UPLOAD_TIMEOUT: u32 = 30;

pub(super) fn listbof(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    let names: Vec<String> =
        context.world.board.files.iter().map(|(name, _)| name.clone()).collect();
    for name in &names {
        context.inform(&[name.as_bytes()]);
    }
    count(names.len())
}

pub(super) fn delbof(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let Some(name) = args.first().map(|name| text(name)) else {
        return Err(context.malformed("need a file to delete"));
    };
    if name.contains('/') {
        let what = format!("client attempts to specify a path ({name})");
        context.log(Level::Fatal, what);
        return Err(fail());
    }
    let files = &mut context.world.board.files;
    let Some(at) = files.iter().position(|(file, _)| *file == name) else {
        let what = format!("unable to delete {name}: No such file or directory");
        context.log(Level::Error, what);
        return Err(fail());
    };
    files.remove(at);
    OK
}

pub(super) fn status(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    let board = &context.world.board;
    let ready = board.state == State::Ready;
    if board.is_roach1() {
        let outcome = Outcome::Ok(vec![b"program".to_vec()]);
        return if ready {
            Ok(outcome)
        } else {
            Err(super::Refusal { code: "fail", reason: Some("program") })
        };
    }
    let file = board.mapped_file.clone().unwrap_or_else(|| "<unknown file>".to_owned());
    let (state, what) = match board.state {
        State::Down => ("down", "fpga not programmed".to_owned()),
        State::Mapped => {
            ("mapped", format!("fpga programmed, mapped with {file} but meta not ready"))
        }
        State::Ready => ("ready", format!("fpga programmed, mapped with {file} and meta ready")),
    };
    context.world.fpga(state);
    context.log(Level::Info, what);
    if ready { OK } else { Err(fail()) }
}

pub(super) fn progdev(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    context.world.deprogram();
    let Some(name) = args.first().map(|name| text(name)).filter(|name| !name.is_empty()) else {
        return OK;
    };
    if name.contains('/') {
        let what = format!("file name {name} may not contain a path component");
        return Err(context.refuse("program", what));
    }
    context.log(Level::Info, format!("attempting to program {name}"));
    let file = context.world.board.files.iter().find(|(file, _)| *file == name);
    let Some((_, file)) = file.cloned() else {
        let what = format!("unable to open /boffiles/{name}: No such file or directory");
        context.log(Level::Warn, what);
        return Err(context.refuse("program", format!("unsupported file format in {name}")));
    };
    if file.starts_with(b"#!/bin/kcpfpg") {
        let what = "unable to create notification logic to trigger when /bin/kcpfpg completes";
        return Err(context.refuse("program", what));
    }
    match Design::from_file(&name, &file) {
        Ok((design, bitstream)) if design.metadata.is_none() => {
            if !context.world.program(&design, bitstream.len(), Some(name)) {
                return Err(context.refuse("program", "unable to map the design"));
            }
        }
        _ => {
            if file.len() >= SNIFF {
                context.log(Level::Warn, "unknown file format");
            }
            return Err(context.refuse("program", format!("unsupported file format in {name}")));
        }
    }
    if context.world.board.is_roach1() {
        let process = context.world.board.next_job();
        return Ok(Outcome::Ok(vec![process.to_string().into_bytes()]));
    }
    OK
}

pub(super) fn finalise(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    if context.world.board.state == State::Down {
        let what = "unable to finish programming, as fpga not mapped";
        return Err(context.refuse("program", what));
    }
    context.world.board.find_devices();
    context.world.finalise();
    OK
}

/// What an upload request says besides its port.
struct Transfer {
    port: u16,
    len: Option<u32>,
    timeout: Duration,
}

fn transfer(
    context: &mut Context<'_>,
    port: u32,
    rest: &[&[u8]],
) -> Result<Transfer, super::Refusal> {
    if port <= 1024 {
        return Err(context.malformed(format!("unwilling to bind reserved port {port}")));
    }
    let Ok(port) = u16::try_from(port) else {
        return Err(context.malformed(format!("port {port} too large to be valid")));
    };
    let number = |at: usize| rest.get(at).map(|arg| strtoul(arg)).filter(|&number| number > 0);
    let timeout = Duration::from_secs(number(1).unwrap_or(UPLOAD_TIMEOUT).into());
    Ok(Transfer { port, len: number(0), timeout })
}

fn start(context: &mut Context<'_>, goal: Goal, transfer: &Transfer) -> Result<(), super::Refusal> {
    let port = transfer.port;
    let upload = Upload::new(
        goal,
        (context.world.board.config.listen.ip(), port).into(),
        transfer.len,
        transfer.timeout,
        (context.client, context.name.to_vec(), context.mid),
    );
    match upload {
        Ok(upload) => {
            context.uploads.push(upload);
            Ok(())
        }
        Err(error) => {
            let what = format!("unable to listen on port {port}: {error}");
            Err(context.refuse("program", what))
        }
    }
}

pub(super) fn saveremote(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let [port, name, rest @ ..] = args else {
        return Err(context.malformed("need a port and file name to save data"));
    };
    let transfer = transfer(context, strtoul(port), rest)?;
    let name = text(name);
    if name.contains('/') || name.starts_with('.') {
        let what = "refusing to upload file containing path information";
        return Err(context.refuse("program", what));
    }
    start(context, Goal::Save(name), &transfer)?;
    context.log(Level::Info, format!("awaiting transfer on port {}", transfer.port));
    Ok(Outcome::Later)
}

pub(super) fn progremote(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let port = args.first().map_or(UPLOAD_PORT, |port| strtoul(port));
    let transfer = transfer(context, port, args.get(1..).unwrap_or_default())?;
    context.world.deprogram();
    start(context, Goal::Program, &transfer)?;
    context.log(Level::Info, format!("awaiting transfer on port {}", transfer.port));
    OK
}

pub(super) fn uploadbin(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let port = args.first().map_or(UPLOAD_PORT, |port| strtoul(port));
    let transfer = transfer(context, port, args.get(1..).unwrap_or_default())?;
    context.world.deprogram();
    start(context, Goal::Bitstream, &transfer)?;
    Ok(Outcome::Later)
}
