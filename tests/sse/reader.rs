//! What a browser makes of a stream of server-sent events (WHATWG HTML, section 9.2.6), for the
//! tests of the codec and for fuzzing.
//!
//! Deals with: the algorithm of the specification, sentence by sentence. Leaves to others: HTTP,
//! and coming back.
//!
//! The surprise: it shares nothing with what it reads. It knows nothing of positions, and takes
//! line ends, fields and values that no stream of ours has.

/// An event as a page hears it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Event {
    /// The type of the event: `message` if the stream has said none.
    pub(crate) kind: String,
    /// The data, its lines joined with line feeds.
    pub(crate) data: String,
    /// The id of the last event that had one, as the page sees it.
    pub(crate) id: String,
}

/// What a browser has heard and what it keeps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Heard {
    /// The events that were dispatched.
    pub(crate) events: Vec<Event>,
    /// The id that is sent as `Last-Event-ID`.
    pub(crate) last_id: String,
    /// The time to wait before coming back, if it was said.
    pub(crate) retry_ms: Option<u64>,
}

/// Reads a whole stream. What is behind its last empty line is an event that was cut, and is
/// dropped.
pub(crate) fn hear(stream: &str) -> Heard {
    let mut heard = Heard::default();
    let (mut kind, mut data, mut id) = (String::new(), String::new(), String::new());
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    for line in lines(stream) {
        if line.is_empty() {
            heard.last_id = id.clone();
            if data.is_empty() {
                kind.clear();
                continue;
            }
            if data.ends_with('\n') {
                data.pop();
            }
            let kind_or_default = if kind.is_empty() { "message" } else { &kind };
            heard.events.push(Event {
                kind: kind_or_default.to_owned(),
                data: std::mem::take(&mut data),
                id: id.clone(),
            });
            kind.clear();
            continue;
        }
        if line.starts_with(':') {
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value.to_owned(),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = value.to_owned(),
            "retry" if value.bytes().all(|digit| digit.is_ascii_digit()) => {
                heard.retry_ms = value.parse().ok();
            }
            _ => {}
        }
    }
    heard
}

/// The lines that have ended: by CR, by LF, or by both together.
fn lines(stream: &str) -> impl Iterator<Item = &str> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let end = rest.find(['\r', '\n'])?;
        let line = &rest[..end];
        let end_bytes = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + end_bytes..];
        Some(line)
    })
}
