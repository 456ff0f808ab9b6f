//! The program from outside: its settings, its start and its end.

mod figures;
mod settings;
