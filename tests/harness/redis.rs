//! A model of Redis, as far as a backplane asks it for anything: streams, and what goes wrong with
//! them.
//!
//! ```text
//!   let mut redis = Redis::new(1_795_000_000_000);
//!   let conn = redis.connect();
//!   redis.feed(conn, b"*1\r\n$4\r\nPING\r\n");      whole requests are carried out
//!   assert_eq!(redis.take_output(conn), b"+PONG\r\n");
//!   redis.pass(1000);                               its clock, blocked requests, times to live
//! ```
//!
//! Only the commands that managed services grant are known. Ranges that leave their end out are
//! refused, as Redis 5 does. `MAXLEN ~` drops whole nodes of 100 entries. A state can be copied and
//! put back, which is a failover to a replica that lags behind. Beside what it keeps, a stream has
//! everything that was added in this history, for an oracle to look at.

use std::collections::{BTreeMap, VecDeque};

use elbow::hub::backplane::EntryId;

/// Entries of a node, of which only whole ones are dropped.
const NODE_ENTRIES: usize = 100;

/// Why Redis takes nothing at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// `maxmemory` is reached.
    OutOfMemory,
    /// The server has become a replica.
    ReadOnly,
    /// The server reads its data from disk.
    Loading,
    /// The server cannot save.
    CannotSave,
}

/// The name and value of an entry's fields, in a row.
pub(crate) type Fields = Vec<Vec<u8>>;

/// A stream.
#[derive(Clone, Default, Debug)]
pub(crate) struct Stream {
    nodes: VecDeque<Vec<(EntryId, Fields)>>,
    pub(crate) last: EntryId,
    pub(crate) expires_at_ms: Option<u64>,
    /// All that was ever added.
    pub(crate) all: Vec<(EntryId, Fields)>,
}

impl Stream {
    fn entries(&self) -> impl DoubleEndedIterator<Item = &(EntryId, Fields)> {
        self.nodes.iter().flatten()
    }

    fn len(&self) -> usize {
        self.nodes.iter().map(Vec::len).sum()
    }

    fn trim(&mut self, kept: usize) {
        while self.nodes.front().is_some_and(|node| self.len() - node.len() >= kept) {
            self.nodes.pop_front();
        }
    }
}

/// All that a server keeps.
#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    pub(crate) streams: BTreeMap<Vec<u8>, Stream>,
}

/// An XREAD that waits.
#[derive(Debug)]
struct Blocked {
    until_ms: u64,
    count: usize,
    from: Vec<(Vec<u8>, EntryId)>,
}

#[derive(Default, Debug)]
struct Connection {
    input: Vec<u8>,
    output: Vec<u8>,
    blocked: Option<Blocked>,
    is_known: bool,
    /// What the connection sees, if it leads to a server that nobody else writes to any more.
    frozen: Option<State>,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) now_ms: u64,
    pub(crate) state: State,
    connections: Vec<Option<Connection>>,
    refusal: Option<Refusal>,
    /// The user and the password that AUTH has to give.
    pub(crate) password: Option<(Vec<u8>, Vec<u8>)>,
    /// Where every request is sent on to.
    pub(crate) moved_to: Option<String>,
}

impl Redis {
    /// A server without data.
    pub(crate) fn new(now_ms: u64) -> Redis {
        Redis {
            now_ms,
            state: State::default(),
            connections: Vec::new(),
            refusal: None,
            password: None,
            moved_to: None,
        }
    }

    pub(crate) fn connect(&mut self) -> usize {
        let is_known = self.password.is_none();
        self.connections.push(Some(Connection { is_known, ..Connection::default() }));
        self.connections.len() - 1
    }

    /// A connection is gone; returns what had come on it and was not carried out.
    pub(crate) fn disconnect(&mut self, conn: usize) -> Vec<u8> {
        self.connections[conn].take().map_or(Vec::new(), |connection| connection.input)
    }

    pub(crate) fn is_connected(&self, conn: usize) -> bool {
        self.connections[conn].is_some()
    }

    /// Bytes arrive. What is whole is carried out.
    pub(crate) fn feed(&mut self, conn: usize, bytes: &[u8]) {
        if let Some(connection) = &mut self.connections[conn] {
            connection.input.extend_from_slice(bytes);
        }
        self.serve(conn);
    }

    /// Carries out what came on a connection that is no more.
    pub(crate) fn feed_late(&mut self, bytes: &[u8]) {
        let conn = self.connect();
        self.connection(conn).is_known = true;
        self.feed(conn, bytes);
        self.disconnect(conn);
    }

    pub(crate) fn take_output(&mut self, conn: usize) -> Vec<u8> {
        self.connections[conn]
            .as_mut()
            .map_or(Vec::new(), |connection| std::mem::take(&mut connection.output))
    }

    /// Time goes by.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        self.state.streams.retain(|_, stream| stream.expires_at_ms.is_none_or(|at| at > now_ms));
        for conn in 0..self.connections.len() {
            self.wake(conn);
        }
    }

    pub(crate) fn refuse(&mut self, refusal: Option<Refusal>) {
        self.refusal = refusal;
    }

    pub(crate) fn flush_all(&mut self) {
        self.state = State::default();
    }

    /// A connection sees no change any more, as if its server had been left behind.
    pub(crate) fn freeze(&mut self, conn: usize) {
        let state = self.state.clone();
        self.connection(conn).frozen = Some(state);
    }

    /// A connection sees nothing, as if it led to a server where nobody has said anything.
    pub(crate) fn split(&mut self, conn: usize) {
        self.connection(conn).frozen = Some(State::default());
    }

    /// Drops all but some of the newest entries of a stream, node or not.
    pub(crate) fn cut(&mut self, key: &[u8], kept: usize) {
        let Some(stream) = self.state.streams.get_mut(key) else { return };
        let from = stream.len().saturating_sub(kept);
        let rest: Vec<_> = stream.entries().skip(from).cloned().collect();
        stream.nodes = VecDeque::from([rest]);
    }

    fn connection(&mut self, conn: usize) -> &mut Connection {
        self.connections[conn].as_mut().expect("the connection is there")
    }

    fn serve(&mut self, conn: usize) {
        loop {
            let Some(connection) = &mut self.connections[conn] else { return };
            if connection.blocked.is_some() {
                return;
            }
            let Some((used, request)) = parse(&connection.input) else { return };
            connection.input.drain(..used);
            let wrote = self.carry_out(conn, &request);
            if let Some(reply) = wrote {
                self.connection(conn).output.extend_from_slice(&reply);
            }
            if request[0] == b"XADD" {
                for other in 0..self.connections.len() {
                    self.wake(other);
                }
            }
        }
    }

    /// Answers a request that waited, if it may be by now, and goes on behind it.
    fn wake(&mut self, conn: usize) {
        let Some(connection) = &self.connections[conn] else { return };
        let Some(blocked) = &connection.blocked else { return };
        let state = connection.frozen.as_ref().unwrap_or(&self.state);
        let reply = match read(state, &blocked.from, blocked.count) {
            Some(reply) => reply,
            None if blocked.until_ms <= self.now_ms => b"*-1\r\n".to_vec(),
            None => return,
        };
        let connection = self.connection(conn);
        connection.blocked = None;
        connection.output.extend_from_slice(&reply);
        self.serve(conn);
    }

    /// `None`: the answer comes later.
    fn carry_out(&mut self, conn: usize, request: &[Vec<u8>]) -> Option<Vec<u8>> {
        let parts: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        let is_known = self.connection(conn).is_known;
        if let [b"AUTH", credentials @ ..] = &parts[..] {
            return Some(self.authenticate(conn, credentials));
        }
        if !is_known {
            return Some(error("NOAUTH Authentication required."));
        }
        if let Some(refused) = self.refusal_of(parts[0]) {
            return Some(error(refused));
        }
        if let Some(address) = &self.moved_to {
            return Some(error(&format!("MOVED 3999 {address}")));
        }
        match &parts[..] {
            [b"PING"] => Some(b"+PONG\r\n".to_vec()),
            [b"SELECT", _] => Some(b"+OK\r\n".to_vec()),
            [b"EXPIRE", key, seconds] => {
                let expires_at_ms = Some(self.now_ms + number(seconds) * 1000);
                let stream = self.state.streams.get_mut(*key);
                let is_there = stream.map(|stream| stream.expires_at_ms = expires_at_ms).is_some();
                Some(format!(":{}\r\n", u8::from(is_there)).into_bytes())
            }
            [b"XADD", key, b"MAXLEN", rest @ ..] => Some(self.add(key, rest)),
            [b"XRANGE", key, from, to, b"COUNT", count] => {
                Some(self.range(conn, key, (from, to), number(count), false))
            }
            [b"XREVRANGE", key, to, from, b"COUNT", count] => {
                Some(self.range(conn, key, (from, to), number(count), true))
            }
            [b"XREAD", b"COUNT", count, b"BLOCK", ms, b"STREAMS", rest @ ..] => {
                self.begin_read(conn, number(count), Some(number(ms)), rest)
            }
            [b"XREAD", b"COUNT", count, b"STREAMS", rest @ ..] => {
                self.begin_read(conn, number(count), None, rest)
            }
            other => {
                let text = String::from_utf8_lossy(other[0]);
                Some(error(&format!("ERR unknown command `{text}`")))
            }
        }
    }

    fn authenticate(&mut self, conn: usize, credentials: &[&[u8]]) -> Vec<u8> {
        let given = match credentials {
            [password] => (&b"default"[..], *password),
            [user, password] => (*user, *password),
            _ => return error("ERR wrong number of arguments for 'auth' command"),
        };
        match &self.password {
            Some((user, password)) if given == (&user[..], &password[..]) => {
                self.connection(conn).is_known = true;
                b"+OK\r\n".to_vec()
            }
            Some(_) => error("WRONGPASS invalid username-password pair or user is disabled."),
            None => error("ERR AUTH <password> called without any password configured"),
        }
    }

    fn refusal_of(&self, command: &[u8]) -> Option<&'static str> {
        let adds = command == b"XADD";
        let writes = adds || command == b"EXPIRE";
        let (concerned, text) = match self.refusal? {
            Refusal::OutOfMemory => {
                (adds, "OOM command not allowed when used memory > 'maxmemory'.")
            }
            Refusal::ReadOnly => (writes, "READONLY You can't write against a read only replica."),
            Refusal::CannotSave => (writes, "MISCONF Redis is configured to save RDB snapshots"),
            Refusal::Loading => (true, "LOADING Redis is loading the dataset in memory"),
        };
        concerned.then_some(text)
    }

    fn add(&mut self, key: &[u8], rest: &[&[u8]]) -> Vec<u8> {
        let (is_exact, kept, fields) = match rest {
            [b"~", kept, b"*", fields @ ..] => (false, number(kept), fields),
            [kept, b"*", fields @ ..] => (true, number(kept), fields),
            _ => return error("ERR syntax error"),
        };
        if fields.is_empty() || fields.len() % 2 > 0 {
            return error("ERR wrong number of arguments for 'xadd' command");
        }
        let stream = self.state.streams.entry(key.to_vec()).or_default();
        let id = if self.now_ms > stream.last.ms {
            EntryId { ms: self.now_ms, seq: 0 }
        } else {
            stream.last.next().expect("ids do not come to an end")
        };
        stream.last = id;
        let fields: Fields = fields.iter().map(|field| field.to_vec()).collect();
        if stream.nodes.back().is_none_or(|node| node.len() >= NODE_ENTRIES) {
            stream.nodes.push_back(Vec::new());
        }
        stream.nodes.back_mut().expect("there is one").push((id, fields.clone()));
        stream.all.push((id, fields));
        let kept = usize::try_from(kept).expect("a small number");
        if is_exact {
            self.cut(key, kept);
        } else {
            stream.trim(kept);
        }
        bulk(id.to_string().as_bytes())
    }

    fn range(
        &mut self,
        conn: usize,
        key: &[u8],
        (from, to): (&[u8], &[u8]),
        count: u64,
        reversed: bool,
    ) -> Vec<u8> {
        let largest = EntryId { ms: u64::MAX, seq: u64::MAX };
        let bound = |text: &[u8]| match text {
            b"-" => Some(EntryId::ZERO),
            b"+" => Some(largest),
            text => EntryId::parse(text),
        };
        let (Some(from), Some(to)) = (bound(from), bound(to)) else {
            return error("ERR Invalid stream ID specified as stream command argument");
        };
        let connection = self.connections[conn].as_ref().expect("it asks");
        let state = connection.frozen.as_ref().unwrap_or(&self.state);
        let entries = state.streams.get(key).map(Stream::entries);
        let within = entries.into_iter().flatten().filter(|(id, _)| (from..=to).contains(id));
        let count = usize::try_from(count).expect("a small number");
        let found: Vec<_> = if reversed {
            within.rev().take(count).collect()
        } else {
            within.take(count).collect()
        };
        entries_reply(&found)
    }

    fn begin_read(
        &mut self,
        conn: usize,
        count: u64,
        block_ms: Option<u64>,
        rest: &[&[u8]],
    ) -> Option<Vec<u8>> {
        let (keys, ids) = rest.split_at(rest.len() / 2);
        let connection = self.connections[conn].as_ref().expect("it asks");
        let state = connection.frozen.as_ref().unwrap_or(&self.state);
        let mut from = Vec::new();
        for (key, id) in keys.iter().zip(ids) {
            let id = match *id {
                b"$" => state.streams.get(*key).map_or(EntryId::ZERO, |stream| stream.last),
                id => match EntryId::parse(id) {
                    Some(id) => id,
                    None => return Some(error("ERR Invalid stream ID")),
                },
            };
            from.push((key.to_vec(), id));
        }
        let count = usize::try_from(count).expect("a small number");
        let reply = read(state, &from, count);
        match (reply, block_ms) {
            (Some(reply), _) => Some(reply),
            (None, None) => Some(b"*-1\r\n".to_vec()),
            (None, Some(ms)) => {
                let until_ms = self.now_ms + ms;
                self.connection(conn).blocked = Some(Blocked { until_ms, count, from });
                None
            }
        }
    }
}

/// What an XREAD finds; `None`: nothing.
fn read(state: &State, from: &[(Vec<u8>, EntryId)], count: usize) -> Option<Vec<u8>> {
    let mut streams = Vec::new();
    let mut found_streams = 0;
    for (key, last) in from {
        let entries = state.streams.get(key).map(Stream::entries);
        let found: Vec<_> =
            entries.into_iter().flatten().filter(|(id, _)| id > last).take(count).collect();
        if !found.is_empty() {
            found_streams += 1;
            streams.extend_from_slice(b"*2\r\n");
            streams.extend_from_slice(&bulk(key));
            streams.extend_from_slice(&entries_reply(&found));
        }
    }
    let head = format!("*{found_streams}\r\n").into_bytes();
    (found_streams > 0).then(|| [head, streams].concat())
}

fn entries_reply(entries: &[&(EntryId, Fields)]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", entries.len()).into_bytes();
    for (id, fields) in entries {
        out.extend_from_slice(b"*2\r\n");
        out.extend_from_slice(&bulk(id.to_string().as_bytes()));
        out.extend_from_slice(format!("*{}\r\n", fields.len()).as_bytes());
        for field in fields {
            out.extend_from_slice(&bulk(field));
        }
    }
    out
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

fn number(text: &[u8]) -> u64 {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a number")
}

/// The first request of `bytes`, if it is whole, and how many bytes it has.
pub(crate) fn parse(bytes: &[u8]) -> Option<(usize, Vec<Vec<u8>>)> {
    let mut at = 0;
    let line = |at: &mut usize, kind: u8| {
        let rest = &bytes[*at..];
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        rest.get(end + 1)?;
        assert_eq!(rest[0], kind, "a request is an array of bulk strings");
        *at += end + 2;
        Some(usize::try_from(number(&rest[1..end])).expect("a small number"))
    };
    let parts = line(&mut at, b'*')?;
    let mut request = Vec::new();
    for _ in 0..parts {
        let length = line(&mut at, b'$')?;
        let part = bytes.get(at..at + length)?;
        assert!(bytes.get(at + length..at + length + 2)? == b"\r\n", "a part ends in CRLF");
        request.push(part.to_vec());
        at += length + 2;
    }
    Some((at, request))
}
