//! Paths of files and directories, and addresses of object stores, which take the place of a path.

use super::{DisplayValue, OptionalSetting};
use crate::config::home::expand_home;
use std::path::{Path, PathBuf};

impl OptionalSetting for PathBuf {
    fn parse(text: &str) -> Option<Self> {
        if is_object_store(Path::new(text)) {
            return Some(text.into());
        }
        (!text.contains('\0')).then(|| expand_home(text.into()))
    }

    /// Reachable only from code: in text, an empty path means unset and a NUL byte is rejected.
    fn reason(&self) -> Option<&'static str> {
        if self.as_os_str().is_empty() {
            Some("the path is empty; leave the key unset")
        } else if self.as_os_str().as_encoded_bytes().contains(&0) {
            Some("the path contains a NUL byte")
        } else {
            None
        }
    }

    fn shown(&self) -> DisplayValue {
        DisplayValue::Text(self.to_string_lossy().into_owned())
    }

    fn rebased(&mut self, base: &Path) {
        if !is_object_store(self) {
            *self = base.join(&self);
        }
    }
}

/// Start of the address of an object store.
const OBJECT_STORE: &str = "s3://";

/// Returns whether a path is the address of an object store.
pub(in crate::config) fn is_object_store(path: &Path) -> bool {
    object_store_parts(path).is_some()
}

/// Returns bucket and prefix of the address of an object store.
pub(in crate::config) fn object_store_parts(path: &Path) -> Option<(&str, &str)> {
    let address = path.to_str()?.strip_prefix(OBJECT_STORE)?;
    let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
    Some((bucket, prefix.trim_matches('/')))
}
