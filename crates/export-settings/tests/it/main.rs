//! Tests of all settings together.

mod reference;
mod values;
