//! Hexadecimal text.

use core::fmt;

/// Number of bytes that are encoded at a time.
const CHUNK_BYTES: usize = 32;

/// Writes bytes as lower-case hex, without a prefix.
pub(crate) fn write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut buffer = [0; 2 * CHUNK_BYTES];
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let digits = buffer.get_mut(..2 * chunk.len()).ok_or(fmt::Error)?;
        ::hex::encode_to_slice(chunk, digits).map_err(|_| fmt::Error)?;
        f.write_str(core::str::from_utf8(digits).map_err(|_| fmt::Error)?)?;
    }
    Ok(())
}
