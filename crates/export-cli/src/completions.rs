//! `exports completions`: what a shell needs to complete commands and flags.

use clap::Command;
use clap_complete::{Shell, generate};

use crate::client::out;

/// Settings of `exports completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "bash: source <(exports completions bash); zsh: exports completions zsh > \"${fpath[1]}/_exports\"; \
    fish: exports completions fish > ~/.config/fish/completions/exports.fish; \
    PowerShell: exports completions powershell | Out-String | Invoke-Expression"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Writes the script for this command line.
    pub(crate) fn run(self, mut command: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "exports", &mut script);
        out(String::from_utf8_lossy(&script).trim_end())
    }
}
