//! Priority of the worker's threads: exports must not slow down a database on the same machine.

#[cfg(target_os = "linux")]
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id, thread_schedule_policy,
};
use tracing::debug;

/// Niceness of a thread as on Unix: from 0, normal priority, to 19, lowest priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Niceness(u8);

impl Niceness {
    /// Normal priority.
    pub const NONE: Self = Self(0);
    const MAX: u8 = 19;

    /// A niceness from 0 to 19; a larger value counts as 19.
    pub fn new(nice: u8) -> Self {
        Self(nice.min(Self::MAX))
    }

    /// Sets the niceness of the calling thread only. If the system refuses, the thread keeps its
    /// priority.
    pub fn apply_to_this_thread(self) {
        if self == Self::NONE {
            return;
        }
        // On Linux a priority belongs to a thread, and "this process" means the calling thread.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, self.0.into()) {
            debug!(%error, "cannot lower the priority of a thread");
        }
        #[cfg(not(target_os = "linux"))]
        debug!("thread priorities are not supported on this system");
    }

    /// Sets the niceness of the calling thread, and makes it run only while no normal thread wants
    /// the processor. For threads that only compute.
    ///
    /// With a niceness alone, the thread would finish its time slice first, which is longer than a
    /// database needs for an answer. Not for a thread that renews leases: on a machine that is busy
    /// for long, it would hardly run.
    pub fn keep_this_thread_in_background(self) {
        self.apply_to_this_thread();
        if self == Self::NONE {
            return;
        }
        #[cfg(target_os = "linux")]
        set_policy(NormalThreadSchedulePolicy::Idle, ThreadPriority::Min);
    }

    /// Takes the calling thread out of the background: it competes with normal threads again, by its
    /// niceness.
    pub fn bring_this_thread_back(self) {
        // With the least priority that belongs to this policy, the system would refuse to give the
        // thread a higher one afterwards. It refuses the highest as well, or the next line lowers it.
        #[cfg(target_os = "linux")]
        set_policy(NormalThreadSchedulePolicy::Other, ThreadPriority::Max);
        self.apply_to_this_thread();
    }
}

/// Sets the calling thread's policy, and its niceness if the system allows it.
#[cfg(target_os = "linux")]
fn set_policy(policy: NormalThreadSchedulePolicy, priority: ThreadPriority) {
    let policy = ThreadSchedulePolicy::Normal(policy);
    let outcome = set_thread_priority_and_policy(thread_native_id(), priority, policy);
    // The call also sets a niceness, which may be refused. So the policy is read back instead of
    // trusting the outcome.
    if thread_schedule_policy() != Ok(policy) {
        debug!(?outcome, ?policy, "cannot change the policy of a thread");
    }
}

impl Default for Niceness {
    /// A thread with this niceness gets about a tenth of the processor time of a normal thread
    /// beside it, and all of it when there is none.
    fn default() -> Self {
        Self(10)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn niceness_of_this_thread() -> i32 {
        rustix::process::getpriority_process(None).expect("a priority")
    }

    #[test]
    fn niceness_is_set_for_one_thread_only() {
        let normal = niceness_of_this_thread();
        std::thread::spawn(move || {
            Niceness::NONE.apply_to_this_thread();
            assert_eq!(niceness_of_this_thread(), normal);
            Niceness::default().apply_to_this_thread();
            assert_eq!(niceness_of_this_thread(), normal.max(10));
        })
        .join()
        .expect("no panic");
        assert_eq!(niceness_of_this_thread(), normal);
    }

    #[test]
    fn only_the_thread_and_its_children_are_in_the_background() {
        let idle = Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle));
        let policies = |niceness: Niceness| {
            let parent = std::thread::spawn(move || {
                niceness.keep_this_thread_in_background();
                let child = std::thread::spawn(thread_schedule_policy).join().expect("no panic");
                (thread_schedule_policy(), child)
            });
            parent.join().expect("no panic")
        };
        assert_eq!(policies(Niceness::default()), (idle.clone(), idle.clone()));
        assert_ne!(policies(Niceness::NONE).0, idle);
        assert_ne!(thread_schedule_policy(), idle);
    }
}
