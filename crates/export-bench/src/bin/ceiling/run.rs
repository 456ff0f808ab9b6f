//! The run: chunks of hours handed out to threads, each stage after the other on the same thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::anyhow;
use export_bench::usage::{Stopwatch, Usage};
use serde::Serialize;

use crate::dump::{Hour, Vehicle};
use crate::rows::{MAX_ROW_BYTES, RowWriter};
use crate::squeeze::Squeezer;
use crate::walk::{Point, walk};
use crate::{Arguments, Stage};

/// The output.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figures {
    #[serde(flatten)]
    usage: Usage,
    threads: usize,
    points: u64,
    rows: u64,
    csv_bytes: u64,
    compressed_bytes: u64,
    /// Text by compressed bytes.
    ratio: f64,
    vehicles: Vec<VehicleFigures>,
}

/// Size and checksum of a vehicle's CSV, to compare with other exporters' results for the same
/// data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VehicleFigures {
    name: String,
    csv_bytes: u64,
    crc32: u32,
}

/// Some hours of one vehicle.
#[derive(Debug, Clone, Copy)]
struct Chunk<'a> {
    vehicle: &'a Vehicle,
    vehicle_index: usize,
    hours: &'a [Hour],
    is_first: bool,
}

/// The output of a chunk.
#[derive(Debug, Clone, Default)]
struct Made {
    points: u64,
    rows: u64,
    csv_bytes: u64,
    compressed_bytes: u64,
    crc: crc32fast::Hasher,
}

/// Runs the requested stages.
pub(crate) fn run(arguments: &Arguments, threads: usize, vehicles: &[Vehicle]) -> anyhow::Result<Figures> {
    let chunks: Vec<Chunk<'_>> = vehicles
        .iter()
        .enumerate()
        .flat_map(|(vehicle_index, vehicle)| {
            vehicle.hours.chunks(arguments.chunk_hours.max(1)).enumerate().map(move |(index, hours)| Chunk {
                vehicle,
                vehicle_index,
                hours,
                is_first: index == 0,
            })
        })
        .collect();
    if arguments.stage == Stage::Deflate {
        let mut texts = Vec::new();
        let mut lane = Lane::new(arguments)?;
        for chunk in &chunks {
            let (made, text) = lane.text(chunk);
            texts.push((made, text));
        }
        let (usage, made) = in_parallel(
            threads,
            texts.len(),
            || Lane::new(arguments),
            |lane, index| {
                let (made, text) = &texts[index];
                let mut made = made.clone();
                lane.squeeze_all(text, &mut made);
                made
            },
        )?;
        return Ok(figures(usage, threads, vehicles, &chunks, made));
    }
    let (usage, made) = in_parallel(
        threads,
        chunks.len(),
        || Lane::new(arguments),
        |lane, index| lane.chunk(&chunks[index]),
    )?;
    Ok(figures(usage, threads, vehicles, &chunks, made))
}

/// Calls `step` for every index below `count`, on that many threads; results in order of the index.
fn in_parallel<L>(
    threads: usize,
    count: usize,
    lane: impl Fn() -> anyhow::Result<L> + Sync,
    step: impl Fn(&mut L, usize) -> Made + Sync,
) -> anyhow::Result<(Usage, Vec<Made>)> {
    let next = AtomicUsize::new(0);
    let stopwatch = Stopwatch::start()?;
    let work = || {
        let mut lane = lane()?;
        let mut made = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(made);
            }
            made.push((index, step(&mut lane, index)));
        }
    };
    let mut made: Vec<(usize, Made)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().map_err(|_| anyhow!("a thread panicked")).flatten())
            .collect::<anyhow::Result<Vec<Vec<_>>>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    let usage = stopwatch.stop()?;
    made.sort_by_key(|(index, _)| *index);
    Ok((usage, made.into_iter().map(|(_, made)| made).collect()))
}

/// State that a thread keeps from chunk to chunk.
struct Lane<'a> {
    arguments: &'a Arguments,
    columns: Vec<Vec<Point>>,
    writer: RowWriter,
    squeezer: Squeezer,
    /// Text that is not compressed yet lies at the start.
    text: Vec<u8>,
}

impl<'a> Lane<'a> {
    fn new(arguments: &'a Arguments) -> anyhow::Result<Self> {
        Ok(Self {
            arguments,
            columns: Vec::new(),
            writer: RowWriter::new(),
            squeezer: Squeezer::new(arguments.level)?,
            text: Vec::new(),
        })
    }

    fn chunk(&mut self, chunk: &Chunk<'_>) -> Made {
        let mut made = Made::default();
        let block_bytes = self.arguments.block_bytes.max(1);
        // Of the text that is not compressed yet.
        let (mut start, mut end) = (0, 0);
        if chunk.is_first && self.arguments.stage != Stage::Walk {
            end += self.header(chunk, end);
        }
        for hour in chunk.hours {
            made.points += self.walk(chunk.vehicle, hour);
            if self.arguments.stage == Stage::Walk {
                continue;
            }
            end += self.rows(hour, end, &mut made);
            if self.arguments.stage == Stage::Rows {
                made.csv_bytes += end as u64;
                end = 0;
                continue;
            }
            while end - start >= block_bytes {
                self.squeeze(start, start + block_bytes, &mut made);
                start += block_bytes;
            }
            self.text.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
        if self.arguments.stage == Stage::All && end > start {
            self.squeeze(start, end, &mut made);
        }
        made
    }

    /// The whole text of a chunk.
    fn text(&mut self, chunk: &Chunk<'_>) -> (Made, Vec<u8>) {
        let mut made = Made::default();
        let mut end = if chunk.is_first { self.header(chunk, 0) } else { 0 };
        for hour in chunk.hours {
            made.points += self.walk(chunk.vehicle, hour);
            end += self.rows(hour, end, &mut made);
        }
        (made, self.text[..end].to_vec())
    }

    fn squeeze_all(&mut self, text: &[u8], made: &mut Made) {
        let block_bytes = self.arguments.block_bytes.max(1);
        for start in (0..text.len()).step_by(block_bytes) {
            let end = text.len().min(start + block_bytes);
            made.compressed_bytes += self.squeezer.block(&text[start..end]) as u64;
            made.csv_bytes += (end - start) as u64;
            made.crc.update(&text[start..end]);
        }
    }

    fn squeeze(&mut self, start: usize, end: usize, made: &mut Made) {
        made.compressed_bytes += self.squeezer.block(&self.text[start..end]) as u64;
        made.csv_bytes += (end - start) as u64;
        made.crc.update(&self.text[start..end]);
    }

    fn header(&mut self, chunk: &Chunk<'_>, end: usize) -> usize {
        let header = chunk.vehicle.header.as_bytes();
        self.reserve(end + header.len());
        self.text[end..end + header.len()].copy_from_slice(header);
        header.len()
    }

    fn walk(&mut self, vehicle: &Vehicle, hour: &Hour) -> u64 {
        self.columns.resize_with(vehicle.files.len(), Vec::new);
        let mut points = 0;
        for ((column, file), document) in self.columns.iter_mut().zip(&vehicle.files).zip(&hour.documents) {
            column.clear();
            if !document.is_empty() {
                walk(file, document.start, column);
            }
            points += column.len() as u64;
        }
        points
    }

    fn rows(&mut self, hour: &Hour, end: usize, made: &mut Made) -> usize {
        let points: usize = self.columns.iter().map(Vec::len).sum();
        self.reserve(end + points * 48 + MAX_ROW_BYTES);
        let written = self.writer.write(hour.start_ms, &self.columns, &mut self.text[end..]);
        made.rows += written.rows;
        written.bytes
    }

    fn reserve(&mut self, bytes: usize) {
        if self.text.len() < bytes {
            self.text.resize(bytes.next_power_of_two(), 0);
        }
    }
}

fn figures(
    usage: Usage,
    threads: usize,
    vehicles: &[Vehicle],
    chunks: &[Chunk<'_>],
    made: Vec<Made>,
) -> Figures {
    let mut total = Made::default();
    let mut per_vehicle: Vec<Made> = vec![Made::default(); vehicles.len()];
    for (chunk, made) in chunks.iter().zip(made) {
        for sum in [&mut total, &mut per_vehicle[chunk.vehicle_index]] {
            sum.points += made.points;
            sum.rows += made.rows;
            sum.csv_bytes += made.csv_bytes;
            sum.compressed_bytes += made.compressed_bytes;
            sum.crc.combine(&made.crc);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^53")]
    let ratio = total.csv_bytes as f64 / total.compressed_bytes.max(1) as f64;
    Figures {
        usage,
        threads,
        points: total.points,
        rows: total.rows,
        csv_bytes: total.csv_bytes,
        compressed_bytes: total.compressed_bytes,
        ratio,
        vehicles: vehicles
            .iter()
            .zip(per_vehicle)
            .map(|(vehicle, made)| VehicleFigures {
                name: vehicle.name.clone(),
                csv_bytes: made.csv_bytes,
                crc32: made.crc.finalize(),
            })
            .collect(),
    }
}
