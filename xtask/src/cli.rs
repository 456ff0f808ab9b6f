//! The commands and their flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Sets up, runs and tests the export service on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start MongoDB, RabbitMQ, S3, the API and a worker, and leave them running.
    Up(Up),
    /// End what `up` and `demo` started; data stays.
    Down {
        /// Delete the stack's data, logs and state as well.
        #[arg(long)]
        purge: bool,
    },
    /// Say what runs and where it listens.
    Status(Stack),
    /// One export from end to end: stack, synthetic fleet, POST, download, comparison with the
    /// reference exporter.
    Demo(Demo),
    /// Measure the export side by side with what the machine could do at best and with a Python
    /// exporter.
    ///
    /// Uses the stack of `up` with optimised programs, and ends afterwards what it started. A stack
    /// that ran before goes on with these programs until the next `cargo xtask up`.
    Bench(Bench),
    /// Open results of the engine with other people's programs: unzip, bsdtar, Java, Python,
    /// pandas, polars, `DuckDB`, `pyarrow`, `LibreOffice`.
    ///
    /// The Python packages are downloaded; the other programs must be installed (Debian: unzip,
    /// libarchive-tools, default-jdk-headless, libreoffice-calc).
    Readers(Readers),
    /// Download the programs that `test` needs: a MongoDB, a RabbitMQ and Python packages.
    Fetch,
    /// Check licences, unwanted crates, origins and security advisories of all dependencies with
    /// cargo-deny, which is downloaded unless installed.
    Deny(Deny),
    /// Check what may depend on what: crates, imports between files, unused dependencies, lengths
    /// of files and functions.
    Layers,
    /// Run every test of the workspace on real services that exist for this run only.
    Test(Test),
    /// Break everything at random under the real programs, and check the job protocol's invariants
    /// afterwards.
    ///
    /// Starts servers of its own, as packages of this machine. A seed gives the same schedules
    /// again.
    Chaos(Chaos),
    /// Play the trials of a new user on the containers of docker-compose.yml: wrong passwords, lost
    /// servers, what containers may do and what they cost.
    ///
    /// In a Compose project of its own, which is removed afterwards.
    Containers(Containers),
    /// Post many exports at once, and see what that does to the vehicles' database, to other
    /// tenants and to the workers.
    ///
    /// On services, an API and workers of its own with default settings, which are gone afterwards.
    Herd(Herd),
}

/// Where MongoDB, RabbitMQ and S3 come from, unless their addresses are in the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// A Docker engine if one answers, else packages of this machine.
    #[default]
    Auto,
    /// Containers.
    Docker,
    /// Packages: mongod from a Python wheel, RabbitMQ from Debian, S3 from this workspace.
    Native,
}

/// Flags of the local stack.
#[derive(Clone, Debug, Args)]
pub(crate) struct Stack {
    /// Where the services come from when the environment does not give their addresses.
    #[arg(long, value_enum, default_value_t, env = "XTASK_SERVICES")]
    pub(crate) services: Source,
    /// MongoDB's port (variable `MONGODB_PORT`, default 27117).
    #[arg(long)]
    pub(crate) mongodb_port: Option<u16>,
    /// RabbitMQ's port (variable `RABBITMQ_PORT`, default 5673).
    #[arg(long)]
    pub(crate) rabbitmq_port: Option<u16>,
    /// The port of RabbitMQ's management (variable `RABBITMQ_MANAGEMENT_PORT`, default 15673).
    #[arg(long)]
    pub(crate) rabbitmq_management_port: Option<u16>,
    /// The S3 server's port (variable `S3_PORT`, default 9100).
    #[arg(long)]
    pub(crate) s3_port: Option<u16>,
    /// The API's port [env: PORT, default: 3000].
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The API's port for health and readiness (variable `ADMIN_PORT`, default 3001).
    #[arg(long)]
    pub(crate) admin_port: Option<u16>,
    /// The worker's port for health and readiness (variable `WORKER_ADMIN_PORT`, default 3002).
    #[arg(long)]
    pub(crate) worker_admin_port: Option<u16>,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) stack: Stack,
    /// Start and provision MongoDB, RabbitMQ and S3 only, not the API and the worker.
    #[arg(long)]
    pub(crate) services_only: bool,
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) stack: Stack,
    /// Afterwards, stop everything that this run started.
    #[arg(long)]
    pub(crate) once: bool,
    /// Vehicles in the synthetic fleet.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=999))]
    pub(crate) vehicles: u32,
    /// Days of data, from 2018-11-30 on.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=31))]
    pub(crate) days: u32,
}

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) of: Option<BenchOf>,
    #[command(flatten)]
    pub(crate) stack: Stack,
    /// Vehicles in the synthetic fleet.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=999))]
    pub(crate) vehicles: u32,
    /// Days of data of each.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) days: u32,
    /// How often everything is measured; the order changes from round to round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Measure ten times as many days as well, without the Python exporter.
    #[arg(long)]
    pub(crate) growth: bool,
    /// zlib's level in the Python exporter: the one whose ratio is like the engine's.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) level: u32,
    /// Measure the memory of workers with two exports at a time, for each kind of result.
    #[arg(long)]
    pub(crate) memory: bool,
    /// Folder with the programs of an earlier version (`target/release` of its checkout), measured in
    /// the same rounds.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) earlier: Option<PathBuf>,
    /// Measure only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Contestant>,
    /// Markdown file whose part between the markers `<!-- bench:begin -->` and `<!-- bench:end -->`
    /// gets the results.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Other measurements.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchOf {
    /// Accepting jobs beside its two bare operations, and a client beside a crowd of slow ones.
    ///
    /// On services and an API of its own, which are gone afterwards.
    Api(BenchApi),
}

/// Flags of `bench api`.
#[derive(Debug, Args)]
pub(crate) struct BenchApi {
    /// Where the services come from when the environment does not give their addresses.
    #[arg(long, value_enum, default_value_t, env = "XTASK_SERVICES")]
    pub(crate) services: Source,
    /// Requests at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) concurrency: u32,
    /// Length of each measurement, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Clients that send a byte a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slow_clients: u32,
    /// Measure the programs of the tests, which need not be built anew: for a first look only.
    #[arg(long)]
    pub(crate) unoptimised: bool,
    /// Markdown file whose part between the markers `<!-- bench-api:begin -->` and `<!--
    /// bench-api:end -->` gets the results.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// The contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Contestant {
    /// Plain code over documents in memory: what this machine could do at best.
    Ceiling,
    /// The engine, from a mongodump folder to nowhere.
    Engine,
    /// `exports run`, from MongoDB to a file.
    Run,
    /// The whole service, from POST to FINISHED, with S3.
    Service,
    /// The engine of an earlier version.
    EarlierEngine,
    /// `exports run` of an earlier version.
    EarlierRun,
    /// API and worker of an earlier version.
    EarlierService,
    /// Reading the hour documents from MongoDB and throwing them away.
    Drain,
    /// A streaming exporter in Python, from MongoDB to S3.
    Python,
}

impl Contestant {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Ceiling,
        Self::Engine,
        Self::Run,
        Self::Service,
        Self::EarlierEngine,
        Self::EarlierRun,
        Self::EarlierService,
        Self::Drain,
        Self::Python,
    ];

    /// Whether it needs the programs of an earlier version.
    pub(crate) fn is_earlier(self) -> bool {
        matches!(self, Self::EarlierEngine | Self::EarlierRun | Self::EarlierService)
    }
}

/// Flags of `readers`.
#[derive(Debug, Args)]
pub(crate) struct Readers {
    /// Open zips with an entry of more than 4 GiB and with more than 65,535 entries instead. Takes
    /// minutes.
    #[arg(long)]
    pub(crate) large: bool,
    /// Succeed although a reader is not installed.
    #[arg(long)]
    pub(crate) allow_missing: bool,
}

/// Flags of `deny`.
#[derive(Debug, Args)]
pub(crate) struct Deny {
    /// Check only security advisories, and fail if their database cannot be fetched from GitHub.
    #[arg(long)]
    pub(crate) advisories: bool,
}

/// Flags of `test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Where the services come from when the environment does not give their addresses.
    #[arg(long, value_enum, default_value_t, env = "XTASK_SERVICES")]
    pub(crate) services: Source,
    /// Run only the unit tests, the model, the engine's tests and one export through the whole
    /// service.
    #[arg(long, conflicts_with = "runner_arguments")]
    pub(crate) quick: bool,
    /// Passed on to the test runner: `cargo nextest run --workspace` if it is installed, else
    /// `cargo test --workspace`.
    #[arg(last = true)]
    pub(crate) runner_arguments: Vec<String>,
}

/// Flags of `chaos`.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// The same seed gives the same schedules.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many schedules; each takes about a quarter of a minute.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) schedules: u32,
    /// Number of the first schedule, to see one of a run again.
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u32,
    /// Clients of each schedule, with one export in mind each.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) jobs: u32,
    /// Write the figures between the markers `chaos:begin` and `chaos:end` of this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Flags of `containers`.
#[derive(Debug, Args)]
pub(crate) struct Containers {
    /// Use the images that exist, instead of building them.
    #[arg(long)]
    pub(crate) prebuilt: bool,
    /// Play only trials whose names begin so, such as `e3,e4`.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Command that restarts the Docker engine; without it that trial is not played.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) restart_engine: Option<String>,
    /// Leave the containers running.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Flags of `herd`.
#[derive(Debug, Args)]
pub(crate) struct Herd {
    /// Where the services come from when the environment does not give their addresses.
    #[arg(long, value_enum, default_value_t, env = "XTASK_SERVICES")]
    pub(crate) services: Source,
    /// Play only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) scenario: Vec<Scenario>,
    /// Exports that are posted at once.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) exports: u32,
    /// Tenants of these exports.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) tenants: u32,
    /// Exports of one tenant that another's small one is behind.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) behind: u32,
    /// Exports, all of them large, among which a worker is killed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) killed: u32,
    /// Workers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) workers: u32,
    /// How often everything is measured, but for the killed worker.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long the point queries are measured before each burst, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) idle_seconds: u32,
    /// `SOURCE_MAX_READS`, which the open cursors are compared with: its default.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_cursors: u32,
    /// `LEASE_SECONDS`, which a killed worker's places are compared with: its default.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) lease_seconds: u32,
    /// Measure the programs of the tests, which need not be built anew: for a first look only.
    #[arg(long)]
    pub(crate) unoptimised: bool,
    /// Markdown file whose part between the markers `<!-- herd:begin -->` and `<!-- herd:end -->`
    /// gets the results.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// The scenarios of `herd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Several tenants' exports at once, beside point queries on the vehicles' databases.
    Burst,
    /// One tenant's small export behind another's many.
    Behind,
    /// A worker is killed in the middle of a burst.
    Killed,
    /// The same request ten times at once.
    Identical,
}

impl Scenario {
    /// Its name as a flag and in the program's figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Behind => "behind",
            Self::Killed => "killed",
            Self::Identical => "identical",
        }
    }

    /// All of them, in the order they are played.
    pub(crate) const ALL: [Self; 4] = [Self::Burst, Self::Behind, Self::Killed, Self::Identical];
}
