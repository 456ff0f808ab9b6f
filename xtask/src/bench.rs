//! `cargo xtask bench`: the export compared with this machine's upper bound and with a Python
//! exporter.
//!
//! Everything is measured in rounds, each contestant once per round and in another order each time,
//! so that other load on the machine affects all of them; ratios are computed within a round. Every
//! result is compared with the ceiling's before its time counts. Start at [`run`]; the contestants
//! are in `contestant`.

mod api;
mod contestant;
mod data;
mod field;
pub(crate) mod machine;
mod measure;
mod memory;
mod report;
mod rounds;
mod service;
pub(crate) mod statistics;

use anyhow::Context as _;

use crate::bench::data::{Data, Size};
use crate::bench::field::Field;
use crate::bench::measure::Run;
use crate::cli::Contestant;
use crate::layout::Layout;
use crate::programs::Purpose;
use crate::settings::Settings;
use crate::stack::{self, Wanted};
use crate::{cli, console, document, programs, python};

const PYTHON_REQUIREMENTS: &str = "crates/export-bench/python/requirements.txt";
/// Factor of the data size that `--growth` measures.
const GROWTH: u32 = 10;

/// All measurements of one size of data.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) data: Data,
    /// By round, in the contestants' own order.
    pub(crate) rounds: Vec<Vec<(Contestant, Run)>>,
    /// The worker's peak after the rounds, and after two exports at the same time.
    pub(crate) worker_peak_bytes: Option<[u64; 2]>,
    /// The worker's peak with two exports at a time, by kind of result.
    pub(crate) kinds_peak_bytes: Vec<(&'static str, u64)>,
}

/// Measures, prints and writes the report; ends all programs that it started.
pub(crate) fn run(arguments: &cli::Bench) -> anyhow::Result<()> {
    if let Some(cli::BenchOf::Api(arguments)) = &arguments.of {
        return api::run(arguments);
    }
    let layout = Layout::find()?;
    let settings = Settings::read(&layout)?;
    let mut started = Vec::new();
    let result = measure(&layout, &settings, arguments, &mut started);
    if !started.is_empty() {
        console::step(format!("ending what this run started: {}", started.join(", ")));
        let ended = stack::down::only(&layout, &started);
        return result.and(ended);
    }
    result
}

fn measure(
    layout: &Layout,
    settings: &Settings,
    arguments: &cli::Bench,
    started: &mut Vec<String>,
) -> anyhow::Result<()> {
    let mut contestants: Vec<Contestant> = Contestant::ALL
        .into_iter()
        .filter(|contestant| arguments.only.is_empty() || arguments.only.contains(contestant))
        .filter(|contestant| !contestant.is_earlier() || arguments.earlier.is_some())
        .collect();
    let mut notes = Vec::new();
    let python = if contestants.contains(&Contestant::Python) {
        match python::environment(
            layout,
            &layout.target.join("bench").join("python"),
            PYTHON_REQUIREMENTS,
            "the Python exporter",
        ) {
            Ok(python) => Some(python),
            Err(error) => {
                contestants.retain(|contestant| *contestant != Contestant::Python);
                notes.push(format!("The Python exporter was **not measured**: {error:#}."));
                console::step(format!("NOT MEASURED: the Python exporter: {error:#}"));
                None
            }
        }
    } else {
        None
    };

    let mut sizes = vec![Size { vehicles: arguments.vehicles, days: arguments.days }];
    if arguments.growth {
        sizes.push(Size { vehicles: arguments.vehicles, days: arguments.days * GROWTH });
    }
    let mut measured = Vec::new();
    for (index, size) in sizes.into_iter().enumerate() {
        // The prefix is a setting of the programs: with another size they are restarted, and their
        // memory peaks start anew.
        let wanted = Wanted {
            services_only: false,
            purpose: Purpose::Benchmark,
            extra: vec![("VEHICLE_DATABASE_PREFIX".to_owned(), size.prefix())],
        };
        let stack = stack::up(layout.clone(), settings, &arguments.stack, &wanted, started)?;
        let data = data::prepare(&stack, size)?;
        let earlier = arguments.earlier.as_deref().map(programs::of_folder).transpose()?;
        let earlier = earlier.map(|programs| stack.with_programs(programs));
        if index > 0 {
            // The growth of this service shows without waiting minutes for Python.
            contestants.retain(|contestant| *contestant != Contestant::Python);
        }
        let field = Field {
            stack: &stack,
            earlier: earlier.as_ref(),
            data: &data,
            python: python.as_deref(),
            level: arguments.level,
        };
        let rounds = rounds::run(&field, &contestants, arguments.rounds);
        if earlier.is_some() {
            // A stack that was up before must not be left with the earlier version.
            stack::start_members(&stack, &mut Vec::new())?;
        }
        let rounds = rounds?;
        let has_service = contestants.contains(&Contestant::Service);
        let worker_peak_bytes = has_service.then(|| service::peaks(&field)).transpose()?;
        let kinds_peak_bytes = if arguments.memory { memory::peaks(&field)? } else { Vec::new() };
        measured.push(Measured { data, rounds, worker_peak_bytes, kinds_peak_bytes });
    }

    let machine = machine::describe(layout);
    let text = report::text(&measured, &machine, &notes, arguments);
    console::line(format_args!("\n{text}"));
    if let Some(path) = &arguments.report {
        document::replace(path, "bench", &text).with_context(|| path.display().to_string())?;
        console::step(format!("written to {}", path.display()));
    }
    Ok(())
}
