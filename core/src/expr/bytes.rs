//! Byte strings with inline storage for short values.

use crate::arc::Arc;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

/// Maximum size of a value that is stored inline, in bytes.
const INLINE_BYTES: usize = 22;

/// Byte string: stored inline up to 22 bytes, shared between clones above that.
///
/// ```
/// use astreum_core::expr::Bytes;
///
/// let bytes = Bytes::new(b"abc");
/// assert_eq!((&bytes[1..], bytes.len()), (b"bc".as_slice(), 3));
/// assert_eq!(format!("{bytes:?}"), "0x616263");
/// ```
#[derive(Clone)]
pub struct Bytes(Repr);

/// Representation of [`Bytes`].
///
/// The array is copied whole, which is faster than copying only the used part.
#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Shared(Arc<[u8]>),
}

impl Repr {
    /// Stores `value` inline if it is short enough.
    fn inline(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE_BYTES];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        let len = u8::try_from(value.len()).ok()?;
        Some(Self::Inline { len, bytes })
    }
}

impl Bytes {
    /// Creates a copy of `value`.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        Self(Repr::inline(value).unwrap_or_else(|| Repr::Shared(value.into())))
    }

    /// Returns the bytes as shared data; copies them only if they are stored inline.
    ///
    /// ```
    /// use astreum_core::expr::Bytes;
    /// use std::sync::Arc;
    ///
    /// // Long data is shared, not copied.
    /// let data: Arc<[u8]> = Arc::from([7; 100]);
    /// assert!(Arc::ptr_eq(&Bytes::from(data.clone()).to_shared(), &data));
    /// ```
    #[must_use]
    pub fn to_shared(&self) -> Arc<[u8]> {
        match &self.0 {
            Repr::Inline { .. } => (**self).into(),
            Repr::Shared(shared) => Arc::clone(shared),
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl From<&[u8]> for Bytes {
    fn from(value: &[u8]) -> Self {
        Self::new(value)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(value: Arc<[u8]>) -> Self {
        Self(Repr::inline(&value).unwrap_or(Repr::Shared(value)))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(shared) => shared,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        crate::hex::write(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn inline_and_shared_bytes_are_equal() {
        for len in [0, 1, 22, 23, 1000] {
            let value = vec![7; len];
            let bytes = Bytes::new(&value);
            assert_eq!(*bytes, *value);
            assert_eq!(Bytes::from(bytes.to_shared()), bytes);
        }
    }
}
