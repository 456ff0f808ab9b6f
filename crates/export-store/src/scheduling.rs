//! Which job runs when: the dispatcher's queries, the slots of running exports, and the recovery of
//! lost jobs.

pub(crate) mod dispatching;
pub(crate) mod queue;
pub(crate) mod slots;
pub(crate) mod sweep;
pub(crate) mod turns;
