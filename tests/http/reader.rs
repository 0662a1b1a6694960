//! The smallest thing that reads requests from a connection, for the tests of HTTP and for fuzzing.
//!
//! Deals with: a head, its body, the next head, until one is refused or asks to be the last; each
//! is rendered in one line. Leaves to others: answers, time, limits of a body.
//!
//! The surprise: it keeps nothing that depends on how the bytes were cut, so that two readers of
//! the same bytes can be compared.

use elbow::wire::Status;
use elbow::wire::http::{Body, Chunk, FIELDS_MAX, Framing, HeadScan, Version, parse};

/// The status of a request whose body is malformed, whatever is wrong with it.
const MALFORMED: u16 = 400;

/// Reads requests from a connection and renders them.
#[derive(Default)]
struct Reader {
    /// What has arrived and was not consumed.
    input: Vec<u8>,
    scan: HeadScan,
    /// The body that is being read; its request is the last line.
    body: Option<Body>,
    /// A line per request: method, path, query, authority, version, what becomes of the connection,
    /// framing, content. Or the status with which it was refused.
    lines: Vec<String>,
    /// Nothing more is interpreted.
    is_closed: bool,
}

impl Reader {
    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        while !self.is_closed {
            let step = match self.body {
                Some(body) => self.read_body(body),
                None => self.read_head(),
            };
            match step {
                Ok(true) => {}
                Ok(false) => return,
                Err(status) => {
                    self.lines.push(status.to_string());
                    self.is_closed = true;
                }
            }
        }
    }

    /// Whether there was a whole head, or the status of a refusal.
    fn read_head(&mut self) -> Result<bool, u16> {
        let length = match self.scan.advance(&self.input).map_err(|error| error.status())? {
            Status::Complete(length) => length,
            Status::Partial => return Ok(false),
        };
        let mut storage = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let request = parse(&self.input[..length], &mut storage).map_err(|error| error.status())?;
        let query = request.query.map_or(String::new(), |query| format!("?{query}"));
        let version = match request.version {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        let framing = match request.framing {
            Framing::None => "none".to_string(),
            Framing::Length(length) => length.to_string(),
            Framing::Chunked => "chunked".to_string(),
        };
        self.lines.push(format!(
            "{} {}{query} {} {version} {} {framing}{} ",
            request.method.as_str(),
            request.path,
            request.authority.unwrap_or("-"),
            if request.persistent { "stay" } else { "close" },
            if request.expects_continue { " 100" } else { "" },
        ));
        self.is_closed = !request.persistent && request.framing == Framing::None;
        self.body = Some(Body::new(request.framing));
        self.scan = HeadScan::default();
        self.input.drain(..length);
        Ok(true)
    }

    /// Whether the body went on, or the status of a refusal.
    fn read_body(&mut self, mut body: Body) -> Result<bool, u16> {
        let (consumed, chunk) = body.decode(&self.input).map_err(|_| MALFORMED)?;
        let line = self.lines.last_mut().expect("a body has a request");
        let goes_on = match chunk {
            Chunk::Data(data) => {
                // A character per byte, since a code point may be cut.
                line.extend(data.iter().copied().map(char::from));
                true
            }
            Chunk::Partial => false,
            Chunk::End => {
                self.is_closed = line.contains(" close ");
                true
            }
        };
        self.body = if chunk == Chunk::End { None } else { Some(body) };
        self.input.drain(..consumed);
        Ok(goes_on)
    }

    /// The lines; a request that is not over shows as `…`.
    fn finish(mut self) -> Vec<String> {
        if !self.is_closed && (self.body.is_some() || !self.input.is_empty()) {
            self.lines.push("…".to_string());
        }
        self.lines.iter().map(|line| line.trim_end().to_string()).collect()
    }
}

/// What is read if the bytes come in these pieces.
pub(crate) fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<String> {
    let mut reader = Reader::default();
    pieces.into_iter().for_each(|piece| reader.feed(piece));
    reader.finish()
}
