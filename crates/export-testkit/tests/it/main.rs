//! The test kit tested: the oracle against texts written by hand, the archive check, and the real services.

mod archive;
mod fleet;
mod oracle;
mod services;
