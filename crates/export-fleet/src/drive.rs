//! Simulates a vehicle's day: its movement and the values it logs.
//!
//! In the paired rhythm two kinds of message carry two values each (current with voltage, speed
//! with odo) and a third carries soc alone, so about 73 % of the rows of an export have two filled
//! cells. In the single rhythm most messages carry one value.

use crate::{HOUR_MS, PARAMETERS, Rhythm};

const DAY_MS: i64 = 24 * HOUR_MS;
const MINUTE_MS: i64 = 60_000;

/// When a vehicle rests, in milliseconds of its own day: one night of almost five hours and three
/// breaks. The remaining 14.9 hours, at about 300 ms between rows, give the 180,000 rows of a
/// vehicle-day.
const RESTS_MS: [(i64, i64); 4] = [
    (10 * MINUTE_MS, 305 * MINUTE_MS),
    (600 * MINUTE_MS, 690 * MINUTE_MS),
    (900 * MINUTE_MS, 980 * MINUTE_MS),
    (1260 * MINUTE_MS, 1340 * MINUTE_MS),
];

/// The most points of one parameter in one hour of real data.
const MAX_POINTS_PER_HOUR: usize = 4_932;

/// Average speed: 13 km/h, stops included.
const AVERAGE_MM_PER_S: i64 = 3_611;

/// Day on which every odometer starts (late 2013), so that readings are positive in all ranges in
/// use.
const ODO_ORIGIN_DAY: i64 = 16_000;

/// A value, as stored in the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Int32(i32),
    Int64(i64),
    Double(f64),
    /// A document instead of a number, which cannot be decoded.
    Nested,
}

/// A point at `offset_ms` from the start of its hour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) offset_ms: i64,
    pub(crate) value: Value,
}

/// One parameter's points of one hour, sorted by time.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) parameter: &'static str,
    pub(crate) points: Vec<Point>,
}

impl Column {
    pub(crate) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    fn push(&mut self, offset_ms: i64, value: Value) {
        if self.points.len() < MAX_POINTS_PER_HOUR {
            self.points.push(Point { offset_ms, value });
        }
    }
}

/// The columns of the hour that starts at `start_ms`, in the order of [`PARAMETERS`].
pub(crate) fn columns(vehicle_seed: u64, hour_seed: u64, start_ms: i64, rhythm: Rhythm) -> [Column; 5] {
    let mut columns = PARAMETERS.map(|parameter| Column { parameter, points: Vec::new() });
    let schedule = Schedule::of(vehicle_seed);
    let mut rng = fastrand::Rng::with_seed(hour_seed);
    let mean_gap_ms = match rhythm {
        Rhythm::Paired => rng.i64(272..=328),
        Rhythm::Single => rng.i64(175..=211),
    };
    let mut offset_ms = rng.i64(0..mean_gap_ms);
    let mut motion = Motion::begin(&mut rng);
    while offset_ms < HOUR_MS {
        if let Some(active_ms) = schedule.active_ms_until(start_ms + offset_ms) {
            motion.go_on(&mut rng);
            let [soc, speed, current, odo, voltage] = &mut columns;
            let message = rng.u32(0..1000);
            let has = |from: u32, to: u32| (from..to).contains(&message);
            // Paired: 0.3 % of the messages carry soc together with current and voltage. Single: a
            // tenth of all carry two values.
            let [with_current, with_voltage, with_speed, with_odo, with_soc] = match rhythm {
                Rhythm::Paired => [has(0, 365), has(0, 365), has(365, 730), has(365, 730), !has(3, 730)],
                Rhythm::Single => [has(0, 225), has(165, 390), has(390, 615), has(555, 780), !has(0, 780)],
            };
            if with_current {
                current.push(offset_ms, motion.current_value(&mut rng));
            }
            if with_voltage {
                voltage.push(offset_ms, motion.voltage_value(&mut rng));
            }
            if with_speed {
                speed.push(offset_ms, motion.speed_value(&mut rng));
            }
            if with_odo {
                odo.push(offset_ms, odo_value(active_ms));
            }
            if with_soc {
                soc.push(offset_ms, soc_value(&mut rng, schedule.share_of_day(active_ms)));
            }
        }
        offset_ms += gap_ms(&mut rng, mean_gap_ms);
    }
    columns
}

/// The time to the next message: steady with jitter, and once in 2,000 messages a pause of up to 40
/// s.
fn gap_ms(rng: &mut fastrand::Rng, mean_gap_ms: i64) -> i64 {
    if rng.u32(0..2000) == 0 {
        rng.i64(2_000..40_000)
    } else {
        rng.i64(mean_gap_ms * 2 / 5..=mean_gap_ms * 8 / 5)
    }
}

/// A vehicle's daily schedule: the rests, shifted by up to 50 minutes per vehicle.
struct Schedule {
    shift_ms: i64,
    active_ms_per_day: i64,
}

impl Schedule {
    fn of(vehicle_seed: u64) -> Self {
        let rest_ms: i64 = RESTS_MS.iter().map(|(from, to)| to - from).sum();
        Self {
            shift_ms: fastrand::Rng::with_seed(vehicle_seed).i64(0..50 * MINUTE_MS),
            active_ms_per_day: DAY_MS - rest_ms,
        }
    }

    /// Time that the vehicle was active between the odometers' origin and `time_ms`; `None` while
    /// it rests. It never decreases, so the odometer never does.
    fn active_ms_until(&self, time_ms: i64) -> Option<i64> {
        let day = (time_ms - self.shift_ms).div_euclid(DAY_MS) - ODO_ORIGIN_DAY;
        let of_day_ms = (time_ms - self.shift_ms).rem_euclid(DAY_MS);
        let mut rested_ms = 0;
        for (from_ms, to_ms) in RESTS_MS {
            if (from_ms..to_ms).contains(&of_day_ms) {
                return None;
            }
            if to_ms <= of_day_ms {
                rested_ms += to_ms - from_ms;
            }
        }
        Some(day * self.active_ms_per_day + of_day_ms - rested_ms)
    }

    /// The share of the vehicle's active day that has passed, in thousandths.
    fn share_of_day(&self, active_ms: i64) -> i32 {
        let per_mille = active_ms.rem_euclid(self.active_ms_per_day) * 1000 / self.active_ms_per_day;
        i32::try_from(per_mille).unwrap_or(1000)
    }
}

/// A number with `decimals` decimals. Whole numbers are stored as int32, int64 or double, as real
/// loggers do.
fn decimal(rng: &mut fastrand::Rng, units: i32, decimals: u32) -> Value {
    let scale = 10_i32.pow(decimals);
    if units % scale != 0 {
        return Value::Double(f64::from(units) / f64::from(scale));
    }
    let whole = units / scale;
    match rng.u32(0..4) {
        0 => Value::Int64(i64::from(whole)),
        1 => Value::Double(f64::from(whole)),
        _ => Value::Int32(whole),
    }
}

/// State of charge: falls from 100 % to 0 over the active day; one decimal, half of the readings
/// rounded to whole per cents.
fn soc_value(rng: &mut fastrand::Rng, share_of_day: i32) -> Value {
    let tenths = (1000 - share_of_day + rng.i32(-4..=0)).clamp(0, 1000);
    let tenths = if rng.bool() { tenths / 10 * 10 } else { tenths };
    decimal(rng, tenths, 1)
}

/// The movement of a vehicle from one message to the next, about 300 ms later, so values change
/// little.
struct Motion {
    is_standing: bool,
    speed_tenths: i32,
    /// Change of speed per message, in tenths of km/h: up to about 1 m/s².
    pull_tenths: i32,
}

impl Motion {
    fn begin(rng: &mut fastrand::Rng) -> Self {
        Self { is_standing: false, speed_tenths: rng.i32(0..900), pull_tenths: 0 }
    }

    fn go_on(&mut self, rng: &mut fastrand::Rng) {
        if rng.u32(0..200) == 0 {
            // The vehicle stands half of the time, which gives an average of 13 km/h.
            self.is_standing = !self.is_standing;
        }
        if rng.u32(0..25) == 0 {
            self.pull_tenths = rng.i32(-12..=10);
        }
        self.speed_tenths = if self.is_standing {
            0
        } else {
            (self.speed_tenths + self.pull_tenths + rng.i32(-1..=1)).clamp(0, 900)
        };
    }

    /// Speed in km/h with one decimal; exactly 0 while standing.
    fn speed_value(&self, rng: &mut fastrand::Rng) -> Value {
        decimal(rng, self.speed_tenths, 1)
    }

    /// Current in A with one decimal: grows with acceleration, negative while braking.
    fn current_value(&self, rng: &mut fastrand::Rng) -> Value {
        let noise_tenths = if self.is_standing { 0 } else { rng.i32(-5..=5) };
        decimal(rng, self.tenths_of_ampere() + noise_tenths, 1)
    }

    fn tenths_of_ampere(&self) -> i32 {
        if self.is_standing { 0 } else { self.pull_tenths * 340 + self.speed_tenths * 2 / 5 }
    }

    /// Voltage in V, mostly whole; falls as the current grows.
    fn voltage_value(&self, rng: &mut fastrand::Rng) -> Value {
        let tenths = 6_100 - self.tenths_of_ampere() / 10 + rng.i32(-6..=6);
        let tenths = if rng.u32(0..4) > 0 { tenths / 10 * 10 } else { tenths };
        decimal(rng, tenths, 1)
    }
}

/// Odometer in km with three decimals.
fn odo_value(active_ms: i64) -> Value {
    let metres = active_ms * AVERAGE_MM_PER_S / 1_000_000;
    match i32::try_from(metres) {
        Ok(metres) => Value::Double(f64::from(metres) / 1000.0),
        Err(_) => Value::Int64(metres / 1000),
    }
}
