//! What a progress bar shows, as one line that fits into the terminal.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar};

use crate::duration::duration;

/// Width of the bar on a wide terminal and on a narrow one, and the widths of the terminals; on an
/// even narrower one there is no bar.
const BARS: [(usize, usize); 2] = [(60, 24), (36, 10)];
/// Transfers are measured for this long before their speed is shown.
const MEASURED: Duration = Duration::from_secs(1);

/// One line of progress. `share` is the fraction that is done, from 0 to 1, or `None` while it is
/// not known: then there is no bar. The line is narrower than the terminal, which would begin
/// another line otherwise; a message that is too long ends with `…`.
pub(crate) fn frame(share: Option<f64>, message: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    let cells = BARS.into_iter().find(|(least, _)| room >= *least).map(|(_, cells)| cells);
    match (share, cells) {
        (Some(share), Some(cells)) => {
            format!("{} {}", bar(share, cells), shortened(message, room - cells - 1))
        }
        _ => shortened(message, room),
    }
}

fn bar(share: f64, cells: usize) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a number of cells"
    )]
    let full = (share.clamp(0.0, 1.0) * cells as f64) as usize;
    "█".repeat(full) + &"░".repeat(cells - full)
}

/// The text, cut to this many columns.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().map(columns).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let kept = text.chars().take_while(|character| {
        let fits = columns(*character) <= left;
        left = left.saturating_sub(columns(*character));
        fits
    });
    let kept: String = kept.collect();
    if room == 0 { String::new() } else { format!("{}…", kept.trim_end()) }
}

/// The most columns that a character takes.
fn columns(character: char) -> usize {
    if character.is_ascii() || character == '…' { 1 } else { 2 }
}

/// The progress of a transfer of bytes.
pub(crate) struct TransferBar {
    bar: ProgressBar,
    total: u64,
    width: fn() -> usize,
    state: Mutex<Transfer>,
}

#[derive(Clone, Copy, Debug)]
struct Transfer {
    done: u64,
    /// When the first bytes came, and how many were there before: those of an earlier download.
    began: Option<(Instant, u64)>,
}

impl TransferBar {
    /// The progress of so many bytes on this bar.
    pub(crate) fn new(bar: ProgressBar, total: u64, width: fn() -> usize) -> Self {
        let bar = Self { bar, total, width, state: Mutex::new(Transfer { done: 0, began: None }) };
        bar.set_position(0);
        bar
    }

    /// The bytes that are there.
    pub(crate) fn position(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).done
    }

    pub(crate) fn set_position(&self, done: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (began_at, before) = match state.began {
            Some(began) if began.1 <= done => began,
            _ => (Instant::now(), done),
        };
        *state = Transfer { done, began: Some((began_at, before)) };
        let message = transfer_message(done, self.total, done - before, began_at.elapsed());
        self.bar.set_message(frame(share_of(done, self.total), &message, (self.width)()));
        self.bar.tick();
    }
}

/// The fraction that is done; `None` if the total is not known.
#[expect(clippy::cast_precision_loss, reason = "shown to people, who need three digits")]
fn share_of(done: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| done as f64 / total as f64)
}

/// `received` bytes came within `elapsed`, and `done` of `total` are there.
fn transfer_message(done: u64, total: u64, received: u64, elapsed: Duration) -> String {
    let size = if total > 0 {
        format!("{} of {}", BinaryBytes(done), BinaryBytes(total))
    } else {
        BinaryBytes(done).to_string()
    };
    let seconds = elapsed.as_secs();
    let per_second = received.checked_div(seconds).filter(|_| elapsed >= MEASURED).unwrap_or(0);
    if per_second == 0 {
        return size;
    }
    let left = match total.saturating_sub(done) {
        0 => String::new(),
        left => format!(", {} left", duration(left.div_ceil(per_second))),
    };
    format!("{size}, {}/s{left}", BinaryBytes(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "STARTED 42.5 %, 1 min 30 s left, 2 of 5 vehicles, 1,500,000 rows, 3.00 MiB";

    fn width(line: &str) -> usize {
        line.chars().count()
    }

    #[test]
    fn a_frame_fits_into_the_terminal() {
        let frames = [80, 40, 20].map(|columns| frame(Some(0.425), LONG, columns));
        assert_eq!(
            frames,
            [
                "██████████░░░░░░░░░░░░░░ STARTED 42.5 %, 1 min 30 s left, 2 of 5 vehicles, 1,5…",
                "████░░░░░░ STARTED 42.5 %, 1 min 30 s…",
                "STARTED 42.5 %, 1…",
            ]
            .map(str::to_owned)
        );
        for columns in 0..200 {
            for message in [LONG, "", "FINISHED", "Łódź 東京 東京 東京 東京 東京 東京 東京"]
            {
                for share in [None, Some(-1.0), Some(0.0), Some(0.5), Some(1.0), Some(7.0), Some(f64::NAN)] {
                    let line = frame(share, message, columns);
                    assert!(width(&line) < columns.max(1), "{columns}: {line}");
                    assert!(!line.contains('\n'));
                }
            }
        }
    }

    /// Before the total is known there is no bar, which would say that nothing happens.
    #[test]
    fn the_first_frames_say_what_is_known() {
        let waiting = "NOT_STARTED, position 7 in the queue";
        assert_eq!(frame(None, waiting, 80), waiting);
        assert_eq!(frame(None, waiting, 20), "NOT_STARTED, posit…");
        let first = transfer_message(0, 12 << 20, 0, Duration::ZERO);
        assert_eq!(first, "0 B of 12.00 MiB");
        assert_eq!(frame(Some(0.0), &first, 80), format!("{} 0 B of 12.00 MiB", "░".repeat(24)));
        assert_eq!(transfer_message(0, 0, 0, Duration::ZERO), "0 B");
    }

    #[test]
    fn a_transfer_has_a_speed_when_it_is_measured() {
        let second = Duration::from_secs(1);
        assert_eq!(transfer_message(1 << 20, 3 << 20, 1 << 20, second / 2), "1.00 MiB of 3.00 MiB");
        assert_eq!(
            transfer_message(2 << 20, 12 << 20, 2 << 20, 2 * second),
            "2.00 MiB of 12.00 MiB, 1.00 MiB/s, 10 s left"
        );
        // Bytes of an earlier download are not part of the speed.
        assert_eq!(
            transfer_message(11 << 20, 12 << 20, 1 << 20, second),
            "11.00 MiB of 12.00 MiB, 1.00 MiB/s, 1 s left"
        );
        assert_eq!(transfer_message(5, 5, 5, second), "5 B of 5 B, 5 B/s");
    }

    #[test]
    fn a_download_that_starts_over_is_measured_again() {
        let bar = TransferBar::new(ProgressBar::hidden(), 10, || 80);
        bar.set_position(5);
        bar.set_position(0);
        bar.set_position(3);
        assert_eq!(bar.position(), 3);
    }
}
