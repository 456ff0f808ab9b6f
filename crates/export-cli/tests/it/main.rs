//! The program from outside: its settings, its start and exit, the output of `exports run`, its
//! calls of the API, its downloads, and the permissions after `exports provision`.

mod client;
mod completions;
mod downloading;
mod endings;
mod identities;
mod ids;
mod keys;
mod outages;
mod printing;
mod requests;
mod retrying;
mod run;
mod settings;
mod space;
mod stub;
mod to_stdout;
mod webhooks;
