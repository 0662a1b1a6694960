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
    /// Other programs need some of that memory: no control group has set it aside for this one.
    pub memory_is_shared: bool,
    /// Which listening sockets systemd has handed over.
    pub activated: Activated,
    /// The folder of systemd's credentials has an `admin-token`.
    pub admin_credential: bool,
}

/// Which listeners were handed over by systemd (`LISTEN_FDS`). The flags of these are not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Activated {
    /// At least one public socket.
    pub public: bool,
    /// At least one for health probes.
    pub health: bool,
    /// At least one for backends and operators.
    pub admin: bool,
}

impl Activated {
    /// None at all.
    pub const NONE: Activated = Activated { public: false, health: false, admin: false };

    /// Whether any socket was handed over.
    pub fn any(self) -> bool {
        self.public || self.health || self.admin
    }
}
