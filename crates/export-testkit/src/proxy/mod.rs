//! A TCP proxy in front of any service, for faults that real services do not produce on demand.
//!
//! [`Rule`]s define the faults: the bytes that trigger a rule, their direction, and the effect from
//! there on. Rules can be added and removed while connections are open. Adding one returns a
//! [`Watch`], which reports when the bytes passed, so that a test knows the state of the other side
//! without guessing times.
//!
//! ```no_run
//! # use std::time::Duration;
//! use export_testkit::proxy::{Fault, Pattern, Proxy, Rule};
//!
//! # async fn example() {
//! let s3 = Proxy::start("127.0.0.1:9000".to_owned()).await;
//! // The next two uploads of parts are answered with 503; the completion happens, but its reply is lost.
//! s3.add(Rule::request(Pattern::starting("PUT /").containing("partNumber="), Fault::slow_down()).times(2));
//! let complete = s3.add(Rule::request(Pattern::starting("POST /").containing("uploadId="), Fault::LoseReply));
//! complete.until_answered(1).await;
//! # }
//! ```
//!
//! A client sends the head of a request separately or first, so a request begins where a read
//! begins. The bytes of a pattern must arrive in one read, as those of small messages do.

mod connection;
mod rule;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use rule::{Direction, Fault, HttpAnswer, Pattern, Rule};
use table::Table;
pub use table::Watch;

/// Forwards connections to a service, as far as its rules allow.
///
/// Runs on the runtime that starts it and ends with it.
pub struct Proxy {
    address: SocketAddr,
    table: Arc<Table>,
}

impl Proxy {
    /// Listens on a free port of this machine for connections to `target` (`host:port`). Panics
    /// when no port is free.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port for a proxy: {error}"));
        let address =
            listener.local_addr().unwrap_or_else(|error| panic!("a proxy without address: {error}"));
        let table = Arc::new(Table::default());
        tokio::spawn(accept(listener, target, Arc::clone(&table)));
        Self { address, table }
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds this rule, for open and for new connections.
    pub fn add(&self, rule: Rule) -> Watch {
        Table::add(&self.table, rule)
    }

    /// Ends all connections; new ones end as soon as they are made.
    pub fn cut(&self) {
        self.table.set_open(false);
    }

    /// Ends all connections; new ones are forwarded.
    pub fn drop_connections(&self) {
        self.table.set_open(false);
        self.table.set_open(true);
    }

    /// Forwards this many more requests that begin with `start`, for instance `PUT /`. After them,
    /// every such request ends its connection. All other requests are forwarded.
    pub fn refuse_after(&self, let_through: usize, start: &'static str) {
        self.add(Rule::request(Pattern::starting(start), Fault::Close).let_through(let_through));
    }

    /// Removes all rules and forwards everything again, held bytes included.
    pub fn restore(&self) {
        self.table.lift_all();
        self.table.set_open(true);
    }

    /// Accepts connections again after [`Self::cut`]; rules stay.
    pub fn restore_connections(&self) {
        self.table.set_open(true);
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.table.connections()
    }
}

async fn accept(listener: TcpListener, target: String, table: Arc<Table>) {
    while let Ok((inbound, _)) = listener.accept().await {
        tokio::spawn(connection::serve(inbound, target.clone(), Arc::clone(&table)));
    }
}
