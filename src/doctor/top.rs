//! `elbow top`: what goes on in a running server, each second.
//!
//! What is counted since the start is shown as what was counted since the last look; what is so at
//! the moment is shown as it is. On a terminal the next look is written over the last; otherwise
//! each is a block of its own with an empty line behind it.
//!
//! The surprise: quantiles of the last second are made of two histograms, each of everything since
//! the start, by subtracting bucket from bucket. So they are known to within a doubling.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::Duration;

use super::ask;
use super::status::Status;
use crate::config::Asked;
use crate::text::visible;

/// How long a look lasts.
const INTERVAL: Duration = Duration::from_secs(1);

/// Channels that are shown.
const CHANNELS_SHOWN: usize = 8;
/// Reasons for ends that are shown.
const REASONS_SHOWN: usize = 6;
/// The most characters of a channel's name that are shown.
const NAME_SHOWN: usize = 40;

/// Goes to the first place of the screen.
const HOME: &str = "\x1b[H";
/// Erases what is right of the cursor, and goes to the next line.
const END_OF_LINE: &str = "\x1b[K\n";
/// Erases what is below the cursor.
const ERASE_BELOW: &str = "\x1b[J";

/// Shows what goes on in a server, until nobody reads it any more or the server cannot be asked.
/// Why it cannot, if that is the reason.
pub fn top(asked: &Asked, out: &mut impl Write) -> Option<String> {
    show(asked, out, std::io::stdout().is_terminal(), u64::MAX)
}

/// Shows so many looks.
fn show(asked: &Asked, out: &mut impl Write, is_terminal: bool, looks: u64) -> Option<String> {
    let mut before = match ask(asked) {
        Ok(status) => status,
        Err(why) => return Some(why),
    };
    for _ in 0..looks {
        thread::sleep(INTERVAL);
        let now = match ask(asked) {
            Ok(status) => status,
            Err(why) => return Some(why),
        };
        let text = block(&before, &now);
        let text = match is_terminal {
            true => format!("{HOME}{}{ERASE_BELOW}", text.replace('\n', END_OF_LINE)),
            false => text + "\n",
        };
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            break;
        }
        before = now;
    }
    None
}

/// What two looks have shown, in lines of at most 80 characters but for names.
fn block(before: &Status, now: &Status) -> String {
    let mut text = String::new();
    let lines = [
        head(now),
        sessions(now),
        messages(before, now),
        times("turn", before, now),
        times("fan_out", before, now),
        lags(before, now),
        memory(now),
        reasons(before, now),
    ];
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    for (name, members, lag) in now.channels().into_iter().take(CHANNELS_SHOWN) {
        let name: String = visible(name).to_string().chars().take(NAME_SHOWN).collect();
        let lag = size(lag);
        let _ = writeln!(text, "channel    {name:<NAME_SHOWN$} {members:>7} members, lag {lag}");
    }
    text
}

fn head(now: &Status) -> String {
    let findings = match now.findings().map(|findings| findings.len()) {
        Ok(0) => String::new(),
        Ok(1) => "; 1 finding: elbow doctor".to_owned(),
        Ok(count) => format!("; {count} findings: elbow doctor"),
        Err(_) => String::new(),
    };
    format!("{}, up {}{findings}", now.build(), now.uptime())
}

fn sessions(now: &Status) -> String {
    let kind = |name| now.count(&["connections", name]);
    format!(
        "sessions   {} of {}: {} WebSocket, {} Socket.IO, {} event streams; {} HTTP",
        now.count(&["limits", "sessions", "used"]),
        now.count(&["limits", "sessions", "max"]),
        kind("websocket"),
        kind("socketio"),
        kind("sse"),
        kind("http"),
    )
}

/// How much was counted between two looks, by the second.
fn rate(before: &Status, now: &Status, path: &[&str]) -> u64 {
    let counted = now.count(path).saturating_sub(before.count(path));
    let seconds = now.seconds(&["uptime"]) - before.seconds(&["uptime"]);
    // A server that was started anew between two looks has no rate.
    if seconds > 0.0 { (counted as f64 / seconds).round() as u64 } else { 0 }
}

fn messages(before: &Status, now: &Status) -> String {
    let by = ["websocket", "socketio", "admin", "backplane"];
    let published = by.iter().map(|by| rate(before, now, &["fan_out", "published", by]));
    let published = published.fold(0, u64::saturating_add);
    let of = |name| rate(before, now, &["fan_out", name]);
    format!(
        "messages   {published}/s in, {}/s out; {}/s in, {}/s out",
        of("delivered"),
        size(of("received_bytes")),
        size(of("sent_bytes")),
    )
}

fn times(name: &str, before: &Status, now: &Status) -> String {
    let earlier = before.buckets(name);
    let earlier = |place: usize| earlier.get(place).map_or(0, |(_, count)| *count);
    let later = now.buckets(name);
    let buckets = later.iter().enumerate();
    let buckets: Vec<(f64, u64)> =
        buckets.map(|(at, (bound, count))| (*bound, count.saturating_sub(earlier(at)))).collect();
    let all = now.count(&[name, "count"]).saturating_sub(before.count(&[name, "count"]));
    let quantile = |parts: u128| {
        let is_beyond = |count: u64| u128::from(count) * 100 >= u128::from(all) * parts;
        let found = buckets.iter().find(|(_, count)| is_beyond(*count));
        match found {
            _ if all == 0 => "-".to_owned(),
            Some((bound, _)) => format!("{:.2} ms", bound * 1000.0),
            None => "more".to_owned(),
        }
    };
    let label = name.replace('_', "-");
    format!(
        "{label:<10} {all} times: p50 {}, p99 {}; longest ever {:.2} ms",
        quantile(50),
        quantile(99),
        now.seconds(&[name, "max"]) * 1000.0
    )
}

fn lags(before: &Status, now: &Status) -> String {
    let lag = |name| size(now.count(&["fan_out", "lag", name]));
    let lapped = rate(before, now, &["fan_out", "lapped"]);
    format!(
        "lag        p50 {}, p99 {}, most {}; {lapped}/s lapped",
        lag("p50"),
        lag("p99"),
        lag("max")
    )
}

fn memory(now: &Status) -> String {
    let of = |name| size(now.count(&["memory", name]));
    format!(
        "memory     rings {}, buffers {}, sessions {}, free {}; process {} of {}",
        of("rings"),
        of("buffers"),
        of("sessions"),
        of("free"),
        of("resident"),
        of("ceiling"),
    )
}

/// Why connections have ended since the last look.
fn reasons(before: &Status, now: &Status) -> String {
    let ended = now
        .counts(&["closes"])
        .into_iter()
        .map(|(name, count)| (name, count.saturating_sub(before.count(&["closes", name]))));
    let mut ended: Vec<_> = ended.filter(|(_, count)| *count > 0).collect();
    ended.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    let ended = ended.into_iter().take(REASONS_SHOWN);
    let ended: Vec<_> = ended.map(|(name, count)| format!("{} {count}", visible(name))).collect();
    format!("ended      {}", if ended.is_empty() { "-".to_owned() } else { ended.join(", ") })
}

/// Bytes in words: three digits and a unit.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1000.0 {
            return format!("{value:.*} {unit}", usize::from(value < 10.0 && unit != "B"));
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Status {
        Status::read(text.as_bytes()).expect("a status")
    }

    #[test]
    fn a_block_tells_what_has_changed_between_two_looks() {
        let before = status(
            r#"{"version":1,"build":{"version":"0.1.0"},"uptime":10.0,"findings":[],
                "closes":{"peer_gone":5},
                "turn":{"count":10,"buckets":[[0.001,10],[0.002,10]]},
                "fan_out":{"published":{"websocket":5},"delivered":100,"sent_bytes":0}}"#,
        );
        let now = status(
            r#"{"version":1,"build":{"version":"0.1.0"},"uptime":12.0,
                "findings":[{"id":"a","text":"b","remedy":"c"}],
                "limits":{"sessions":{"max":400,"used":7}},
                "connections":{"websocket":3,"socketio":3,"sse":1,"http":2},
                "closes":{"peer_gone":8,"answered":4},
                "channels":[{"name":"a\u001b[2J","members":{"plain":6,"sse":1},"lag":{"max":2048}}],
                "turn":{"count":20,"max":0.0015,"buckets":[[0.001,14],[0.002,20]]},
                "memory":{"rings":1048576,"resident":20971520,"ceiling":104857600},
                "fan_out":{"published":{"websocket":25},"delivered":300,"sent_bytes":4096,
                    "lapped":2,"lag":{"p50":0,"p99":1024,"max":2048}}}"#,
        );
        let text = block(&before, &now);
        for line in [
            "elbow 0.1.0, up 12 s; 1 finding: elbow doctor",
            "sessions   7 of 400: 3 WebSocket, 3 Socket.IO, 1 event streams; 2 HTTP",
            "messages   10/s in, 100/s out; 0 B/s in, 2.0 KiB/s out",
            "turn       10 times: p50 2.00 ms, p99 2.00 ms; longest ever 1.50 ms",
            "fan-out    0 times: p50 -, p99 -; longest ever 0.00 ms",
            "lag        p50 0 B, p99 1.0 KiB, most 2.0 KiB; 1/s lapped",
            "ended      answered 4, peer_gone 3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(!text.contains('\x1b'), "nobody's name moves the cursor");
        assert!(text.contains("rings 1.0 MiB") && text.contains("process 20 MiB of 100 MiB"));
        let again = block(&now, &now);
        assert!(again.contains("messages   0/s in, 0/s out;") && again.contains("ended      -"));
    }

    #[test]
    fn figures_that_no_server_has_are_shown_and_end_nothing() {
        let most = u64::MAX;
        let figures = |count: u64, uptime: &str| {
            status(&format!(
                r#"{{"version":1,"uptime":{uptime},"closes":{{"a":{count}}},
                    "channels":[{{"name":"x","members":{{"a":{count},"b":{count}}},
                        "lag":{{"max":{count}}}}}],
                    "turn":{{"count":{count},"max":1e308,
                        "buckets":[[-1e308,0],[1e308,{count}]]}},
                    "memory":{{"rings":{count}}},
                    "fan_out":{{"published":{{"websocket":{count},"socketio":{count}}},
                        "delivered":{count},"lapped":{count}}}}}"#
            ))
        };
        let text = block(&figures(0, "1"), &figures(most, "1.0000000001"));
        for part in [format!("messages   {most}/s in, {most}/s out"), format!("{most:>7} members")]
        {
            assert!(text.contains(&part), "{part}\n{text}");
        }
        assert!(text.lines().all(|line| line.len() < 160), "{text}");
        block(&figures(most, "1e308"), &figures(0, "-1e308"));
    }

    #[test]
    fn bytes_are_told_by_three_digits() {
        for (bytes, words) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_023, "1.0 KiB"),
            (20_480, "20 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
