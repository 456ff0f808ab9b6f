//! RabbitMQ: the wake-up messages of jobs.
//!
//! A message only says which job to look at; the job document is the truth. [`Publisher`] sends one and believes it sent
//! only when the broker has confirmed that a queue has it. [`consume`] hands deliveries to a worker and rebuilds everything
//! when the connection breaks. Neither declares anything: [`Topology::provision`] does, with an administrator's rights, and
//! [`Management`] makes the users of both with no more rights than they need.

mod connection;
mod consumer;
mod error;
mod identities;
mod publisher;
mod topology;

pub use consumer::{ConsumerSettings, Verdict, consume};
pub use error::AmqpError;
pub use identities::{BrokerUser, Identity, Management};
pub use publisher::Publisher;
pub use topology::Topology;
