//! The command line.

use flate2::read::MultiGzDecoder;
use lexopt::prelude::{Long, Short, ValueExt};
use mock_fpga::{Config, Design, Fault, Personality};
use proximity_proto::gateware::is_gzip;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

const HELP: &str = "\
mock-fpga: ROACH boards in software, speaking KATCP, for tests without hardware

usage: mock-fpga [OPTION]...

  --listen ADDR          where to listen; default 127.0.0.1:0, a free port
  --boards N             so many boards, each on a port of its own; default 1
  --personality NAME     roach2  tcpborphserver3, KATCP version 4 (default)
                         roach1  tcpborphserver2: ?bulkread, reasons in failures
                         v5      KATCP version 5: message ids, #version-connect
  --fpg FILE             run this design, a .fpg or .bof file
  --design NAME          run a built-in design: recorded (default), which the
                         recorded conversations used, or adc, which has one of
                         everything: snapshots, 10GbE cores, QDR, DRAM pages
  --unprogrammed         start with no design in the FPGA
  --clock HZ             counts of sys_clkcounter a second; default 200e6
  --sensors              temperatures, voltages and fans that drift
  --fault FAULT          start with a fault; may be given again
  --seed N               for noise and random choices; default 1
  -h, --help             this text
  -V, --version          the version

For each board the line 'listening IP:PORT' is printed on standard output, the
first of them first; the boards then serve until the process is killed.

Faults: 'split BYTES [MS]', 'stall', 'delay MS', 'late MS', 'drop N',
'cut BYTES', 'garbage BYTES', 'chatter N', 'hang MS', 'half-open MS',
'refuse MS', 'restart MS', 'swap'. A client sets them while the board runs:
    ?mock-fault cut 5        the next reply ends after 5 bytes
    ?mock-fault              lists what is on
    ?mock-fault none         all is well again

Try it:
    mock-fpga --listen 127.0.0.1:7147 &
    printf '?listdev size\\n?wordread sys_board_id\\n' | nc -q1 127.0.0.1 7147
";

/// What to do.
pub(crate) enum Command {
    Print(String),
    Serve { config: Box<Config>, boards: u16 },
}

pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut config = Config::default();
    let mut boards = 1;
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Command::Print(format!("mock-fpga {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Long("listen") => config.listen = args.value()?.parse()?,
            Long("boards") => {
                boards = args.value()?.parse()?;
                if boards == 0 {
                    return Err("--boards is 0; it must be 1 to 65535".into());
                }
            }
            Long("personality") => {
                config.personality = choice(
                    &args.value()?,
                    "personality",
                    "roach2, roach1 and v5",
                    Personality::from_name,
                )?;
            }
            Long("design") => {
                config.design =
                    choice(&args.value()?, "design", "recorded and adc", |name| match name {
                        "recorded" => Some(Design::recorded()),
                        "adc" => Some(Design::adc()),
                        _ => None,
                    })?;
            }
            Long("fpg") => load(&mut config, Path::new(&args.value()?))?,
            Long("unprogrammed") => config.programmed = false,
            Long("clock") => config.clock_hz = args.value()?.parse()?,
            Long("sensors") => config.sensors = true,
            Long("fault") => {
                let fault = args.value()?.parse_with(Fault::parse)?;
                config.faults.push(fault);
            }
            Long("seed") => config.seed = args.value()?.parse()?,
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Serve { config: Box::new(config), boards })
}

fn choice<T>(
    name: &OsString,
    what: &str,
    known: &str,
    find: impl Fn(&str) -> Option<T>,
) -> Result<T, lexopt::Error> {
    let name = name.to_string_lossy();
    find(&name).ok_or_else(|| format!("no {what} '{name}'; there are {known}").into())
}

/// Makes the gateware in a file the design that runs, and a file on the board's flash.
fn load(config: &mut Config, path: &Path) -> Result<(), lexopt::Error> {
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut file = std::fs::read(path).map_err(|error| problem(&error))?;
    if is_gzip(&file) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&file[..]).read_to_end(&mut plain).map_err(|error| problem(&error))?;
        file = plain;
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let (design, _) = Design::from_file(&name, &file).map_err(|error| problem(&error))?;
    config.design = design;
    config.files.push((name, file));
    Ok(())
}
