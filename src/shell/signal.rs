//! Signals as events of the poll: SIGTERM and SIGINT stop the server, SIGHUP reloads its files.
//!
//! SIGPIPE needs no handler: Rust's runtime ignores it, and a write to a closed pipe is an error
//! there.

use std::io;

use mio::{Interest, Registry, Token};
use rustix::process::Signal as Number;
use signal_hook_mio::v1_0::Signals as Source;

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    /// Drain; when asked for a second time, end at once.
    Stop,
    /// Read `--www` again.
    Reload,
}

/// The handlers of signals, and the pipe through which they tell of them.
pub(super) struct Signals {
    source: Source,
}

impl Signals {
    /// Installs the handlers and has the poll tell of signals as `token`.
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let numbers = [Number::TERM, Number::INT, Number::HUP].map(Number::as_raw);
        let mut source = Source::new(numbers)?;
        registry.register(&mut source, token, Interest::READABLE)?;
        Ok(Signals { source })
    }

    /// What the signals ask for that have arrived since the last call.
    pub(super) fn pending(&mut self) -> impl Iterator<Item = Signal> + use<'_> {
        self.source.pending().map(|number| {
            if number == Number::HUP.as_raw() { Signal::Reload } else { Signal::Stop }
        })
    }
}
