//! Who is at the other end of a connection, and by which listener they came.

/// The kind of listener by which a connection came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listener {
    /// `--listen`: the page and the sockets.
    Public,
    /// `--health-listen`: probes only, with a PROXY header of either version or none.
    Health,
    /// `--admin-listen`: what backends and operators ask for, without a PROXY header.
    Admin,
}

impl Listener {
    /// All kinds of listeners, in the order of their numbers.
    pub const ALL: [Listener; 3] = [Listener::Public, Listener::Health, Listener::Admin];
}

/// Whether a peer is believed when it says who the client is, and whether it has said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The peer is not believed.
    Stranger,
    /// The peer is believed and has named nobody else: the client's address is its own.
    Trusted,
    /// The peer is believed and has named another as the client.
    Spokesman,
}
