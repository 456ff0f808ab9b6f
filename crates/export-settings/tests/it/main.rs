//! Tests of all settings together.

mod containers;
mod reference;
mod values;
