//! Shares of the processor's cores: the node under attack has some, and the senders have the others,
//! as machines of their own would.
//!
//! Without this a sender that runs on the core of the node's network thread sends while that thread
//! does not receive, and a full buffer drops all that it sends.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores of this process when a case began, which have been divided. Dropping it restores them.
pub(crate) struct DividedCores {
    all: CpuSet,
    senders: CpuSet,
}

impl DividedCores {
    /// Restricts this thread, and what it starts, to the half of the cores that is the node's.
    /// Does nothing on a single core, or where the system does not allow it.
    pub(crate) fn for_node() -> Self {
        let all = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| all.is_set(*core))
            .collect();
        let (node, senders) = cores.split_at(cores.len() / 2);
        let node = set_of(node);
        let divided = Self {
            all,
            senders: set_of(senders),
        };
        if node.count() > 0 {
            let _ = sched_setaffinity(None, &node);
        }
        divided
    }

    /// Moves this thread, and what it starts from now on, to the senders' cores.
    pub(crate) fn leave_to_node(&self) {
        let _ = sched_setaffinity(None, &self.senders);
    }
}

impl Drop for DividedCores {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    set
}
