//! Sync.
#![allow(dead_code)]
mod header_path;
