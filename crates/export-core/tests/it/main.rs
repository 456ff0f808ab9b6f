//! The domain compared with the system that it runs on.

mod zone_data;
