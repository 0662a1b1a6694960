//! Where benches speak: standard output, a line at a time.

use std::io::{self, Write};

/// One line for whoever runs the bench. Nobody may be reading, which is no reason to stop.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The bench cannot go on, for this reason.
pub(crate) fn fail(why: &str) -> ! {
    let _ = writeln!(io::stderr(), "bench: {why}");
    std::process::exit(1);
}
