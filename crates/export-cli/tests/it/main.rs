//! The program from outside: its settings, its start and its end, what `exports run` writes, how it
//! calls the API and what becomes of downloads, and what `exports provision` allows.

mod client;
mod completions;
mod downloading;
mod endings;
mod identities;
mod keys;
mod run;
mod settings;
mod space;
mod stub;
mod webhooks;
