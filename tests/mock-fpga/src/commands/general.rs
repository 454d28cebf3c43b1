//! What any KATCP server knows: help, versions, log levels, clients.

use super::{Answer, Context, OK, On, Outcome, count, fail, invalid_because, known, text};
use crate::clients::Level;
use crate::config::Personality;
use katcp::messages::core::{VersionConnect, VersionConnectInform};
use katcp::prelude::{KatcpMessage, Message};

/// The recorded server's own version and build time.
pub(super) const VERSION: &str = "75dde9d";
pub(super) const BUILD: &str = "2018-07-30T12:00:00";

/// What a version 5 server tells about itself, as `#version-connect`.
pub(super) fn versions(flags: &str) -> Vec<Message> {
    let inform = |name: &str, version: String, info: Option<&str>| {
        let info = info.map(str::to_owned);
        VersionConnectInform::Custom { name: name.to_owned(), version, info }
    };
    let library = inform("katcp-library", format!("{VERSION}-dirty"), Some(BUILD));
    let protocol = inform("katcp-protocol", format!("5.0-{flags}"), None);
    let kernel = inform("kernel", "4.9.0".to_owned(), Some("#1 SMP"));
    [library, protocol, kernel]
        .into_iter()
        .filter_map(|inform| VersionConnect::Inform(inform).to_message(None).ok())
        .collect()
}

pub(super) fn version_list(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    let config = &context.world.board.config;
    if config.personality != Personality::V5 {
        return count(0);
    }
    let versions = versions(&config.protocol_flags);
    for version in &versions {
        let line = version.to_string().replacen("#version-connect", "#version-list", 1);
        if let Some(client) = context.client() {
            client.output.tail().extend_from_slice(line.as_bytes());
        }
    }
    count(versions.len())
}

/// Takes the request for granted.
pub(super) fn nothing(_: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    OK
}

pub(super) fn not_simulated(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    let what = format!("the mock does not simulate {}", text(context.name));
    context.log(Level::Error, what);
    Err(fail())
}

pub(super) fn help(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let personality = context.world.board.config.personality;
    let wanted = |name: &str| args.first().is_none_or(|arg| *arg == name.as_bytes());
    let mut informs = 0;
    for command in known(personality).filter(|command| command.on != On::Mock) {
        if wanted(command.name) {
            context.inform(&[command.name.as_bytes(), command.help.as_bytes()]);
            informs += 1;
        }
    }
    if informs == 0 { Err(invalid_because("request")) } else { count(informs) }
}

pub(super) fn client_list(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    let addrs: Vec<_> =
        context.world.clients.list.iter().map(|client| client.addr.to_string()).collect();
    for addr in &addrs {
        context.inform(&[addr.as_bytes()]);
    }
    count(addrs.len())
}

fn level(context: &mut Context<'_>, name: &[u8]) -> Result<Level, super::Refusal> {
    Level::from_name(name).ok_or_else(|| {
        context.log(Level::Warn, [b"unknown log level ", name].concat());
        invalid_because("level")
    })
}

fn ok_level(level: Option<Level>) -> Answer {
    Ok(Outcome::Ok(level.map(|level| level.name().as_bytes().to_vec()).into_iter().collect()))
}

pub(super) fn log_level(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    if let Some(name) = args.first() {
        let level = level(context, name)?;
        context.world.clients.log_default = level;
        for client in &mut context.world.clients.list {
            client.log_limit = level;
        }
    }
    ok_level(context.client().map(|client| client.log_limit))
}

pub(super) fn log_limit(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    if let Some(name) = args.first() {
        let level = level(context, name)?;
        if let Some(client) = context.client() {
            client.log_limit = level;
        }
    }
    ok_level(context.client().map(|client| client.log_limit))
}

pub(super) fn log_default(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    if let Some(name) = args.first() {
        context.world.clients.log_default = level(context, name)?;
    }
    ok_level(Some(context.world.clients.log_default))
}

pub(super) fn log_record(context: &mut Context<'_>, args: &[&[u8]]) -> Answer {
    let (level, text) = match args {
        [name, text, ..] => (level(context, name)?, *text),
        [text] => (Level::Info, *text),
        [] => return Err(context.malformed("need a message to log")),
    };
    context.log(level, text);
    OK
}

pub(super) fn mode(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    context.log(Level::Info, "current mode now raw");
    Ok(Outcome::Ok(vec![b"raw".to_vec()]))
}

pub(super) fn system_info(context: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    let age = context.world.board.started.elapsed().as_secs();
    let (hours, minutes, seconds) = (age / 3600, age / 60 % 60, age % 60);
    let clients = context.world.clients.list.len();
    let sensors = 1 + crate::sensors::sensors(&context.world.board.config).len();
    let plural = if sensors == 1 { "" } else { "s" };
    for line in [
        format!(
            "server started at {BUILD} localtime which is T{hours}:{minutes:02}:{seconds:02} ago"
        ),
        format!("{clients} active client connections"),
        "0 subordinate jobs".to_owned(),
        format!("{sensors} sensor{plural}"),
        "1 mode".to_owned(),
        "0 notices".to_owned(),
        "0 timers scheduled".to_owned(),
    ] {
        context.log(Level::Info, line);
    }
    OK
}

pub(super) fn restart(_: &mut Context<'_>, _: &[&[u8]]) -> Answer {
    Ok(Outcome::Restart)
}
