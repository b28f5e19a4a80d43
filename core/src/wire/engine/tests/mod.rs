//! The engine against itself, in virtual time.
