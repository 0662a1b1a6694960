//! What the benches with real sockets share: servers as child processes, the load that is put on
//! them, and contests in which they take turns.
//!
//! A bench starts itself again for each part: one child process is the bare loop that elbow is
//! measured by ([`floor`]), others are the readers and publishers ([`load`]). So that each part has
//! 20,000 descriptors of its own, and so that the time of a server is its own process's and nobody
//! else's.

pub(crate) mod chart;
pub(crate) mod clock;
pub(crate) mod contest;
pub(crate) mod crossing;
pub(crate) mod floor;
pub(crate) mod histogram;
pub(crate) mod load;
pub(crate) mod pinged;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod roles;
pub(crate) mod say;
