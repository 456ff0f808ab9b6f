//! Tests of the program as a process: settings, start and end.

mod figures;
mod printing;
mod settings;
mod start_up;
