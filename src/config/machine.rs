//! What the machine offers, as far as it decides which values can hold.
//!
//! Plain numbers: the shell reads them (`shell/system.rs`), tests make them up.
//!
//! The surprise: a control group's limit counts as the machine's own memory.

/// What the machine offers, read by the shell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The hard limit on descriptors; `u64::MAX` if there is none.
    pub descriptors_hard: u64,
    /// The control group's memory or the machine's, whichever is less; `None` if unknown.
    pub memory_bytes: Option<u64>,
    /// Listening sockets were handed over by systemd (`LISTEN_FDS`).
    pub activated_sockets: bool,
    /// The folder of systemd's credentials has an `admin-token`.
    pub admin_credential: bool,
}
