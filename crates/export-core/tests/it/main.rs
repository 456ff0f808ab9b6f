//! The domain compared with the system that it runs on.

mod density;
mod zone_data;
