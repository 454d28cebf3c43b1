//! The requests a board knows, and how one is answered.

// Every handler returns an `Answer`: they stand in one table.
#![allow(clippy::unnecessary_wraps)]

mod control;
mod flash;
mod general;
mod registers;
mod sensor;
mod tap;

use crate::board::{State, World};
use crate::clients::{Client, Level, message};
use crate::config::Personality;
use crate::input::Request;
use crate::upload::Upload;
use proximity_proto::katcp::Kind;

/// What becomes of a request that was not refused.
pub(crate) enum Outcome {
    /// `ok` and more arguments.
    Ok(Vec<Vec<u8>>),
    /// The handler has written the reply itself.
    Sent,
    /// The reply comes when an upload has ended.
    Later,
    /// `ok`, and the server restarts.
    Restart,
}

/// A request refused: `fail` or `invalid`, and a reason if the server gives one.
pub(crate) struct Refusal {
    code: &'static str,
    reason: Option<&'static str>,
}

pub(crate) type Answer = Result<Outcome, Refusal>;

pub(crate) const OK: Answer = Ok(Outcome::Ok(Vec::new()));

pub(crate) fn fail() -> Refusal {
    Refusal { code: "fail", reason: None }
}

pub(crate) fn invalid() -> Refusal {
    Refusal { code: "invalid", reason: None }
}

pub(crate) fn invalid_because(reason: &'static str) -> Refusal {
    Refusal { code: "invalid", reason: Some(reason) }
}

pub(crate) fn count(number: usize) -> Answer {
    Ok(Outcome::Ok(vec![number.to_string().into_bytes()]))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Who asks, and what can be changed.
pub(crate) struct Context<'a> {
    pub(crate) world: World<'a>,
    pub(crate) uploads: &'a mut Vec<Upload>,
    pub(crate) client: u64,
    pub(crate) name: &'a [u8],
    /// The message id to answer with; none from a server that swallows them.
    pub(crate) mid: Option<u32>,
}

impl Context<'_> {
    pub(crate) fn log(&mut self, level: Level, text: impl AsRef<[u8]>) {
        self.world.log(level, text);
    }

    /// Logs an error and refuses; a ROACH1 gives `reason` in the reply.
    pub(crate) fn refuse(&mut self, reason: &'static str, text: impl AsRef<[u8]>) -> Refusal {
        self.log(Level::Error, text);
        Refusal { code: "fail", reason: self.world.board.is_roach1().then_some(reason) }
    }

    /// Logs an error and calls the request malformed.
    pub(crate) fn malformed(&mut self, text: impl AsRef<[u8]>) -> Refusal {
        self.log(Level::Error, text);
        invalid()
    }

    pub(crate) fn client(&mut self) -> Option<&mut Client> {
        self.world.clients.by_id(self.client)
    }

    /// Sends an inform that belongs to this request.
    pub(crate) fn inform(&mut self, args: &[&[u8]]) {
        self.send(b"#", self.mid, args);
    }

    /// Sends an inform that belongs to this request but has no message id, as some of the server's do.
    pub(crate) fn inform_without_mid(&mut self, args: &[&[u8]]) {
        self.send(b"#", None, args);
    }

    fn send(&mut self, kind: &[u8], mid: Option<u32>, args: &[&[u8]]) {
        let name = self.name;
        if let Some(client) = self.client() {
            let args: Vec<&[u8]> = std::iter::once(name).chain(args.iter().copied()).collect();
            message(client.output.tail(), kind, mid, &args);
        }
    }

    /// Refuses unless the FPGA is as far as `state`.
    fn need(&mut self, state: State) -> Result<(), Refusal> {
        if self.world.board.state >= state {
            Ok(())
        } else {
            Err(self.refuse("program", "fpga not programmed"))
        }
    }
}

/// Which servers know a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// Both tcpborphservers.
    All,
    /// tcpborphserver3 only.
    Roach2,
    /// tcpborphserver2 only.
    Roach1,
    /// This mock only; `?help` does not tell.
    Mock,
}

type Handler = fn(&mut Context<'_>, &[&[u8]]) -> Answer;

struct Command {
    name: &'static str,
    on: On,
    run: Handler,
    help: &'static str,
}

const fn command(name: &'static str, on: On, run: Handler, help: &'static str) -> Command {
    Command { name, on, run, help }
}

/// In the order `?help` has.
static COMMANDS: [Command; 63] = [
    command("client-list", On::All, general::client_list, "lists the connected clients"),
    command("list-duplex", On::Roach2, general::not_simulated, "shows the server's connections"),
    command("listener-create", On::Roach2, general::not_simulated, "listens on another port"),
    command("system-info", On::Roach2, general::system_info, "logs what the server is doing"),
    command("version", On::Roach2, general::not_simulated, "shows or changes version information"),
    command("sensor", On::Roach2, general::not_simulated, "makes a sensor"),
    command("process", On::Roach2, general::not_simulated, "registers a process"),
    command("job", On::Roach2, general::not_simulated, "controls jobs"),
    command("arb", On::Roach2, general::not_simulated, "shows arbitrary callbacks"),
    command("define", On::Roach2, general::not_simulated, "defines modes and the like"),
    command("notice", On::Roach2, general::not_simulated, "controls notices"),
    command("dispatch", On::Roach2, general::not_simulated, "controls dispatching"),
    command("chassis-led", On::Roach2, general::nothing, "sets an LED of the chassis: name, state"),
    command("chassis-start", On::Roach2, general::nothing, "starts the chassis logic"),
    command(
        "tap-route-add",
        On::Roach2,
        tap::route_add,
        "adds a route: tap, network, mask, gateway",
    ),
    command("tap-multicast-remove", On::Roach2, tap::multicast_remove, "leaves multicast groups"),
    command(
        "tap-multicast-add",
        On::Roach2,
        tap::multicast_add,
        "joins groups: tap, recv or send, groups",
    ),
    command("tap-arp-config", On::Roach2, tap::arp_config, "changes the ARP behaviour of a tap"),
    command("tap-ip-config", On::Roach2, tap::ip_config, "changes the address of a tap"),
    command("tap-arp-reload", On::Roach2, tap::arp_reload, "forgets the stations a tap knows"),
    command("tap-info", On::Roach2, tap::info, "shows a tap, or all of them"),
    command("tap-stop", On::All, tap::stop, "ends a tap device"),
    command(
        "tap-start",
        On::All,
        tap::start,
        "starts a tap: name, register, ip, port, mac, gateway",
    ),
    command("delbof", On::Roach2, flash::delbof, "deletes a gateware file"),
    command("listbof", On::All, flash::listbof, "lists the gateware files"),
    command("listdev", On::All, registers::listdev, "lists the registers, with size or detail"),
    command("status", On::All, flash::status, "tells whether the FPGA is programmed"),
    command("fpgastatus", On::Roach2, flash::status, "tells whether the FPGA is programmed"),
    command("wordread", On::All, registers::wordread, "reads words: register, word offset, count"),
    command(
        "wordwrite",
        On::All,
        registers::wordwrite,
        "writes words: register, word offset, values",
    ),
    command("read", On::All, registers::read, "reads bytes: register, byte offset, byte count"),
    command("write", On::All, registers::write, "writes bytes: register, byte offset, data, count"),
    command("meta", On::Roach2, registers::meta, "shows or adds metadata of the design"),
    command("register", On::Roach2, registers::register, "names memory: name, address, length"),
    command(
        "progdev",
        On::All,
        flash::progdev,
        "programs the FPGA from a file; without one, clears it",
    ),
    command("uploadbin", On::Roach2, flash::uploadbin, "takes a bitstream on a port"),
    command(
        "upload",
        On::Roach2,
        flash::progremote,
        "takes gateware on a port and programs the FPGA",
    ),
    command(
        "progremote",
        On::Roach2,
        flash::progremote,
        "takes gateware on a port and programs the FPGA",
    ),
    command(
        "saveremote",
        On::Roach2,
        flash::saveremote,
        "takes a file on a port: port, name, length, timeout",
    ),
    command(
        "uploadbof",
        On::All,
        flash::saveremote,
        "takes a file on a port: port, name, length, timeout",
    ),
    command("finalise", On::Roach2, flash::finalise, "ends programming by hand"),
    command("mode", On::Roach2, general::mode, "shows the server's mode"),
    command("version-list", On::All, general::version_list, "lists versions"),
    command("sensor-limit", On::Roach2, general::not_simulated, "sets the limits of a sensor"),
    command("sensor-value", On::Roach2, sensor::value, "reads a sensor, or all of them"),
    command("sensor-sampling", On::Roach2, sensor::sampling, "sets when a sensor is reported"),
    command("sensor-list", On::Roach2, sensor::list, "lists the sensors"),
    command("watchdog", On::All, general::nothing, "shows that the server is alive"),
    command("log-record", On::All, general::log_record, "logs a message: level, text"),
    command("log-default", On::Roach2, general::log_default, "sets the log level of new clients"),
    command("log-limit", On::Roach2, general::log_limit, "sets the log level of this client"),
    command("log-level", On::All, general::log_level, "sets the log level of all clients"),
    command("help", On::All, general::help, "shows what commands there are"),
    command("restart", On::All, general::restart, "restarts the server"),
    command("halt", On::All, general::restart, "halts the board, which then starts again"),
    command("search", On::Roach2, general::not_simulated, "searches a dictionary"),
    command("set", On::Roach2, general::not_simulated, "sets a dictionary entry"),
    command("get", On::Roach2, general::not_simulated, "gets a dictionary entry"),
    command("dict", On::Roach2, general::not_simulated, "shows a dictionary"),
    command(
        "bulkread",
        On::Roach1,
        registers::bulkread,
        "reads bytes in informs: register, offset, count",
    ),
    command("sysinit", On::Roach1, general::nothing, "prepares the system"),
    command("echotest", On::Roach1, general::nothing, "sends packets: address, count"),
    command("mock-fault", On::Mock, control::fault, "sets a fault"),
];

impl On {
    fn knows(self, personality: Personality) -> bool {
        match self {
            Self::All | Self::Mock => true,
            Self::Roach1 => personality == Personality::Roach1,
            Self::Roach2 => personality != Personality::Roach1,
        }
    }
}

fn known(personality: Personality) -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(move |command| command.on.knows(personality))
}

/// How the connection goes on behind a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    Wait,
    Restart,
}

/// Handles what a client sent: one request, or something that should not have come.
pub(crate) fn handle(
    world: World<'_>,
    uploads: &mut Vec<Upload>,
    client: u64,
    request: &Request<'_>,
) -> Next {
    let personality = world.board.config.personality;
    let mid = request.mid.filter(|_| personality == Personality::V5);
    let mut context = Context { world, uploads, client, name: request.name, mid };
    match request.kind {
        Kind::Inform => return Next::Go,
        Kind::Reply => {
            let what = [b"unexpected reply ", request.name].concat();
            context.log(Level::Error, what);
            return Next::Go;
        }
        Kind::Request => {}
    }
    let words = std::iter::once(&request.name).chain(&request.args).copied();
    if context.world.clients.list.iter().any(|client| client.log_limit <= Level::Debug) {
        let line = words.collect::<Vec<_>>().join(&b' ');
        context.log(Level::Debug, [b"client message <?", &line[..], b">"].concat());
    }
    let counters = &mut context.world.board.counters;
    counters.requests += 1;
    *counters.by_name.entry(text(request.name)).or_default() += 1;
    let command = known(personality).find(|command| command.name.as_bytes() == request.name);
    let answer = match command {
        Some(command) => (command.run)(&mut context, &request.args),
        None => Err(invalid_because("unknown command")),
    };
    reply(&mut context, answer)
}

fn reply(context: &mut Context<'_>, answer: Answer) -> Next {
    let mid = context.mid;
    match answer {
        Ok(Outcome::Sent) => return Next::Go,
        Ok(Outcome::Later) => return Next::Wait,
        Ok(Outcome::Restart) => {
            context.send(b"!", mid, &[b"ok"]);
            return Next::Restart;
        }
        Ok(Outcome::Ok(args)) => {
            let args: Vec<&[u8]> =
                std::iter::once(&b"ok"[..]).chain(args.iter().map(Vec::as_slice)).collect();
            context.send(b"!", mid, &args);
        }
        Err(Refusal { code, reason: None }) => context.send(b"!", mid, &[code.as_bytes()]),
        Err(Refusal { code, reason: Some(reason) }) => {
            context.send(b"!", mid, &[code.as_bytes(), reason.as_bytes()]);
        }
    }
    Next::Go
}

/// The first lines a client gets.
pub(crate) fn greeting(world: &World<'_>) -> Vec<u8> {
    let config = &world.board.config;
    let mut out = Vec::new();
    if config.personality == Personality::V5 {
        for version in general::versions(&config.protocol_flags) {
            out.extend(version.to_string().bytes());
        }
    } else {
        message(&mut out, b"#", None, &[b"version", general::VERSION.as_bytes()]);
        message(&mut out, b"#", None, &[b"build-state", general::BUILD.as_bytes()]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, Personality, known};

    #[test]
    fn the_commands_are_as_many_as_the_real_servers() {
        let hidden = COMMANDS.iter().filter(|command| command.name == "mock-fault").count();
        assert_eq!(known(Personality::Roach2).count() - hidden, 59);
    }
}
