//! Replies of the control socket about the configuration.

use super::schema::record;

record! {
    /// Result of a reload of the configuration.
    #[derive(Default)]
    pub struct ReloadReply {
        /// Changes that are in force now.
        pub applied: Vec<ChangeReply>,
        /// Differences from the configuration at the start, which need a restart.
        pub not_applied: Vec<ChangeReply>,
    }
}

record! {
    /// Change of one key of the configuration.
    pub struct ChangeReply {
        /// Name of the key.
        pub key: String,
        /// Value before, as in a file; secrets are redacted.
        pub from: String,
        /// New value.
        pub to: String,
    }
}
