//! The program from outside: its settings, its start and its end, and what `exports run` writes.

mod endings;
mod run;
mod settings;
mod space;
