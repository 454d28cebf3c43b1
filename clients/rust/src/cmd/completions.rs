//! `proximity completions`: what a shell reads to complete this command's words.

use crate::{failure::Failure, output::Output};
use clap::{Args, Command};
use clap_complete::{Shell, generate};

/// Print what bash, zsh or fish reads to complete this command's words; needs no agent
#[derive(Args)]
#[command(after_help = "To have it in bash: proximity completions bash > \
    ~/.local/share/bash-completion/completions/proximity")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command: Command, output: &Output) -> Result<(), Failure> {
        let mut text = Vec::new();
        generate(self.shell, &mut command, "proximity", &mut text);
        Ok(output.raw(&text)?)
    }
}
