//! `exports completions`: prints a script that completes commands and flags.

use clap::Command;
use clap_complete::{Shell, generate};
use export_settings::print::Output;

/// Arguments of `exports completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "bash: source <(exports completions bash); zsh: exports completions zsh > \"${fpath[1]}/_exports\"; \
    fish: exports completions fish > ~/.config/fish/completions/exports.fish; \
    PowerShell: exports completions powershell | Out-String | Invoke-Expression"
)]
pub(crate) struct Completions {
    /// Shell that the script is for
    shell: Shell,
}

impl Completions {
    /// Prints the script for this command line.
    pub(crate) fn run(self, mut command: Command, output: &mut Output) {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "exports", &mut script);
        output.line(String::from_utf8_lossy(&script).trim_end());
    }
}
