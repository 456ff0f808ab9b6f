//! Everything that is wrong with a program's settings, so that one start reports all of it.

use std::fmt::Display;

use crate::print::note;
use crate::value::SettingError;

/// Exit code for wrong flags and settings, as clap has it.
pub(crate) const USAGE: i32 = 2;

/// The faults that were found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a fault, unless it is known. Returns whether it is new.
    pub fn add(&mut self, text: impl Into<String>) -> bool {
        let text = text.into();
        let is_new = !self.0.contains(&text);
        if is_new {
            self.0.push(text);
        }
        is_new
    }

    /// The outcome of a check; its error becomes a fault.
    pub fn take<T>(&mut self, checked: Result<T, impl Display>) -> Option<T> {
        checked.map_err(|error| self.add(error.to_string())).ok()
    }

    /// The outcome of a check that compares settings with each other. If one of them is wrong by
    /// itself there is nothing to compare, and the check is left out.
    pub fn compare<T>(
        &mut self,
        names: &[&str],
        check: impl FnOnce() -> Result<T, SettingError>,
    ) -> Option<T> {
        let is_wrong =
            |name: &&str| self.0.iter().any(|text| text.starts_with(&format!("setting {name} is ")));
        if names.iter().any(is_wrong) { None } else { self.take(check()) }
    }

    /// Prints every fault on a line of its own and ends the process, if there is any.
    pub fn end_if_any(&self, program: &str) {
        if !self.is_empty() {
            self.0.iter().for_each(|text| note(&format!("{program}: {text}")));
            std::process::exit(USAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_reported_once_and_settings_that_are_wrong_are_not_compared() {
        let wrong = |name| SettingError::Wrong { name, expected: "a number" };
        let mut faults = Faults::default();
        assert_eq!(faults.take(Ok::<_, SettingError>(7)), Some(7));
        assert!(faults.is_empty());
        assert_eq!(faults.take(Err::<u8, _>(wrong("MAX_QUEUED"))), None);
        assert!(!faults.add(wrong("MAX_QUEUED").to_string()));
        let compared = faults.compare(&["MAX_QUEUED", "PORT"], || Err::<(), _>(wrong("PORT")));
        assert_eq!((compared, faults.0.len()), (None, 1));
        // Another setting whose name only begins in the same way.
        assert_eq!(faults.compare(&["MAX_QUEUED_PER_TENANT"], || Err::<(), _>(wrong("HOST"))), None);
        assert_eq!(faults.0.len(), 2);
    }
}
