//! The log's way to standard output, which must never stop the server.
//!
//! simple_logger lays lines out and prints them with `println!`. That blocks while nobody reads a
//! full pipe, and panics on a closed one or a full disk, which would be the end of the process. So
//! what it prints to is a pipe of our own, of which this file keeps both ends. A line is laid out
//! before simple_logger sees it, so that its length is known. It is printed into the pipe, which is
//! empty at that moment and holds a page, and is taken out again at once. Printing can neither wait
//! nor fail.
//!
//! ```text
//!   log! ─► Line ─► simple_logger ─► println! ─► our pipe ─► buffer ─► real standard output
//!           cut       time, level               empty before   │ full, and nobody reads:
//!                                               and after      └─ dropped, counted
//! ```
//!
//! The buffer is carried to the real standard output at the end of a turn, and as soon as the
//! buffer is full. That never waits for a reader: what cannot be written now stays, and a line for
//! which there is no room then is dropped. Another line says how many were. A regular file takes
//! everything.
//!
//! Where standard output is systemd's journal, each line begins with its priority, such as `<4>`
//! for a warning (sd-daemon(3)), which the journal takes off again.
//!
//! Nothing here panics: no index comes from outside, no lock can be poisoned in a process that ends
//! with its first panic, and no time confuses simple_logger, for the kernel knows none before 1970
//! or after 2262.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{Level, LevelFilter, Metadata, Record};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use simple_logger::SimpleLogger;

use crate::config;
use crate::text::Line;

/// Bytes that an empty pipe takes at once, and a writable one without waiting (`PIPE_BUF`): a page.
const PIECE_BYTES: usize = 4096;

/// The most bytes of a line, without what simple_logger puts in front of it. The longest of our
/// lines is that of a request: two outside values of 256 bytes, each four times as long once it is
/// escaped.
const LINE_BYTES_MAX: usize = 3072;

/// The most bytes of the name that says which program or library speaks.
const TARGET_BYTES_MAX: usize = 64;

/// The most bytes that simple_logger adds: time, level, brackets, blanks and the line's end, which
/// are 34 bytes now.
const LAYOUT_BYTES_MAX: usize = 128;

/// Bytes of lines that may wait for standard output: what a busy turn says. They are part of the
/// memory that does not vary, which the printed ceiling names.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long the end of the process waits for standard output to take what is left.
const FINISH: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

const _: () = {
    let priority_bytes = 3;
    assert!(priority_bytes + LINE_BYTES_MAX + TARGET_BYTES_MAX + LAYOUT_BYTES_MAX < PIECE_BYTES);
};
const _: () = assert!(BUFFER_BYTES >= 2 * PIECE_BYTES);

/// The logger that the `log` crate hands lines to, those of dependencies too.
struct Gate {
    lines: SimpleLogger,
    carrier: Arc<Mutex<Carrier>>,
}

impl log::Log for Gate {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Laid out before the lock is taken, since a value may log something while it is laid out.
        let target = Line::<TARGET_BYTES_MAX>::new(format_args!("{}", record.target()));
        let line = Line::<LINE_BYTES_MAX>::new(*record.args());
        let mut carrier = lock(&self.carrier);
        if carrier.make_room_for_a_line() {
            self.lines.log(
                &Record::builder()
                    .level(record.level())
                    .target(target.as_str())
                    .args(format_args!("{}", line.as_str()))
                    .build(),
            );
            carrier.take_line(priority(record.level()));
        } else {
            carrier.dropped += 1;
        }
    }

    fn flush(&self) {}
}

/// The log, as the turn of the loop sees it.
pub(super) struct Log {
    carrier: Arc<Mutex<Carrier>>,
}

impl Log {
    /// Takes standard output over and begins to log at `level`.
    pub(super) fn start(level: LevelFilter, registry: &Registry, token: Token) -> io::Result<Log> {
        let stdout = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        let is_journal = is_journal(&stdout, config::environment("JOURNAL_STREAM").as_deref());
        let (stdout, way) = own_description(stdout);
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        rustix::stdio::dup2_stdout(&writer)?;
        // epoll refuses a regular file, which is always writable; then nobody needs to wake us.
        let wakes = registry
            .register(&mut SourceFd(&stdout.as_raw_fd()), token, Interest::WRITABLE)
            .is_ok();
        let lines = SimpleLogger::new()
            .with_level(LevelFilter::Warn)
            .with_module_level("elbow", level)
            .with_utc_timestamps();
        log::set_max_level(level.max(LevelFilter::Warn));
        let mut carrier = Carrier::new(reader, stdout, way, wakes);
        carrier.is_journal = is_journal;
        let carrier = Arc::new(Mutex::new(carrier));
        let gate = Gate { lines, carrier: Arc::clone(&carrier) };
        log::set_boxed_logger(Box::new(gate)).map_err(io::Error::other)?;
        Ok(Log { carrier })
    }

    /// Notes that standard output takes more.
    pub(super) fn writable(&mut self) {
        lock(&self.carrier).blocked = false;
    }

    /// Carries the lines that wait to standard output, as far as it takes them without waiting.
    /// Says how many lines were dropped before, if any were.
    pub(super) fn carry(&mut self) {
        lock(&self.carrier).carry(&Timespec::default());
        let untold = lock(&self.carrier).take_untold();
        if let Some(lines) = untold {
            log::warn!(
                target: "elbow",
                "{lines} log lines were dropped: standard output did not take them",
            );
            lock(&self.carrier).carry(&Timespec::default());
        }
    }

    /// Carries what is left at the end of the process, waiting [`FINISH`] for a reader that is
    /// slow.
    pub(super) fn finish(&mut self) {
        let mut carrier = lock(&self.carrier);
        carrier.blocked = false;
        carrier.carry(&FINISH);
    }
}

/// Takes the lock. There is one thread, so nobody ever waits here; and a lock whose holder has
/// panicked is as good as any other, since only whole lines are put in.
fn lock(carrier: &Mutex<Carrier>) -> MutexGuard<'_, Carrier> {
    carrier.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `stdout` is the stream to systemd's journal that the variable `JOURNAL_STREAM` names by
/// device and inode (systemd.exec(5)).
fn is_journal(stdout: &OwnedFd, named: Option<&str>) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    let named = named.and_then(|named| named.split_once(':'));
    let named = named.and_then(|(device, inode)| Some((number(device)?, number(inode)?)));
    let status = rustix::fs::fstat(stdout).ok().map(|status| (status.st_dev, status.st_ino));
    named.is_some() && named == status
}

/// The priority of a line, as the journal has it at the line's beginning (sd-daemon(3)).
fn priority(level: Level) -> &'static [u8] {
    match level {
        Level::Error => b"<3>",
        Level::Warn => b"<4>",
        Level::Info => b"<6>",
        Level::Debug | Level::Trace => b"<7>",
    }
}

/// How standard output can be written to without waiting for a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// A write takes what fits and fails when nothing does; a regular file takes everything.
    Plainly,
    /// A write may block, since other programs that share the open file may want that: before each
    /// piece the kernel is asked whether there is room.
    Asked,
}

/// A descriptor for the real standard output, and how to write to it: without blocking, if that can
/// be had. Whether writes block is a matter of the open file, which is shared with other programs,
/// the operator's shell for instance. So pipes and terminals are opened once more.
fn own_description(stdout: OwnedFd) -> (OwnedFd, Way) {
    let kind = rustix::fs::fstat(&stdout).map(|status| FileType::from_raw_mode(status.st_mode));
    match kind {
        // A regular file that is opened once more would have a position of its own.
        Ok(FileType::RegularFile) => (stdout, Way::Plainly),
        Ok(FileType::Fifo | FileType::CharacterDevice) => {
            let place = format!("/proc/self/fd/{}", stdout.as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            match rustix::fs::open(place, flags, Mode::empty()) {
                Ok(own) => (own, Way::Plainly),
                Err(_) => (stdout, Way::Asked),
            }
        }
        Ok(
            FileType::Directory
            | FileType::Symlink
            | FileType::Socket
            | FileType::BlockDevice
            | FileType::Unknown,
        )
        | Err(_) => (stdout, Way::Asked),
    }
}

/// What takes lines out of our pipe and carries them to the real standard output.
struct Carrier {
    pipe: OwnedFd,
    stdout: OwnedFd,
    way: Way,
    /// Whether epoll says when standard output takes more.
    wakes: bool,
    /// Whether standard output is systemd's journal.
    is_journal: bool,
    buffer: Box<[u8]>,
    /// Where the bytes that wait begin: `buffer[start..end]`, `start <= end`.
    start: usize,
    end: usize,
    /// Whether something may be left in our pipe, because reading it failed.
    unread: bool,
    /// Whether standard output was full when last asked, and will say when it is not.
    blocked: bool,
    /// Whether standard output was closed, so that nobody will ever read it.
    closed: bool,
    /// Whether the last write failed, for instance because the disk is full.
    failing: bool,
    /// Whether standard output ends in the middle of a line.
    midway: bool,
    /// Whether the rest of the line in whose middle standard output ends was lost. Then a line's
    /// end comes before anything else.
    broken_off: bool,
    /// How many lines were lost since the start.
    dropped: u64,
    /// How many of the lost lines were told of.
    told: u64,
}

impl Carrier {
    fn new(pipe: OwnedFd, stdout: OwnedFd, way: Way, wakes: bool) -> Carrier {
        Carrier {
            pipe,
            stdout,
            way,
            wakes,
            is_journal: false,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            unread: false,
            blocked: false,
            closed: false,
            failing: false,
            midway: false,
            broken_off: false,
            dropped: 0,
            told: 0,
        }
    }

    /// Makes room in the buffer for whatever is printed into our pipe, by carrying if need be, and
    /// takes out what was left in the pipe. Returns whether there is room, and the pipe is empty.
    fn make_room_for_a_line(&mut self) -> bool {
        if self.room() < PIECE_BYTES {
            self.carry(&Timespec::default());
        }
        if self.room() < PIECE_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.unread && self.room() >= PIECE_BYTES {
            self.take_line(b"");
        }
        self.room() >= PIECE_BYTES && !self.unread
    }

    fn room(&self) -> usize {
        self.buffer.len() - self.end
    }

    /// Takes what was printed out of our pipe, behind its `priority` if that is of use.
    fn take_line(&mut self, priority: &[u8]) {
        let priority = if self.is_journal { priority } else { b"" };
        let begin = (self.end + priority.len()).min(self.buffer.len());
        let room = self.buffer.len() - begin;
        match rustix::io::read(&self.pipe, &mut self.buffer[begin..]) {
            Ok(taken) => {
                self.unread = taken == room;
                self.buffer[self.end..begin].copy_from_slice(&priority[..begin - self.end]);
                self.end = begin + taken;
            }
            Err(error) => self.unread = error != Errno::AGAIN,
        }
    }

    /// Writes the bytes that wait, as far as standard output takes them, which is given `patience`
    /// for each piece.
    fn carry(&mut self, patience: &Timespec) {
        self.blocked &= self.wakes;
        if self.closed {
            self.start = self.end;
        }
        while self.start < self.end && !self.blocked {
            self.write(patience);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn write(&mut self, patience: &Timespec) {
        let (mut waits, mut asks) = (&self.buffer[self.start..self.end], self.way == Way::Asked);
        if self.broken_off {
            waits = b"\n";
        }
        if asks {
            waits = &waits[..waits.len().min(PIECE_BYTES)];
        }
        loop {
            if asks && !is_writable(&self.stdout, patience) {
                self.blocked = true;
                return;
            }
            match rustix::io::write(&self.stdout, waits) {
                Ok(written) => return self.wrote(written),
                Err(Errno::INTR) => {}
                // The write is tried once more when standard output has had its time.
                Err(Errno::AGAIN) if !asks && *patience != Timespec::default() => asks = true,
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return;
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    fn wrote(&mut self, written: usize) {
        self.failing = false;
        if self.broken_off {
            self.midway = written == 0;
            self.broken_off = self.midway;
        } else {
            self.start += written;
            self.midway = self.start > 0 && self.buffer[self.start - 1] != b'\n';
        }
    }

    /// Drops what waits, since it could not be written. A closed pipe stays closed; a full disk may
    /// have room again for what comes later.
    fn fail(&mut self, error: Errno) {
        self.closed = error == Errno::PIPE;
        self.failing = true;
        let waits = &self.buffer[self.start..self.end];
        self.dropped += waits.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.broken_off = self.midway;
        self.start = self.end;
    }

    /// How many lines were lost since the log last told of that; `None` if there are none, or this
    /// cannot be told now.
    fn take_untold(&mut self) -> Option<u64> {
        let untold = self.dropped - self.told;
        if untold == 0 || self.blocked || self.failing || self.closed {
            return None;
        }
        self.told = self.dropped;
        Some(untold)
    }
}

/// Whether a write of a page would not block. A descriptor in error counts, for the write names it.
fn is_writable(descriptor: &OwnedFd, patience: &Timespec) -> bool {
    let mut asked = [PollFd::new(descriptor, PollFlags::OUT)];
    poll(&mut asked, Some(patience)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::io::Read;

    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    /// A carrier to `stdout`, and the end of its pipe into which lines are printed.
    fn carrier(stdout: OwnedFd, way: Way) -> (Carrier, OwnedFd) {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (reader, writer) = pipe_with(flags).expect("there are descriptors");
        (Carrier::new(reader, stdout, way, true), writer)
    }

    fn pipe() -> (fs::File, OwnedFd) {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).expect("there are descriptors");
        (fs::File::from(reader), writer)
    }

    /// Prints a line as simple_logger does. Returns whether there was room.
    fn print(carrier: &mut Carrier, writer: &OwnedFd, line: &str) -> bool {
        let has_room = carrier.make_room_for_a_line();
        if has_room {
            for part in [line.as_bytes(), b"\n"] {
                assert_eq!(rustix::io::write(writer, part), Ok(part.len()), "it never fails");
            }
            carrier.take_line(b"<4>");
            assert!(!carrier.unread, "the pipe is empty again");
        } else {
            carrier.dropped += 1;
        }
        has_room
    }

    /// Everything that has come out of a pipe whose reads never wait.
    fn drain(reader: &mut fs::File) -> String {
        let mut text = String::new();
        let error = reader.read_to_string(&mut text).map_err(|error| error.kind());
        assert!(matches!(error, Ok(_) | Err(io::ErrorKind::WouldBlock)), "{error:?}");
        text
    }

    #[test]
    fn the_longest_lines_are_printed_whatever_waits_already() {
        let long = "x".repeat(PIECE_BYTES - 2);
        for before in [0, 1, 15, 16, 40] {
            let (mut reader, stdout) = pipe();
            let (mut carrier, writer) = carrier(stdout, Way::Plainly);
            for _ in 0..before {
                print(&mut carrier, &writer, &long);
            }
            carrier.carry(&NOW);
            while !drain(&mut reader).is_empty() {
                carrier.blocked = false;
                carrier.carry(&NOW);
            }
            assert!(print(&mut carrier, &writer, &long));
            carrier.carry(&NOW);
            assert_eq!(drain(&mut reader), format!("{long}\n"));
        }
    }

    #[test]
    fn a_line_for_the_journal_begins_with_its_priority() {
        let long = "x".repeat(PIECE_BYTES - 5);
        for before in [0, 15, 16, 40] {
            let (mut reader, stdout) = pipe();
            let (mut carrier, writer) = carrier(stdout, Way::Plainly);
            carrier.is_journal = true;
            let printed = (0..before).filter(|_| print(&mut carrier, &writer, &long)).count();
            let mut heard = String::new();
            loop {
                carrier.blocked = false;
                carrier.carry(&NOW);
                let more = drain(&mut reader);
                heard += &more;
                if more.is_empty() {
                    break;
                }
            }
            assert_eq!(heard, format!("<4>{long}\n").repeat(printed));
        }
    }

    #[test]
    fn standard_output_is_the_journal_if_both_numbers_are_its_own() {
        let (_reader, stdout) = pipe();
        let status = rustix::fs::fstat(&stdout).expect("it is open");
        let (device, inode) = (status.st_dev, status.st_ino);
        let named = format!("{device}:{inode}");
        assert!(is_journal(&stdout, Some(&named)));
        let others = [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1)];
        let broken = ["", ":", "1", "a:b", &named[1..], &format!("{named}:"), &format!(" {named}")];
        for other in others.iter().map(String::as_str).chain(broken) {
            let is_it = is_journal(&stdout, Some(other));
            assert!(!is_it || other == named, "{other}");
        }
        assert!(!is_journal(&stdout, None));
    }

    #[test]
    fn every_level_has_the_priority_that_syslog_gives_it() {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        let priorities = levels.map(priority);
        assert_eq!(priorities, [b"<3>", b"<4>", b"<6>", b"<7>", b"<7>"].map(|p| &p[..]));
    }

    #[test]
    fn what_nobody_reads_is_dropped_counted_and_told_once() {
        let (mut reader, stdout) = pipe();
        let (mut carrier, writer) = carrier(stdout, Way::Plainly);
        let line = "y".repeat(99);
        let printed = (0..5_000).filter(|_| print(&mut carrier, &writer, &line)).count();
        assert!(carrier.blocked && carrier.take_untold().is_none(), "nobody could be told");
        assert!(printed > 1_200, "the kernel's room and ours are used: {printed}");
        let mut heard = String::new();
        loop {
            let more = drain(&mut reader);
            if more.is_empty() {
                break;
            }
            heard += &more;
            carrier.blocked = false;
            carrier.carry(&NOW);
        }
        assert_eq!(heard, format!("{line}\n").repeat(printed));
        assert_eq!(carrier.take_untold(), Some(5_000 - printed as u64));
        assert_eq!(carrier.take_untold(), None);
    }

    #[test]
    fn a_regular_file_is_never_why_a_line_is_dropped() {
        let place = std::env::temp_dir().join(format!("elbow-log-{}", std::process::id()));
        let file = fs::File::create(&place).expect("a file can be made");
        let (stdout, way) = own_description(OwnedFd::from(file));
        let (mut carrier, writer) = carrier(stdout, way);
        let line = "z".repeat(999);
        assert!((0..5_000).all(|_| print(&mut carrier, &writer, &line)));
        carrier.carry(&NOW);
        let text = fs::read_to_string(&place);
        fs::remove_file(&place).expect("it is there");
        assert_eq!(text.ok(), Some(format!("{line}\n").repeat(5_000)));
        assert_eq!(carrier.take_untold(), None);
    }

    #[test]
    fn a_full_disk_loses_lines_and_is_told_of_when_it_has_room() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let (mut carrier, writer) = carrier(OwnedFd::from(full), Way::Plainly);
        for _ in 0..200 {
            assert!(print(&mut carrier, &writer, &"w".repeat(999)), "it is lost later");
        }
        carrier.carry(&NOW);
        assert_eq!(carrier.take_untold(), None, "it would be lost as well");
        let (mut reader, stdout) = pipe();
        carrier.stdout = stdout;
        print(&mut carrier, &writer, "there is room again");
        carrier.carry(&NOW);
        assert_eq!(drain(&mut reader), "there is room again\n");
        assert_eq!(carrier.take_untold(), Some(200));
    }

    #[test]
    fn a_line_whose_rest_was_lost_does_not_go_on_with_another() {
        let (mut reader, stdout) = pipe();
        let (mut carrier, writer) = carrier(stdout, Way::Plainly);
        while carrier.dropped == 0 {
            print(&mut carrier, &writer, &"v".repeat(1_000));
        }
        let before = drain(&mut reader);
        assert!(!before.ends_with('\n'), "it was cut where the pipe was full");
        carrier.fail(Errno::NOSPC);
        (carrier.start, carrier.end, carrier.blocked) = (0, 0, false);
        print(&mut carrier, &writer, "the next");
        carrier.carry(&NOW);
        assert_eq!(drain(&mut reader), "\nthe next\n");
        print(&mut carrier, &writer, "and one more");
        carrier.carry(&NOW);
        assert_eq!(drain(&mut reader), "and one more\n");
    }

    #[test]
    fn a_closed_pipe_costs_nothing() {
        let (reader, stdout) = pipe();
        drop(reader);
        let (mut carrier, writer) = carrier(stdout, Way::Plainly);
        assert!((0..1_000).all(|_| print(&mut carrier, &writer, &"u".repeat(999))));
        carrier.carry(&NOW);
        assert!(carrier.closed && carrier.take_untold().is_none());
    }

    #[test]
    fn a_pipe_is_opened_once_more_so_that_writing_to_it_never_waits() {
        let (reader, writer) = rustix::pipe::pipe().expect("there are descriptors");
        let (own, way) = own_description(writer);
        assert_eq!(way, Way::Plainly);
        while rustix::io::write(&own, &[b't'; PIECE_BYTES]).is_ok() {}
        assert_eq!(rustix::io::write(&own, b"t"), Err(Errno::AGAIN));
        drop(reader);
    }
}
