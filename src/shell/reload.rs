//! A reload of `--www`, in portions between the turns of the loop.
//!
//! ```text
//!             SIGHUP                nobody reads, or            all was read
//!   at rest ─────────► waiting ─────────────────────► reading ──────────────► leaving ──► at rest
//!                         those of before             a portion       those of before
//!                         are sent still              each turn       are sent still
//! ```
//!
//! At most two generations of files are held at any time. The files from before the last reload
//! stay while somebody is being sent one of them; until they are gone, nothing else is read. That
//! wait has an end, at which such connections are cut: no stranger keeps an operator from changing
//! the page. A signal that comes while files are being read asks for one more reload afterwards,
//! since it may tell of a change to files that were read already. Several such signals ask for one.

use std::path::Path;

use super::files::Reading;
use super::net::Stream;
use super::report::Report;
use crate::limits;
use crate::server::Server;
use crate::time::{Duration, Instant, Now};

/// How often the connections are searched for somebody who is still sent a file that is to go.
const LOOK: Duration = Duration::from_millis(100);

/// Where a reload stands.
#[derive(Debug)]
enum State {
    AtRest,
    /// Files are to be read once those from before the last reload are gone.
    Waiting {
        next: Instant,
        /// When connections that are still sent files from before the last reload are cut.
        until: Instant,
        /// Whether the log says that the reload has to wait.
        is_told: bool,
    },
    Reading(Box<Reading>),
    /// Other files are served, and the files from before go as soon as nobody is sent one.
    Leaving {
        next: Instant,
    },
}

/// Reloads of the files, one after the other.
#[derive(Debug)]
pub(super) struct Reload {
    state: State,
    /// Whether one more reload was asked for while files were being read.
    again: bool,
    /// How many bytes the files hold that are served now.
    bytes: u64,
}

impl Reload {
    /// No reload yet; the files that were read at start hold `bytes` bytes.
    pub(super) fn new(bytes: u64) -> Reload {
        Reload { state: State::AtRest, again: false, bytes }
    }

    /// Asks for a reload, which begins with [`Reload::go_on`].
    pub(super) fn ask(&mut self, now: Now) {
        match self.state {
            State::AtRest | State::Leaving { .. } => {
                let until = now.mono.plus(limits::RELOAD_LIMIT);
                self.state = State::Waiting { next: now.mono, until, is_told: false };
            }
            // Nothing was read yet, so the reload that waits will see the change.
            State::Waiting { .. } => {}
            State::Reading(_) => self.again = true,
        }
    }

    /// Whether a portion is left to be read, so that the loop should not wait.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Whether files that were asked for are not served yet.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Reading(_))
    }

    /// When [`Reload::go_on`] is worth calling next although nothing is left to be read.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { next, .. } | State::Leaving { next } => Some(next),
            State::AtRest | State::Reading(_) => None,
        }
    }

    /// Does what there is to do now: at most one portion.
    pub(super) fn go_on(
        &mut self,
        now: Now,
        folder: &Path,
        server: &mut Server<Stream>,
        report: &mut Report,
    ) {
        match &mut self.state {
            State::Waiting { next, until, is_told } if *next <= now.mono => {
                if server.release_files(now, now.mono >= *until) {
                    match Reading::begin(folder) {
                        Ok(reading) => self.state = State::Reading(Box::new(reading)),
                        Err(error) => self.fail(now, report, &error),
                    }
                } else {
                    if !core::mem::replace(is_told, true) {
                        report.reload_waits(limits::RELOAD_LIMIT);
                    }
                    *next = now.mono.plus(LOOK).min(*until);
                }
            }
            State::Leaving { next } if *next <= now.mono => {
                if server.release_files(now, false) {
                    self.state = State::AtRest;
                } else {
                    *next = now.mono.plus(LOOK);
                }
            }
            State::Reading(reading) => match reading.go_on() {
                Ok(false) => {}
                Ok(true) => self.serve(now, server, report),
                Err(error) => self.fail(now, report, &error),
            },
            State::AtRest | State::Waiting { .. } | State::Leaving { .. } => {}
        }
    }

    /// Serves what was read from now on.
    fn serve(&mut self, now: Now, server: &mut Server<Stream>, report: &mut Report) {
        let leaving = State::Leaving { next: now.mono };
        let State::Reading(reading) = core::mem::replace(&mut self.state, leaving) else { return };
        let folder = reading.finish();
        report.reloaded(&folder, Some(self.bytes));
        self.bytes = folder.files.bytes();
        server.replace_files(now, folder.files);
        self.ask_again(now);
    }

    /// Forgets what was read; the files that are served stay.
    fn fail(&mut self, now: Now, report: &mut Report, error: &std::io::Error) {
        report.reload_failed(error);
        self.state = State::AtRest;
        self.ask_again(now);
    }

    fn ask_again(&mut self, now: Now) {
        if core::mem::take(&mut self.again) {
            self.ask(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::path::PathBuf;

    use crate::config::{self, Activated, Command, Machine};
    use crate::site::Site;

    /// A server, and a folder with a file that takes a reload some portions.
    struct World {
        folder: PathBuf,
        server: Server<Stream>,
        report: Report,
        reload: Reload,
        now: Now,
    }

    impl World {
        fn new(name: &str) -> World {
            let name = format!("elbow-reload-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).expect("a folder can be made");
            fs::write(folder.join("large"), vec![b'x'; 3 << 20]).expect("there is room");
            let machine = Machine {
                descriptors_hard: 1024,
                memory_bytes: None,
                memory_is_shared: true,
                activated: Activated::NONE,
                admin_credential: false,
            };
            let command = config::parse(["elbow".into()], |_| None, &machine);
            let Ok(Command::Run(config)) = command else { panic!("no command means: run") };
            let now = Now { mono: Instant::from_millis(1_000), unix_s: 0 };
            let server = Server::new(config.settings, Site::new(Vec::new(), false), [7; 32], now);
            let (report, reload) = (Report::default(), Reload::new(0));
            World { folder, server, report, reload, now }
        }

        fn go_on(&mut self) {
            self.reload.go_on(self.now, &self.folder, &mut self.server, &mut self.report);
        }

        /// Goes on until nothing is left to do. Returns how many portions each reload has read.
        fn settle(&mut self) -> Vec<usize> {
            let mut portions = Vec::new();
            let mut was_reading = self.reload.is_reading();
            while self.reload.is_reading() || self.reload.next().is_some() {
                self.go_on();
                let is_reading = self.reload.is_reading();
                if is_reading && !was_reading {
                    portions.push(0);
                }
                if let (true, Some(last)) = (is_reading, portions.last_mut()) {
                    *last += 1;
                }
                was_reading = is_reading;
            }
            portions
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn a_reload_is_many_portions() {
        let mut world = World::new("portions");
        assert!(world.settle().is_empty(), "nobody asked");
        world.reload.ask(world.now);
        let portions = world.settle();
        assert!(portions.len() == 1 && portions[0] >= 12, "{portions:?}");
        assert!(world.reload.bytes >= 3 << 20);
    }

    #[test]
    fn signals_before_anything_was_read_ask_for_one_reload() {
        let mut world = World::new("before");
        for _ in 0..3 {
            world.reload.ask(world.now);
        }
        assert_eq!(world.settle().len(), 1);
    }

    #[test]
    fn signals_while_files_are_read_ask_for_one_more() {
        let mut world = World::new("during");
        world.reload.ask(world.now);
        for _ in 0..4 {
            world.go_on();
            world.reload.ask(world.now);
        }
        assert!(world.reload.is_reading());
        // The reload that was under way is not counted, for it began before this call.
        assert_eq!(world.settle().len(), 1);
        assert!(world.settle().is_empty());
    }

    #[test]
    fn a_reload_that_fails_keeps_the_files_and_the_one_behind_it() {
        let mut world = World::new("fails");
        world.reload.ask(world.now);
        world.go_on();
        world.reload.ask(world.now);
        let away = world.folder.with_extension("away");
        fs::rename(&world.folder, &away).expect("it is there");
        // The reload under way and the next have lost their folder.
        fs::create_dir_all(&world.folder).expect("it can be made");
        fs::write(world.folder.join("bad\u{1}\n"), b"").expect("there is room");
        std::os::unix::fs::symlink(".", world.folder.join("circle")).expect("it can be made");
        assert_eq!(world.settle().len(), 1);
        assert_eq!(world.reload.bytes, 0, "what was served is served");
        fs::remove_dir_all(&world.folder).expect("it is there");
        fs::rename(&away, &world.folder).expect("it is there");
        world.reload.ask(world.now);
        assert_eq!(world.settle().len(), 1);
        assert!(world.reload.bytes >= 3 << 20);
    }
}
