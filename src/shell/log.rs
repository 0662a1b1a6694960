//! The log's way to standard output, which must never stop the server.
//!
//! simple_logger lays lines out and prints them with `println!`. That blocks while nobody reads a
//! full pipe, and panics on a closed one or a full disk. So standard output becomes a pipe of our
//! own: before each line it is asked whether it has room, and the loop carries what is in it to the
//! real one, in pieces that do not block, as fast as that takes them. What does not fit is dropped
//! and counted; a line says so later.
//!
//! The surprise: room is asked for with `poll`, not by counting bytes. A pipe counts pages; it is
//! writable when a whole one is free, and no line of ours is longer than that.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use log::{LevelFilter, Metadata, Record};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use simple_logger::SimpleLogger;

/// What a pipe that is writable takes without blocking (`PIPE_BUF`), and a page.
const PIECE_BYTES: usize = 4096;

/// How long the end of the process waits for standard output to take what is left.
const FINISH: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Lines that found no room.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The pipe was written to since it was last found empty: most turns log nothing, and should not
/// have to ask the kernel for it.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Passes a line on if the pipe has room.
struct Gate {
    lines: SimpleLogger,
    pipe: OwnedFd,
}

impl log::Log for Gate {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if !is_writable(&self.pipe, Some(&Timespec::default())) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.lines.log(record);
        WAITING.store(true, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

/// The carrier from our pipe to the real standard output.
pub(super) struct Log {
    pipe: OwnedFd,
    stdout: OwnedFd,
    piece: [u8; PIECE_BYTES],
    start: usize,
    end: usize,
    /// Standard output was full when last asked, and will say when it is not.
    blocked: bool,
    /// Nobody will ever read it.
    closed: bool,
    dropped_reported: u64,
}

impl Log {
    /// Takes standard output over and begins to log at `level`.
    pub(super) fn start(level: LevelFilter, registry: &Registry, token: Token) -> io::Result<Log> {
        let stdout = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        rustix::stdio::dup2_stdout(&writer)?;
        // A regular file is always writable, and epoll refuses it; then nobody needs to wake us.
        let _ = registry.register(&mut SourceFd(&stdout.as_raw_fd()), token, Interest::WRITABLE);
        let lines = SimpleLogger::new()
            .with_level(LevelFilter::Warn)
            .with_module_level("elbow", level)
            .with_utc_timestamps();
        log::set_max_level(level.max(LevelFilter::Warn));
        let gate = Gate { lines, pipe: writer };
        log::set_boxed_logger(Box::new(gate)).map_err(io::Error::other)?;
        Ok(Log {
            pipe: reader,
            stdout,
            piece: [0; PIECE_BYTES],
            start: 0,
            end: 0,
            blocked: false,
            closed: false,
            dropped_reported: 0,
        })
    }

    /// Standard output says that it takes more.
    pub(super) fn writable(&mut self) {
        self.blocked = false;
    }

    /// Carries what there is, as far as standard output takes it without blocking.
    pub(super) fn carry(&mut self) {
        while !self.blocked && self.fill() {
            self.empty(&Timespec::default());
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        if dropped > self.dropped_reported && !self.blocked {
            let lines = dropped - self.dropped_reported;
            self.dropped_reported = dropped;
            log::warn!(target: "elbow", "{lines} log lines were dropped: standard output was full");
        }
    }

    /// Carries what is left, waiting a moment for a reader that is slow.
    pub(super) fn finish(&mut self) {
        self.blocked = false;
        while !self.blocked && self.fill() {
            self.empty(&FINISH);
        }
    }

    /// Whether there is a piece to write.
    fn fill(&mut self) -> bool {
        if self.start == self.end && WAITING.load(Ordering::Relaxed) {
            self.start = 0;
            self.end = rustix::io::read(&self.pipe, &mut self.piece).unwrap_or(0);
            WAITING.store(self.end > 0, Ordering::Relaxed);
        }
        self.start < self.end
    }

    /// Writes the piece, or a part of it.
    fn empty(&mut self, patience: &Timespec) {
        if self.closed {
            self.start = self.end;
            return;
        }
        if !is_writable(&self.stdout, Some(patience)) {
            self.blocked = true;
            return;
        }
        match rustix::io::write(&self.stdout, &self.piece[self.start..self.end]) {
            Ok(written) => self.start += written,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => self.blocked = true,
            Err(error) => {
                // A closed pipe stays closed; a full disk may have room again for the next piece.
                self.closed = error == rustix::io::Errno::PIPE;
                self.start = self.end;
                DROPPED.fetch_add(1, Ordering::Relaxed);
                self.dropped_reported += 1;
            }
        }
    }
}

/// Whether a write of a page would not block; an error counts, for the write will name it.
fn is_writable(descriptor: &OwnedFd, patience: Option<&Timespec>) -> bool {
    let mut asked = [PollFd::new(descriptor, PollFlags::OUT)];
    poll(&mut asked, patience).is_ok_and(|ready| ready > 0)
}
