//! Core dump protection: memory of a running node holds secret keys, which a dump would expose.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Disables core dumps of this process, and reading of its memory by other processes of the same
/// user: on Linux it is marked as not dumpable, elsewhere the size limit of core files is 0.
///
/// # Errors
/// Fails if the system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    // A core that is piped to a program ignores the limit, but not the mark.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbid_core_dumps_disables_core_dumps() {
        forbid_core_dumps().unwrap();
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert!(matches!(
            rustix::process::dumpable_behavior(),
            Ok(rustix::process::DumpableBehavior::NotDumpable)
        ));
    }
}
