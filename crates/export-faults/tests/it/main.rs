//! What becomes of exports while something breaks. Each test breaks one thing.

mod harness;
