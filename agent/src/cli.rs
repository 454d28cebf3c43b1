//! What may be written behind `proximity-agent`.

use lexopt::{Arg, Parser};
use proximity_proto::fault::did_you_mean;
use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Read when `-c` names no file.
pub(crate) const DEFAULT_FILE: &str = "/etc/proximity/agent.toml";

/// Told to whoever asks for `--help`.
pub(crate) const HELP: &str = "\
The Proximity agent: lets programs on other machines use the hardware of this one.

  proximity-agent serve [-c FILE] [--log json] [--metrics ADDR]
                                            runs the agent
  proximity-agent check [-c FILE] [--json]  says what is in FILE, and what is wrong with it
  proximity-agent --version                 tells the versions of the agent and of libzmq

  -c, --config FILE   the configuration; unless told, /etc/proximity/agent.toml
      --json          the answer as JSON, for programs
      --log FORM      text, or json: an object for each line of the log
      --metrics ADDR  tells Prometheus how the agent is, at http://ADDR/metrics; ADDR is
                      PORT (then on 127.0.0.1 only), IP:PORT or [IP]:PORT
  -h, --help          this text

To try it, write into a file agent.toml

    listen = [\"tcp://127.0.0.1:5555\"]

    [objects.tally]
    driver = \"counter\"

and run

    proximity-agent serve -c agent.toml

It prints 'listening tcp://127.0.0.1:5555', then 'ready'. From another terminal:

    proximity -a tcp://127.0.0.1:5555 call tally.add 5

SIGTERM and SIGINT stop it once running calls have ended; a second one stops it at once. SIGHUP
reads FILE again: unchanged objects go on undisturbed, and a FILE with mistakes changes nothing.
It logs to standard error; RUST_LOG (error, warn, info, debug, trace) wins over 'log' in FILE.
'log' is among what SIGHUP changes. Started by systemd it tells that when it is ready, reloading and
stopping, and feeds its watchdog.

exit status: 0 well, 1 failed, 2 wrong usage, 69 an address is in use, 78 wrong configuration
";

/// What the agent is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Run with a configuration.
    Serve {
        /// The file.
        file: PathBuf,
        /// How to log.
        form: Form,
        /// Where Prometheus is told how the agent is.
        metrics: Option<SocketAddr>,
    },
    /// Say what is wrong with a configuration.
    Check {
        /// The file.
        file: PathBuf,
        /// Whether for programs.
        json: bool,
    },
    /// Tell the versions.
    Version,
    /// Tell how it is used.
    Help,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What is wrong with the arguments, in a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("{0}")]
    Argument(String),
    #[error("no command; there are: serve, check")]
    NoCommand,
    #[error("no command '{given}'; {near}")]
    UnknownCommand { given: String, near: String },
    #[error("one command at a time: '{second}' stands behind '{first}'")]
    SecondCommand { first: &'static str, second: String },
    #[error("--json goes with check only")]
    Json,
    #[error("--log and --metrics go with serve only")]
    Serve,
    #[error("--log takes text or json, not '{0}'")]
    Form(String),
    #[error("--metrics takes PORT, IP:PORT or [IP]:PORT, not '{0}'")]
    Metrics(String),
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        UsageError::Argument(error.to_string())
    }
}

impl Command {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Command, UsageError> {
        let mut parser = Parser::from_args(arguments);
        let mut command = None;
        let mut file = PathBuf::from(DEFAULT_FILE);
        let mut json = false;
        let (mut form, mut metrics) = (None, None);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
                Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
                Arg::Short('c') | Arg::Long("config") => file = parser.value()?.into(),
                Arg::Long("json") => json = true,
                Arg::Long("log") => form = Some(form_of(&parser.value()?.to_string_lossy())?),
                Arg::Long("metrics") => {
                    metrics = Some(address_of(&parser.value()?.to_string_lossy())?);
                }
                Arg::Value(word) => command = Some(name(command, &word.to_string_lossy())?),
                other => return Err(other.unexpected().into()),
            }
        }
        match command {
            Some("check") if form.is_some() || metrics.is_some() => Err(UsageError::Serve),
            Some("check") => Ok(Command::Check { file, json }),
            _ if json => Err(UsageError::Json),
            Some(_) => Ok(Command::Serve { file, form: form.unwrap_or_default(), metrics }),
            None => Err(UsageError::NoCommand),
        }
    }
}

fn form_of(word: &str) -> Result<Form, UsageError> {
    match word {
        "text" => Ok(Form::Text),
        "json" => Ok(Form::Json),
        other => Err(UsageError::Form(other.to_owned())),
    }
}

/// Where to listen: on this machine only, unless told.
fn address_of(word: &str) -> Result<SocketAddr, UsageError> {
    let port = || Some(SocketAddr::from((Ipv4Addr::LOCALHOST, word.parse().ok()?)));
    word.parse().ok().or_else(port).ok_or_else(|| UsageError::Metrics(word.to_owned()))
}

/// The command that `word` names, where `first` has been named before.
fn name(first: Option<&'static str>, word: &str) -> Result<&'static str, UsageError> {
    const NAMES: [&str; 2] = ["serve", "check"];
    if let Some(first) = first {
        return Err(UsageError::SecondCommand { first, second: word.to_owned() });
    }
    NAMES.into_iter().find(|name| *name == word).ok_or_else(|| {
        let near = match did_you_mean(word, NAMES.into_iter()) {
            Some(meant) => format!("did you mean '{meant}'?"),
            None => format!("there are: {}", NAMES.join(", ")),
        };
        UsageError::UnknownCommand { given: word.to_owned(), near }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let words = line.split_whitespace().map(OsString::from);
        Command::parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_mean_what_the_help_says() {
        let file = |file: &str| PathBuf::from(file);
        let serve =
            |name: &str| Command::Serve { file: file(name), form: Form::Text, metrics: None };
        let told = |address: &str| Command::Serve {
            file: file(DEFAULT_FILE),
            form: Form::Json,
            metrics: Some(address.parse().unwrap()),
        };
        for (line, command) in [
            ("serve", serve(DEFAULT_FILE)),
            ("serve -c a.toml", serve("a.toml")),
            ("-c a.toml serve", serve("a.toml")),
            ("serve --config=a.toml", serve("a.toml")),
            ("serve --log text", serve(DEFAULT_FILE)),
            ("serve --log=json --metrics 9187", told("127.0.0.1:9187")),
            ("--metrics [::1]:9187 serve --log json", told("[::1]:9187")),
            ("check -ca.toml", Command::Check { file: file("a.toml"), json: false }),
            ("check --json", Command::Check { file: file(DEFAULT_FILE), json: true }),
            ("--version", Command::Version),
            ("serve --help", Command::Help),
            ("-h", Command::Help),
        ] {
            assert_eq!(parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn wrong_arguments_are_told_what_is_wrong() {
        for (line, message) in [
            ("", "no command; there are: serve, check"),
            ("chek", "no command 'chek'; did you mean 'check'?"),
            ("start", "no command 'start'; there are: serve, check"),
            ("serve check", "one command at a time: 'check' stands behind 'serve'"),
            ("serve --json", "--json goes with check only"),
            ("check --log json", "--log and --metrics go with serve only"),
            ("serve --log xml", "--log takes text or json, not 'xml'"),
            ("serve --metrics here", "--metrics takes PORT, IP:PORT or [IP]:PORT, not 'here'"),
            ("serve -c", "missing argument for option '-c'"),
            ("serve --port 1", "invalid option '--port'"),
            ("serve -x", "invalid option '-x'"),
        ] {
            assert_eq!(parse(line), Err(message.into()), "{line}");
        }
    }

    #[test]
    fn the_help_names_the_default_file() {
        assert!(HELP.contains(DEFAULT_FILE));
    }
}
