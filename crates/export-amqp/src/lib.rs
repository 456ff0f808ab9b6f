//! RabbitMQ: the wake-up messages of jobs.
//!
//! A message only names a job; the job document decides what happens. [`Publisher`] sends messages
//! and reports success only after the broker has confirmed that a queue stores them. [`consume`]
//! passes deliveries to a worker and reconnects when the connection breaks. Neither declares
//! queues: [`Topology::provision`] does, with an administrator's rights, and [`Management`] creates
//! the users of both with the rights that they need.

mod alarm;
mod connection;
mod consumer;
mod error;
mod identities;
mod publisher;
mod topology;

pub use consumer::{ConsumerSettings, Verdict, consume};
pub use error::AmqpError;
pub use identities::{BrokerUser, Management};
pub use publisher::Publisher;
pub use topology::{Identity, Topology};
