//! How many hours have data: the line about it, and `--require-coverage`.

use std::fmt::Write as _;

use export_core::coverage::{CoverageSummary, Percent};
use export_core::range::to_rfc3339;

use crate::print::sanitized;

/// The flag with which a command fails if hours are missing.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct CoverageArgs {
    /// Exit with 8 if a vehicle has data in fewer of its hours than this, in percent; the files are
    /// written all the same
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = "Result")]
    require_coverage: Option<f64>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').trim().parse().ok();
    let number = number.filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 100, such as 95".to_owned())
}

/// Fewer hours have data than `--require-coverage` asks for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CoverageTooLow(String);

impl CoverageArgs {
    /// Whether the command fails if hours are missing.
    pub(crate) fn is_required(self) -> bool {
        self.require_coverage.is_some()
    }

    /// Fails if the vehicle with the fewest hours has fewer than required. `None`: it is not known
    /// which hours have data.
    pub(crate) fn check(self, summary: Option<&CoverageSummary>) -> Result<(), CoverageTooLow> {
        let Some(required) = self.require_coverage else { return Ok(()) };
        let Some(summary) = summary else {
            let text = "it is not known which hours have data: the export has not FINISHED, or an earlier version has written it";
            return Err(CoverageTooLow(format!("{text} (--require-coverage {required})")));
        };
        let Some(worst) = &summary.worst_vehicle else {
            return Err(CoverageTooLow(format!("the export has no vehicle (--require-coverage {required})")));
        };
        // In whole numbers: as a product of floating point numbers, 64.4 % of 250 hours are more than
        // the 161 hours that they are.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
        let millionths = (required * 10_000.0).round() as u128;
        if u128::from(worst.hours_with_data) * 1_000_000 >= millionths * u128::from(worst.hours_asked) {
            return Ok(());
        }
        Err(CoverageTooLow(format!(
            "{} has data in {} of {} hours, {} %, and --require-coverage asks for {required} %",
            sanitized(&worst.vehicle),
            worst.hours_with_data,
            worst.hours_asked,
            short(worst.percent),
        )))
    }
}

/// One line about the hours with data.
pub(crate) fn line(summary: &CoverageSummary) -> String {
    let mut line = format!("coverage: {} % of hours have data", short(summary.totals.percent));
    let mut details = Vec::new();
    if let Some(worst) = &summary.worst_vehicle
        && worst.hours_with_data < worst.hours_asked
    {
        let mut text = format!("worst: {} {} %", sanitized(&worst.vehicle), short(worst.percent));
        if let Some(gap) = worst.longest_gap {
            // Writing to a String cannot fail.
            let _ = write!(text, ", longest gap {} h from {}", gap.hours, to_rfc3339(gap.from_ms));
        }
        details.push(text);
    }
    let worst_percent = summary.worst_vehicle.as_ref().map(|worst| worst.percent);
    if let Some(worst) = summary.worst_parameter.as_ref().filter(|worst| Some(worst.percent) < worst_percent)
    {
        let (parameter, vehicle) = (sanitized(&worst.parameter), sanitized(&worst.vehicle));
        details.push(format!("worst parameter: {parameter} of {vehicle} {} %", short(worst.percent)));
    }
    if !details.is_empty() {
        let _ = write!(line, " ({})", details.join("; "));
    }
    line
}

/// `93.7`, and `100` for all.
fn short(percent: Percent) -> String {
    if percent == Percent::ALL { "100".to_owned() } else { percent.to_string() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        coverage: CoverageArgs,
    }

    fn required(text: &str) -> Result<CoverageArgs, clap::Error> {
        CommandLine::try_parse_from(["exports", "--require-coverage", text]).map(|line| line.coverage)
    }

    fn summary(with_data: u64, parameter_hours: u64) -> CoverageSummary {
        let percent = |part| Percent::of(part, 24).value();
        let gap = json!({ "from": "2018-11-30T08:00:00Z", "to": "2018-11-30T18:00:00Z", "hours": 10 });
        serde_json::from_value(json!({
            "hoursAsked": 24, "hoursWithData": with_data, "percent": percent(with_data),
            "worstVehicle": {
                "vehicle": "vehicle_003", "hoursAsked": 24, "hoursWithData": with_data,
                "percent": percent(with_data), "longestGap": if with_data < 24 { gap } else { json!(null) },
            },
            "worstParameter": {
                "vehicle": "vehicle_003", "parameter": "odo", "hoursAsked": 24,
                "hoursWithData": parameter_hours, "percent": percent(parameter_hours),
            },
        }))
        .expect("a summary")
    }

    #[test]
    fn the_line_names_the_worst() {
        assert_eq!(line(&summary(24, 24)), "coverage: 100 % of hours have data");
        let gap = "longest gap 10 h from 2018-11-30T08:00:00Z";
        assert_eq!(
            line(&summary(14, 14)),
            format!("coverage: 58.3 % of hours have data (worst: vehicle_003 58.3 %, {gap})")
        );
        assert_eq!(
            line(&summary(24, 2)),
            "coverage: 100 % of hours have data (worst parameter: odo of vehicle_003 8.3 %)"
        );
        let empty = CoverageSummary { worst_vehicle: None, worst_parameter: None, ..summary(0, 0) };
        assert_eq!(line(&empty), "coverage: 0.0 % of hours have data");
    }

    #[test]
    fn the_worst_vehicle_must_have_enough_hours() {
        let (some, all) = (summary(23, 2), summary(24, 2));
        for (required, is_enough) in
            [("95", true), ("95.83%", true), ("95.84", false), ("100", false), ("0", true)]
        {
            let checked = self::required(required).expect("a percentage").check(Some(&some));
            assert_eq!(checked.is_ok(), is_enough, "{required}: {checked:?}");
        }
        assert!(required("100").expect("a percentage").check(Some(&all)).is_ok());
        let text = required("96").expect("a percentage").check(Some(&some)).expect_err("too few").to_string();
        assert_eq!(
            text,
            "vehicle_003 has data in 23 of 24 hours, 95.8 %, and --require-coverage asks for 96 %"
        );
        let mut exact = summary(23, 23);
        let worst = exact.worst_vehicle.as_mut().expect("a vehicle");
        (worst.hours_with_data, worst.hours_asked) = (161, 250);
        for (required, is_enough) in [("64.4", true), ("64.4001", false)] {
            let checked = self::required(required).expect("a percentage").check(Some(&exact));
            assert_eq!(checked.is_ok(), is_enough, "{required}");
        }
        assert!(required("0").expect("a percentage").check(None).is_err(), "not known");
        assert!(CoverageArgs::default().check(None).is_ok(), "not required");
        for wrong in ["", "-1", "101", "most", "NaN"] {
            assert!(required(wrong).is_err(), "{wrong}");
        }
    }
}
