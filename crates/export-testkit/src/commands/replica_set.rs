//! Creates a replica set of one node, which transactions, change streams and majority writes need,
//! and its administrator.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential};

/// An empty data directory becomes a writable primary within about three seconds; slow disks get
/// twenty times that.
const DEADLINE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);
/// The server's error codes.
const UNAUTHORIZED: i32 = 13;
const AUTHENTICATION_FAILED: i32 = 18;
const ALREADY_INITIALIZED: i32 = 23;

/// Initiate the replica set rs0 of one node and make the user of its URI an administrator, unless
/// they are there; wait until it is writable.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node, started with `--replSet rs0`; with the administrator's user if it was started with
    /// `--keyFile`, which enables authentication. The first user can only be created from the same
    /// machine.
    #[arg(long, env = "TEST_MONGODB_URI", hide_env_values = true)]
    uri: String,
}

/// Fails when the node is not writable after 60 s.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let options = ClientOptions::parse(&arguments.uri).await.context("--uri is no MongoDB URI")?;
    let member = options.hosts.first().context("--uri names no host")?.to_string();
    ready(&arguments.uri, &member).await
}

/// Initiates with `member` (host and port as the node itself can reach them) as the only node, and
/// waits.
pub(crate) async fn ready(uri: &str, member: &str) -> anyhow::Result<()> {
    let mut options = ClientOptions::parse(uri).await?;
    options.direct_connection = Some(true);
    // A new set refuses a client that asks for it by name.
    options.repl_set_name = None;
    options.server_selection_timeout = Some(Duration::from_secs(2));
    let administrator = options.credential.take();
    let node = Node { options, administrator };

    let deadline = Instant::now() + DEADLINE;
    let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": member }] };
    let mut initiated = false;
    loop {
        let last_state = match node.step(&config, &mut initiated).await {
            Ok(Step::Ready) => return Ok(()),
            Ok(Step::Waiting) => "not yet primary".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            bail!("the replica set is not writable after {} s: {last_state}", DEADLINE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

enum Step {
    Ready,
    Waiting,
}

/// A node and its administrator.
struct Node {
    /// Without a user.
    options: ClientOptions,
    administrator: Option<Credential>,
}

impl Node {
    fn anonymous(&self) -> Result<mongodb::Database, Error> {
        Ok(Client::with_options(self.options.clone())?.database("admin"))
    }

    fn as_administrator(&self) -> Result<mongodb::Database, Error> {
        let mut options = self.options.clone();
        options.credential.clone_from(&self.administrator);
        Ok(Client::with_options(options)?.database("admin"))
    }

    /// Executes the next step.
    async fn step(&self, config: &Document, initiated: &mut bool) -> Result<Step, Error> {
        let anonymous = self.anonymous()?;
        if !*initiated {
            let initiate = || doc! { "replSetInitiate": config.clone() };
            let mut outcome = anonymous.run_command(initiate()).await;
            // If users exist already, only one of them can ask.
            if has_code(&outcome, UNAUTHORIZED) && self.administrator.is_some() {
                outcome = self.as_administrator()?.run_command(initiate()).await;
            }
            if !has_code(&outcome, ALREADY_INITIALIZED) {
                outcome?;
            }
            *initiated = true;
        }
        let hello = anonymous.run_command(doc! { "hello": 1 }).await?;
        if !hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(Step::Waiting);
        }
        let Some(administrator) = &self.administrator else { return Ok(Step::Ready) };
        match self.as_administrator()?.run_command(doc! { "ping": 1 }).await {
            Err(error) if is_refused(&error) => {
                let user = doc! {
                    "createUser": administrator.username.as_deref().unwrap_or_default(),
                    "pwd": administrator.password.as_deref().unwrap_or_default(),
                    "roles": ["root"],
                };
                anonymous.run_command(user).await?;
                Ok(Step::Waiting)
            }
            outcome => outcome.map(|_| Step::Ready),
        }
    }
}

/// Whether the user does not exist, or has another password.
fn is_refused(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Authentication { .. }) || error_has_code(error, AUTHENTICATION_FAILED)
}

fn has_code(outcome: &Result<Document, Error>, code: i32) -> bool {
    outcome.as_ref().is_err_and(|error| error_has_code(error, code))
}

fn error_has_code(error: &Error, code: i32) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == code)
}
