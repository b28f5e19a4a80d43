//! Buffers: bytes of which the caller cannot know the number in advance.

use crate::error::{AstreumStatus, Result, guard};
use crate::handle::{self, Kind, SharedKind};
use crate::memory::{AstreumSlice, Out};
use alloc::vec::Vec;

/// Bytes that the library allocated. They never change, and any thread may read them.
pub struct AstreumBuffer {
    _private: [u8; 0],
}

impl Kind for AstreumBuffer {
    /// The bytes, and a zero byte after them.
    type State = Vec<u8>;
    const TAG: u32 = 0x4173_0001;
}

impl SharedKind for AstreumBuffer {}

/// Creates a buffer with these bytes.
pub(crate) fn buffer(mut bytes: Vec<u8>) -> *mut AstreumBuffer {
    bytes.push(0);
    handle::create(bytes)
}

/// Returns the bytes of a buffer, which are valid until it is freed. A zero byte follows them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_buffer_bytes(
    buffer: *const AstreumBuffer,
    bytes: *mut AstreumSlice,
) -> AstreumStatus {
    guard(|| {
        // SAFETY: the contract of the crate.
        let (buffer, out) = unsafe { (handle::shared(buffer)?, Out::new(bytes)?) };
        let (_, bytes) = buffer.split_last().unwrap_or((&0, &[]));
        out.set(AstreumSlice::new(bytes));
        Ok(())
    })
}

/// Frees a buffer. Null is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn astreum_buffer_free(buffer: *mut AstreumBuffer) -> AstreumStatus {
    guard(|| -> Result {
        // SAFETY: the contract of the crate.
        unsafe { handle::free(buffer) }
    })
}
