//! The load generator's process: it does what the lines on its standard input say, answers each
//! with a line, and ends when there are no more.

use std::io::{self, BufRead};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, sleep};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::clock::{self, Ticker};
use super::super::{histogram::Histogram, say};
use super::reader::{Log, Reader};
use super::{Outcome, Pace, Run, Setup, handshakes};

const TIMER: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1024;
/// Connections that join at a time.
const TOGETHER: usize = 64;
/// Large enough that one read takes all that a socket holds.
const BUFFER_BYTES: usize = 1024 * 1024;
/// A run ends early rather than remember more than this of what was said.
const LOG_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Nothing was delivered for this long: the run has failed.
const STALL_LIMIT_NS: u64 = 20_000_000_000;
/// How often pings are looked for between two orders.
const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is seen whether a silence has lasted long enough.
const SILENCE_LOOK_NS: u64 = 100_000_000;
/// The number of a message, in decimal, so that it is text in every dialect.
const NUMBER_BYTES: usize = 12;

struct Crowd {
    poll: Poll,
    timer: Ticker,
    setup: Setup,
    readers: Vec<Reader>,
    channels: Vec<Channel>,
    buffer: Vec<u8>,
    frame: Vec<u8>,
    latency: Histogram,
    tally: Tally,
    /// Messages of all runs before: no two in the life of a connection have one number.
    first_number: u64,
}

/// A channel and what was said there in this run.
struct Channel {
    log: Log,
    /// What comes before each payload.
    prefix: Vec<u8>,
    payload: Vec<u8>,
    /// When each message was published, or was due.
    sent_ns: Vec<u64>,
    /// How many readers have each.
    delivered: Vec<u32>,
    /// Messages that all have.
    completed: usize,
    /// Readers that count.
    members: u32,
}

/// A run so far.
#[derive(Default)]
struct Tally {
    reads: u64,
    began_ns: u64,
    last_ns: u64,
    published: u64,
    closing: bool,
}

/// Obeys until the pipe is closed. Between two orders pings are answered: others may have their
/// turn for longer than a server's patience.
pub(crate) fn serve() -> ! {
    let (order, orders) = channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            // Whoever obeys is there until this thread ends.
            let _ = order.send(line);
        }
    });
    let mut crowd: Option<Crowd> = None;
    let mut failed = None;
    loop {
        match orders.recv_timeout(TEND_INTERVAL) {
            Ok(line) => match failed.take().map_or_else(|| obey(&mut crowd, &line), Err) {
                Ok(answer) => say::say(&format!("ok {answer}")),
                Err(why) => say::say(&format!("failed {why}")),
            },
            Err(RecvTimeoutError::Timeout) => {
                failed = crowd.as_mut().and_then(|crowd| crowd.tend().err());
            }
            Err(RecvTimeoutError::Disconnected) => std::process::exit(0),
        }
    }
}

fn obey(crowd: &mut Option<Crowd>, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let strange = || format!("not understood: {line}");
    match (&words[..], crowd) {
        (["open", rest @ ..], crowd) => {
            let setup = Setup::from_words(rest).ok_or_else(strange)?;
            *crowd = Some(Crowd::open(setup)?);
            Ok(String::new())
        }
        (["handshakes", count, together, rest @ ..], _) => {
            let setup = Setup::from_words(rest).ok_or_else(strange)?;
            let count = count.parse().map_err(|_| strange())?;
            let together = together.parse().map_err(|_| strange())?;
            handshakes::shake(&setup, count, together).map(|ns| ns.to_string())
        }
        (["run", rest @ ..], Some(crowd)) => {
            let run = Run::from_words(rest).ok_or_else(strange)?;
            crowd.run(run).map(|outcome| outcome.to_string())
        }
        (["stop", count], Some(crowd)) => {
            crowd.stop(count.parse().map_err(|_| strange())?)?;
            Ok(String::new())
        }
        (["closed"], Some(crowd)) => Ok(crowd.stopped_and_closed().to_string()),
        _ => Err(strange()),
    }
}

impl Crowd {
    fn open(setup: Setup) -> Result<Crowd, String> {
        let failed = |error: io::Error| error.to_string();
        let poll = Poll::new().map_err(failed)?;
        let timer = Ticker::new(&poll, TIMER)?;
        let mut readers = Vec::with_capacity(setup.readers);
        while readers.len() < setup.readers {
            let more = readers.len()..setup.readers.min(readers.len() + TOGETHER);
            let joined = handshakes::join(&setup, more.map(|at| at % setup.channels))?;
            for (stream, channel, heard) in joined {
                stream.set_nonblocking(true).map_err(failed)?;
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                let token = Token(readers.len());
                poll.registry().register(&mut stream, token, interest).map_err(failed)?;
                readers.push(Reader::new(stream, channel, heard));
            }
        }
        let channels = (0..setup.channels).map(|number| Channel::new(&setup, number)).collect();
        let mut crowd = Crowd {
            poll,
            timer,
            setup,
            readers,
            channels,
            buffer: vec![0; BUFFER_BYTES],
            frame: Vec::new(),
            latency: Histogram::new(),
            tally: Tally::default(),
            first_number: 0,
        };
        crowd.sync()?;
        Ok(crowd)
    }

    /// Publishes a mark in each channel and waits until all its readers have seen it, so that each
    /// is known to hear, and whatever greets newcomers is behind them.
    fn sync(&mut self) -> Result<(), String> {
        self.begin(64);
        for channel in 0..self.channels.len() {
            self.publish(channel, clock::now_ns())?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut missing = self.readers.len();
        while missing > 0 {
            self.wait(&mut events, Duration::ZERO)?;
            for event in &events {
                let Some(reader) = self.readers.get_mut(event.token().0) else { continue };
                while event.is_readable() {
                    let log = &self.channels[reader.channel].log;
                    let count = match reader.read(&mut self.buffer) {
                        Ok(0) => return Err("closed before the first message".to_owned()),
                        Ok(count) => count,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(format!("read: {error}")),
                    };
                    let before = reader.is_synced();
                    let synced = reader.sync(self.setup.dialect, log, &self.buffer[..count])?;
                    missing -= usize::from(synced && !before);
                }
            }
        }
        Ok(())
    }

    /// Forgets what was said before: everybody has it.
    fn begin(&mut self, bytes: usize) {
        self.first_number += self.tally.published;
        self.tally = Tally { began_ns: clock::now_ns(), ..Tally::default() };
        self.tally.last_ns = self.tally.began_ns;
        self.latency.clear();
        for channel in &mut self.channels {
            channel.begin(bytes);
        }
        for reader in &mut self.readers {
            reader.offset = 0;
            if !reader.stopped {
                self.channels[reader.channel].members += 1;
            }
        }
    }

    /// Answers what has come since the last run, which can only be pings.
    fn tend(&mut self) -> Result<(), String> {
        let silence =
            Run { bytes: 0, pace: Pace::Silence, messages_max: u64::MAX, limit_ms: 0, nap_us: 0 };
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            self.poll
                .poll(&mut events, Some(Duration::ZERO))
                .map_err(|error| format!("epoll: {error}"))?;
            if events.is_empty() {
                return Ok(());
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                if event.is_readable() {
                    self.read(silence, event.token().0)?;
                }
            }
        }
    }

    fn run(&mut self, run: Run) -> Result<Outcome, String> {
        self.begin(run.bytes);
        let nap = Duration::from_micros(run.nap_us);
        let mut events = Events::with_capacity(EVENTS_MAX);
        match run.pace {
            Pace::Window(_) => {
                for channel in 0..self.channels.len() {
                    self.fill(run, channel)?;
                }
            }
            Pace::Rate(rate) => self.timer.set(1_000_000_000 / u64::from(rate))?,
            Pace::Silence => self.timer.set(SILENCE_LOOK_NS)?,
        }
        while !(self.tally.closing && self.is_complete()) {
            self.wait(&mut events, nap)?;
            if let Pace::Silence = run.pace {
                // Nothing is to arrive, so nothing is late.
                self.tally.last_ns = clock::now_ns();
                self.close_when_due(run, self.tally.last_ns);
            }
            for event in &events {
                if event.token() == TIMER {
                    self.timer.take();
                } else {
                    let at = event.token().0;
                    if event.is_writable() {
                        self.readers[at].send_rest()?;
                    }
                    if event.is_readable() {
                        self.read(run, at)?;
                    }
                }
                if let Pace::Rate(rate) = run.pace {
                    self.publish_due(run, u64::from(rate))?;
                }
            }
        }
        self.timer.set(0)?;
        let messages = self.tally.published;
        Ok(Outcome {
            messages,
            deliveries: self.latency.total(),
            reads: self.tally.reads,
            elapsed_ns: self.tally.last_ns - self.tally.began_ns,
            latency_ns: [
                self.latency.quantile(0.5),
                self.latency.quantile(0.99),
                self.latency.quantile(0.999),
                self.latency.max(),
            ],
        })
    }

    /// Waits for events; an error if nothing has moved for too long.
    fn wait(&mut self, events: &mut Events, nap: Duration) -> Result<(), String> {
        let patience = if nap.is_zero() { Duration::from_secs(1) } else { Duration::ZERO };
        loop {
            match self.poll.poll(events, Some(patience)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(format!("epoll: {error}"));
                }
                Ok(()) | Err(_) => {}
            }
            if !events.is_empty() {
                return Ok(());
            }
            if clock::now_ns() - self.tally.last_ns > STALL_LIMIT_NS {
                return Err(self.stalled());
            }
            sleep(nap);
        }
    }

    /// Who waits for what.
    fn stalled(&self) -> String {
        let channel = &self.channels[0];
        let lagging = |reader: &&Reader| reader.offset < self.channels[reader.channel].log.len();
        let behind = self.readers.iter().filter(lagging).count();
        let (completed, sent) = (channel.completed, channel.sent_ns.len());
        format!(
            "nothing arrives; {behind} readers lack something; of the first channel {completed} of \
             {sent} messages have reached all"
        )
    }

    fn is_complete(&self) -> bool {
        self.channels.iter().all(|channel| channel.completed == channel.sent_ns.len())
    }

    /// Reads what a socket has, which as a rule is one read, and counts what has become whole.
    fn read(&mut self, run: Run, at: usize) -> Result<(), String> {
        let reader = &mut self.readers[at];
        if reader.stopped {
            return Ok(());
        }
        let number = reader.channel;
        loop {
            let count = match reader.read(&mut self.buffer) {
                Ok(0) => return Err(format!("reader {at} was closed")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("reader {at}: {error}")),
            };
            let channel = &mut self.channels[number];
            let before = reader.offset / channel.log.record_bytes;
            reader
                .take(self.setup.dialect, &channel.log, &self.buffer[..count])
                .map_err(|why| format!("reader {at}: {why}"))?;
            let after = reader.offset / channel.log.record_bytes;
            let now_ns = clock::now_ns();
            for message in before..after {
                self.latency.record(now_ns.saturating_sub(channel.sent_ns[message]));
                channel.delivered[message] += 1;
                // Each reader gets them in order, so they also become complete in order.
                channel.completed += usize::from(channel.delivered[message] == channel.members);
            }
            self.tally.reads += 1;
            self.tally.last_ns = now_ns;
            if count < self.buffer.len() {
                break;
            }
        }
        if let Pace::Window(_) = run.pace { self.fill(run, number) } else { Ok(()) }
    }

    /// Publishes as many as may be outstanding.
    fn fill(&mut self, run: Run, number: usize) -> Result<(), String> {
        let Pace::Window(window) = run.pace else { return Ok(()) };
        loop {
            let channel = &self.channels[number];
            if self.tally.closing || channel.sent_ns.len() - channel.completed >= window {
                return Ok(());
            }
            let now_ns = clock::now_ns();
            self.publish(number, now_ns)?;
            self.close_when_due(run, now_ns);
        }
    }

    /// Publishes what is due at the rate that is offered, with the time at which it was due.
    fn publish_due(&mut self, run: Run, rate: u64) -> Result<(), String> {
        let now_ns = clock::now_ns();
        while !self.tally.closing {
            let published = self.tally.published;
            let due_ns = self.tally.began_ns + published * 1_000_000_000 / rate;
            if due_ns > now_ns {
                break;
            }
            self.publish(published as usize % self.channels.len(), due_ns)?;
            self.close_when_due(run, due_ns);
        }
        Ok(())
    }

    fn close_when_due(&mut self, run: Run, now_ns: u64) {
        let over = now_ns - self.tally.began_ns >= run.limit_ms * 1_000_000;
        let full = self.channels[0].log.len() > LOG_BYTES_MAX / self.channels.len();
        self.tally.closing = over || full || self.tally.published >= run.messages_max;
    }

    fn publish(&mut self, number: usize, at_ns: u64) -> Result<(), String> {
        let channel = &mut self.channels[number];
        let message = self.first_number + self.tally.published;
        self.tally.published += 1;
        channel.number(message);
        let dialect = self.setup.dialect;
        dialect.push_expected(&mut channel.log.bytes, &channel.prefix, &channel.payload);
        channel.log.record_bytes = channel.log.bytes.len() / (channel.sent_ns.len() + 1);
        channel.sent_ns.push(at_ns);
        channel.delivered.push(0);
        self.frame.clear();
        dialect.push_published(&mut self.frame, &channel.prefix, &channel.payload);
        // The first reader of a channel is its publisher.
        self.readers[number].send(&self.frame)
    }

    fn stop(&mut self, count: usize) -> Result<(), String> {
        let first = self.readers.len().checked_sub(count).ok_or("so many are not there")?;
        if first < self.channels.len() {
            return Err("a publisher cannot be stopped".to_owned());
        }
        for reader in &mut self.readers[first..] {
            reader.stopped = true;
        }
        Ok(())
    }

    fn stopped_and_closed(&mut self) -> usize {
        let buffer = &mut self.buffer;
        let stopped = self.readers.iter_mut().filter(|reader| reader.stopped);
        stopped.map(|reader| usize::from(reader.read_out(buffer))).sum()
    }
}

impl Channel {
    fn new(setup: &Setup, number: usize) -> Channel {
        Channel {
            log: Log { bytes: Vec::new(), record_bytes: 1 },
            prefix: setup.dialect.prefix(number, setup.channels),
            payload: Vec::new(),
            sent_ns: Vec::new(),
            delivered: Vec::new(),
            completed: 0,
            members: 0,
        }
    }

    fn begin(&mut self, bytes: usize) {
        self.log.bytes.clear();
        self.sent_ns.clear();
        self.delivered.clear();
        self.completed = 0;
        self.members = 0;
        // Letters that change from place to place, so that nothing can be swapped or cut unseen.
        let letters = (b'a'..=b'z').cycle();
        self.payload = letters.take(bytes.max(NUMBER_BYTES)).collect();
    }

    /// Writes the number of a message into its payload.
    fn number(&mut self, mut message: u64) {
        for digit in self.payload[..NUMBER_BYTES].iter_mut().rev() {
            *digit = b'0' + (message % 10) as u8;
            message /= 10;
        }
    }
}

impl Log {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}
