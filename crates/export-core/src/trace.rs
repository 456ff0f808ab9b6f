//! W3C Trace Context, which connects a request, its job, its message and its export in logs and
//! traces.

use crate::digest::is_hex;
use crate::id::text_name;

/// The text is not a `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of version 00")]
pub struct NotATraceParent;

text_name!(
    /// The value of a `traceparent` header, version 00: `00-<trace id>-<span id>-<flags>`, all in
    /// lowercase hexadecimal digits.
    TraceParent,
    NotATraceParent,
    NotATraceParent,
    is_trace_parent
);

impl TraceParent {
    /// Creates a new trace from random numbers. Zero is replaced by one, because it is not a valid
    /// id.
    pub fn new(trace: u128, span: u64) -> Self {
        Self(format!("00-{:032x}-{:016x}-01", trace.max(1), span.max(1)))
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }
}

fn is_trace_parent(text: &str) -> bool {
    let is_id = |part: &str, bytes: usize| is_hex(part, bytes) && part.bytes().any(|byte| byte != b'0');
    match text.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, span, flags] => is_id(trace, 16) && is_id(span, 8) && is_hex(flags, 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_standard_allows() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent: TraceParent = text.parse().expect("the standard's example");
        assert_eq!((parent.as_str(), parent.trace_id()), (text, "0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(TraceParent::new(0, 0).as_str().parse(), Ok(TraceParent::new(1, 1)));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(NotATraceParent), "{wrong}");
        }
    }
}
