//! `exports tenants`: sets and lists the vehicles that each tenant may see at most, directly in
//! MongoDB and as its administrator.

mod limit;
mod list;

use export_settings::print::Output;

/// Set and list the vehicles that each tenant may see at most
#[derive(Debug, clap::Args)]
pub(crate) struct Tenants {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Set the vehicles that the keys and tokens of a tenant may see at most. It takes effect
    /// within 30 seconds, also for the results of earlier exports
    Limit(limit::Limit),
    /// List the tenants with a limit
    List(list::List),
}

impl Tenants {
    pub(crate) async fn run(self, output: &mut Output) -> anyhow::Result<()> {
        match self.command {
            Command::Limit(limit) => limit.run(output).await,
            Command::List(list) => list.run(output).await,
        }
    }
}
