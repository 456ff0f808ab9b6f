//! The permissions of the services' users, action by action, after the real `exports provision`:
//! everything not listed is refused.

pub(crate) mod deployment;
mod mongodb;
mod provisioning;
mod rabbitmq;
mod s3;

/// Compares the actual permissions of each identity with the expected ones, and reports all
/// differences at once.
#[derive(Debug, Default)]
struct Matrix {
    wrong: Vec<String>,
    actions: usize,
}

impl Matrix {
    /// Records one outcome; `refused` is the reason of a refusal.
    fn note(&mut self, action: &str, identity: &str, is_allowed: bool, refused: Option<String>) {
        self.actions += 1;
        match (is_allowed, refused) {
            (true, Some(reason)) => self.wrong.push(format!("{identity} must be able to {action}: {reason}")),
            (false, None) => self.wrong.push(format!("{identity} must not be able to {action}")),
            (true, None) | (false, Some(_)) => {}
        }
    }

    /// Panics if any outcome differs from the expected one.
    fn check(self, least_actions: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.actions >= least_actions, "only {} actions were tried", self.actions);
    }
}
