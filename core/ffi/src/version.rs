//! Version of the library and of its ABI.

use crate::error::{AstreumStatus, Result, guard};
use core::ffi::c_char;

/// Version of the ABI that this header describes: the major version in the upper 16 bits, the minor
/// version in the lower 16.
///
/// A change that breaks programs increases the major version. Additions increase the minor version:
/// functions, numbers of an enumeration, and fields at the end of structs that start with `size`.
pub const ASTREUM_ABI_VERSION: u32 = 0x0001_0000;

/// Returns the version of the ABI that the library implements.
#[unsafe(no_mangle)]
pub const extern "C" fn astreum_abi_version() -> u32 {
    ASTREUM_ABI_VERSION
}

/// Returns whether the library supports programs that were compiled with the header of this version
/// (`ASTREUM_ABI_VERSION`): `ASTREUM_STATUS_OK` or `ASTREUM_STATUS_INCOMPATIBLE_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn astreum_abi_check(version: u32) -> AstreumStatus {
    guard(|| check(version))
}

/// Returns the version of the library as text, such as `0.1.0`. It is never freed.
#[unsafe(no_mangle)]
pub const extern "C" fn astreum_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

pub(crate) const fn check(version: u32) -> Result {
    let same_major = version >> 16 == ASTREUM_ABI_VERSION >> 16;
    if same_major && version <= ASTREUM_ABI_VERSION {
        Ok(())
    } else {
        Err(AstreumStatus::IncompatibleVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_minor_and_other_major_versions_are_incompatible() {
        assert_eq!(check(ASTREUM_ABI_VERSION), Ok(()));
        for version in [
            0,
            ASTREUM_ABI_VERSION + 1,
            ASTREUM_ABI_VERSION + 0x1_0000,
            ASTREUM_ABI_VERSION - 0x1_0000,
        ] {
            assert_eq!(check(version), Err(AstreumStatus::IncompatibleVersion));
        }
    }
}
