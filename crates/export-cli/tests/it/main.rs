//! The program from outside: its settings, its start and its end, what `exports run` writes, and what `exports provision` allows.

mod endings;
mod identities;
mod keys;
mod run;
mod settings;
mod space;
mod webhooks;
