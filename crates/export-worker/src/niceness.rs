//! Threads that give way: what encodes and compresses has time, and who asks a database on the same machine for a point does not.

use tracing::debug;

/// By how much a thread gives way, as Unix counts it: from 0, not at all, to 19.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Niceness(u8);

impl Niceness {
    /// As most services run.
    pub const NONE: Self = Self(0);
    const MOST: u8 = 19;

    /// A nice value from 0 to 19; a larger one counts as 19.
    pub fn new(nice: u8) -> Self {
        Self(nice.min(Self::MOST))
    }

    /// Makes the calling thread, and it alone, give way from now on. Where the system does not let it, it goes on as it is.
    pub fn apply_to_this_thread(self) {
        if self == Self::NONE {
            return;
        }
        // Of Linux: a priority belongs to a thread there, and "this process" is the calling thread.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, self.0.into()) {
            debug!(%error, "a thread cannot give way to other programs, and goes on as it is");
        }
        #[cfg(not(target_os = "linux"))]
        debug!("threads do not give way to other programs on this system");
    }

    /// The same for a thread that only computes: it works where no usual thread wants the processor, and stops at once when one does.
    ///
    /// A niceness alone lets it finish its slice of time first, which is longer than a database takes for an answer. It is no way for a
    /// thread that keeps leases: where the machine is busy for long, hardly anything is left for it.
    pub fn keep_this_thread_in_background(self) {
        self.apply_to_this_thread();
        if self == Self::NONE {
            return;
        }
        #[cfg(target_os = "linux")]
        {
            use thread_priority::{
                NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
                set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
            };
            let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            let outcome = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
            // It also takes the niceness back, which means nothing now and may not be allowed: so what came of it is asked.
            if thread_schedule_policy() != Ok(idle) {
                debug!(?outcome, "a thread cannot be kept in the background, and goes on as it is");
            }
        }
    }
}

impl Default for Niceness {
    /// About a tenth of the processor time that a usual thread gets beside it; all of it when there is none.
    fn default() -> Self {
        Self(10)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn of_this_thread() -> i32 {
        rustix::process::getpriority_process(None).expect("a priority")
    }

    #[test]
    fn one_thread_gives_way_and_the_others_do_not() {
        let usual = of_this_thread();
        std::thread::spawn(move || {
            Niceness::NONE.apply_to_this_thread();
            assert_eq!(of_this_thread(), usual);
            Niceness::default().apply_to_this_thread();
            assert_eq!(of_this_thread(), usual.max(10));
        })
        .join()
        .expect("no panic");
        assert_eq!(of_this_thread(), usual);
    }

    #[test]
    fn a_thread_in_the_background_is_alone_there_with_those_it_starts() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
        let idle = Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle));
        let of_those = |niceness: Niceness| {
            let begun = std::thread::spawn(move || {
                niceness.keep_this_thread_in_background();
                let of_child = std::thread::spawn(thread_schedule_policy).join().expect("no panic");
                (thread_schedule_policy(), of_child)
            });
            begun.join().expect("no panic")
        };
        assert_eq!(of_those(Niceness::default()), (idle.clone(), idle.clone()));
        assert_ne!(of_those(Niceness::NONE).0, idle);
        assert_ne!(thread_schedule_policy(), idle);
    }
}
