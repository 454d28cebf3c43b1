//! Manual pages and completions, made from what the programs say of themselves: they cannot be out of date.

use crate::process;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What is filled into the pages of deploy/man.
pub(crate) struct Pages<'a> {
    /// Where the programs are.
    pub(crate) bin: &'a Path,
    pub(crate) version: &'a str,
    /// The day of the last change, as 2026-11-26.
    pub(crate) date: &'a str,
}

impl Pages<'_> {
    /// Returns the page `name`, such as proximity.1.
    ///
    /// # Errors
    ///
    /// A text, if a program does not tell its help, or the page's frame cannot be read.
    pub(crate) fn page(&self, name: &str) -> Result<String, String> {
        let root = process::root();
        let read = |path: &str| {
            fs::read_to_string(root.join(path))
                .map_err(|error| format!("cannot read {path}: {error}"))
        };
        let (program, _section) = name.rsplit_once('.').unwrap_or((name, ""));
        let mut page = read(&format!("deploy/man/{name}.in"))?
            .replace("@VERSION@", self.version)
            .replace("@DATE@", self.date);
        if page.contains("@HELP@") {
            page = page.replace("@HELP@", &verbatim(&self.help(program, &["--help"])?));
        }
        if page.contains("@COMMANDS@") {
            page = page.replace("@COMMANDS@", &self.commands(program)?);
        }
        Ok(page
            .replace("@CONFIGURATION@", &verbatim(&read("docs/configuration.md")?))
            .replace("@EXAMPLE@", &verbatim(&read("deploy/agent.toml")?)))
    }

    /// Returns what `shell` reads to complete the words of the command.
    ///
    /// # Errors
    ///
    /// A text, if the command does not tell.
    pub(crate) fn completions(&self, shell: &str) -> Result<String, String> {
        self.help("proximity", &["completions", shell])
    }

    /// A section for each command that the program's help lists.
    fn commands(&self, program: &str) -> Result<String, String> {
        let help = self.help(program, &["--help"])?;
        let mut sections = String::new();
        for command in listed(&help) {
            let text = verbatim(&self.help(program, &[command, "--help"])?);
            let _ = writeln!(sections, ".SS {command}\n.nf\n{text}\n.fi");
        }
        if sections.is_empty() {
            Err(format!("{program} --help lists no command"))
        } else {
            Ok(sections)
        }
    }

    fn help(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.bin.join(program));
        let output = command.args(arguments).env("COLUMNS", "80").output();
        let output = output.map_err(|error| format!("could not run {program}: {error}"))?;
        if output.status.success() && !output.stdout.is_empty() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "{} failed: {}",
            process::shown(&command),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// The commands in a help of clap's.
fn listed(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| line.starts_with("  "));
    // Behind a name that leaves no room its description stands deeper, on a line of its own.
    let names = entries.filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).collect()
}

/// Text as it is, in troff's eyes.
fn verbatim(text: &str) -> String {
    let escape = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A line that starts with one of these would be a command.
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    };
    text.trim_end().lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_a_help() {
        let help = "Usage: x\n\nCommands:\n  list   Lists\n  longer-name\n          Does\n\nOptions:\n  -a\n";
        assert_eq!(listed(help), ["list", "longer-name"]);
    }

    #[test]
    fn troff_takes_text_for_text() {
        assert_eq!(verbatim(".br\n'a'\n-x \\n\n"), "\\&.br\n\\&'a'\n\\-x \\en");
    }
}
