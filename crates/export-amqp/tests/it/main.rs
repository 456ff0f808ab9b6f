//! Publishing and consuming on a real RabbitMQ.

mod broker;
mod consuming;
mod events;
mod publishing;
