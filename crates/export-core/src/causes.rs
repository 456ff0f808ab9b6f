//! Errors for the log, with their causes.

/// An error with all its causes on one line, outermost first: `outer: inner`.
///
/// Each layer's `Display` describes that layer only, so a log line needs the whole chain.
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the roof is gone")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn outermost_first() {
        let error = Outer(std::io::Error::other("a storm"));
        assert_eq!(causes(&error), "the roof is gone: a storm");
    }
}
