//! The oracle on Socket.IO: what the server reports of sessions, and what it says on their
//! connections.
//!
//! Every unit on a person's connection goes through here: an answer must be one to what was asked,
//! and every packet in it, or in a frame, goes to the session's [`Hearing`](super::hearing).

use core::net::IpAddr;

use elbow::limits;
use elbow::reason::CloseReason;
use elbow::server::Event;

use super::client::{Client, Notice};
use super::climate::Climate;
use super::decode::{Response, Unit};
use super::hearing::Recovery;
use super::oracle::{Later, Oracle};
use super::packet::{self, Packet, Said};
use super::past::Start;
use super::person::{Heard, Person, Purpose};
use super::turns::Speaker;
use super::world::pace::has_stayed;

impl Oracle {
    pub(crate) fn session_event(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        person: &mut Person,
        account: Option<IpAddr>,
        event: &Event,
    ) -> Option<Later> {
        let dialect = person.dialect();
        let hearing = &mut person.hearing;
        match event {
            Event::Opened { channel, .. } => {
                self.came_in(now_ms, climate, person, account, channel);
            }
            Event::Message { text, .. } => self.session_said(now_ms, climate, person, text),
            Event::Lapped { channel, lag_bytes, .. } => {
                hearing.is_lapped = true;
                let feed = climate.settings.limits.feed_bytes;
                let entries = feed / limits::RECORD_BYTES_TYPICAL as u64;
                let records = hearing.missing(&self.channels, channel);
                assert!(
                    *lag_bytes > feed / 2 || records >= entries,
                    "lapped while only {lag_bytes} bytes, {records} records behind"
                );
            }
            Event::Closed { channel, reason, duration, messages_in, messages_out, .. } => {
                hearing.ended(channel, *reason);
                self.parted(now_ms, climate, channel, dialect);
                return Some(Later::Left {
                    person: person.number,
                    channel: channel.clone(),
                    reason: *reason,
                    duration_ms: duration.as_millis(),
                    counts: (*messages_in, *messages_out),
                });
            }
            Event::Unentered { reason, duration, .. } => {
                assert!(!hearing.was_in_any(), "@{} was in a channel", person.number);
                assert!(hearing.end.replace(*reason).is_none(), "it ends once");
                return Some(Later::Left {
                    person: person.number,
                    channel: "".into(),
                    reason: *reason,
                    duration_ms: duration.as_millis(),
                    counts: (0, 0),
                });
            }
            Event::Request(_)
            | Event::Ended { .. }
            | Event::Endpoint { .. }
            | Event::Refused { .. }
            | Event::Denied { .. }
            | Event::Lost { .. }
            | Event::OrderAway
            | Event::OrderBack { .. }
            | Event::OrderTrouble(_)
            | Event::Dropped { .. }
            | Event::Drained => unreachable!("the caller has looked"),
        }
        None
    }

    /// A session's event was published.
    fn session_said(&mut self, now_ms: u64, climate: &Climate, person: &mut Person, text: &str) {
        self.published += 1;
        let saying = person.hearing.published(now_ms, text, climate.order_ms_max.is_some());
        let speaker = Speaker::Person(person.number);
        let roams = person.hearing.channels().count() > 1;
        self.turns.spoke(now_ms, &saying.channel, speaker, roams);
        self.buckets.spoke(now_ms, climate, speaker);
        let (position, is_here) = self.next_place();
        let log = self.channels.get_mut(&saying.channel).expect("it was entered");
        if is_here {
            let spoken = (saying.spoken, position);
            log.push((now_ms, self.turn), Some(&saying.args), spoken, saying.plain);
        }
    }

    /// A session has entered a channel.
    fn came_in(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        person: &mut Person,
        account: Option<IpAddr>,
        channel: &str,
    ) {
        let dialect = person.dialect();
        let hearing = &mut person.hearing;
        self.entered = true;
        let at = (now_ms, climate);
        hearing.entries.opened(at, &person.pass, channel, hearing.unchecked);
        let wish = hearing.returning.get(channel).map(|it| it.wish.clone());
        let reader = (dialect, account);
        let starts = self.joined(now_ms, climate, channel, reader, &wish.unwrap_or_default());
        let goes_on = |start: &&Start| start.recovered == Some(true);
        let place = starts.iter().find(goes_on).map(|start| start.place);
        let recovery = match (place, starts.iter().all(|start| goes_on(&start))) {
            (Some(place), true) => Recovery::Yes(place),
            (Some(place), false) => Recovery::Perhaps(place),
            (None, _) => Recovery::No,
        };
        let log = self.channels.get_mut(channel).expect("it was joined");
        // Who goes on never left, and is greeted by nobody.
        if !matches!(recovery, Recovery::Yes(_)) {
            let uncertain = self.greetings_uncertain || recovery != Recovery::No;
            log.push_greeting(self.turn, climate, channel, uncertain);
        }
        hearing.entered((now_ms, self.turn), channel, log, recovery);
    }

    /// A stay in a channel is over, and everything that was written before is known.
    pub(crate) fn left(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        person: &mut Person,
        clients: &[Client],
        end: Later,
    ) {
        use CloseReason as R;
        let Later::Left { channel, reason, duration_ms, counts, .. } = end else { return };
        self.left += 1;
        self.counted += counts.1;
        let connections = || person.connections.iter().map(|number| &clients[*number]);
        let answers = |client: &Client| {
            let purposes = client.expected.iter().map(|expected| expected.purpose);
            purposes.clone().any(|purpose| matches!(purpose, Purpose::Poll | Purpose::Shake))
        };
        let exact = !connections().any(answers);
        let over = connections().any(|client| client.link.state.borrow().is_over());
        let gave_up = connections().any(|client| client.link.state.borrow().gave_up);
        let closed = connections().any(|client| client.sent_code.is_some());
        let hearing = &mut person.hearing;
        let legitimate = match reason {
            // Of who does not wait it is not known which request is taken in.
            R::PingTimeout => hearing.unchecked || hearing.is_silent(now_ms, climate),
            R::ClosedByClient => {
                closed || hearing.left.contains(&channel) || hearing.reasons.allows(reason)
            }
            R::PeerGone | R::PeerReset | R::SocketFailed => over,
            R::TransportTimeout => gave_up,
            R::ProtocolError | R::MessageTooBig => hearing.reasons.allows(reason),
            R::TooSlow => hearing.is_lapped,
            R::NoMemory => self.scarce,
            // Held against who else is there when it was told.
            R::GaveWay => channel.is_empty(),
            R::GoingAway => {
                let began_ms = connections().next().and_then(|client| client.accepted_at_ms);
                let age_ms = now_ms - began_ms.unwrap_or(now_ms);
                self.drain_began_ms.is_some() || has_stayed(&climate.settings.limits, age_ms)
            }
            R::Disconnected => self.receipts.closes_any(),
            R::Silent => channel.is_empty() && duration_ms >= limits::CONNECT_LIMIT.as_millis(),
            // Its connection's end, which is held against what happened there.
            R::BodyTimeout | R::MessageTimeout => true,
            R::Answered
            | R::ProbeOnly
            | R::ProxyInvalid
            | R::ProxyMissing
            | R::ProxyUntrusted
            | R::ProxyTimeout
            | R::ResponseTimeout
            | R::KeepAliveTimeout
            | R::InvalidText
            | R::CloseTimeout
            | R::MayNotSpeak
            | R::Replaced => false,
            R::TokenExpired => hearing.entries.may_end(&person.pass, now_ms),
            R::MessagesLost => hearing.has_parted(),
            R::BackplaneAway => self.was_away(now_ms),
        };
        let (number, heard_ms) = (person.number, now_ms - hearing.heard_ms());
        assert!(legitimate, "@{number} left {channel}: {reason:?}, heard {heard_ms} ms ago");
        if reason == R::TokenExpired {
            self.count_expired(hearing.phase());
        }
        if !channel.is_empty() {
            hearing.judge_end(&channel, now_ms, duration_ms, counts, exact);
        }
    }

    /// The server has said something on a person's connection.
    pub(crate) fn carried(
        &mut self,
        now_ms: u64,
        client: &mut Client,
        person: &mut Person,
        at: u64,
        unit: Unit,
    ) {
        match unit {
            Unit::Response(response) if response.status == 100 => {
                let posts = client.expected.front().is_some_and(|e| e.purpose == Purpose::Post);
                assert!(posts, "nobody waits to go on");
            }
            Unit::Response(response) => self.engine_response(now_ms, client, person, at, &response),
            Unit::Message { is_text, payload } => {
                let packet = packet::of_frame(person.version, is_text, &payload);
                let is_socket = person.socket == Some(client.number);
                let is_probe = packet == Packet::Text("3probe".to_owned());
                assert!(is_socket || is_probe, "{packet:?} before the upgrade");
                person.hearing.on_socket |= !is_probe;
                self.engine_packet(now_ms, client, person, at, &packet);
            }
            Unit::Ping => panic!("a session has pings of its own"),
            Unit::Pong(_) => panic!("a pong of no ping"),
            Unit::Piece(_) => panic!("a session is no event stream"),
            Unit::Close(code) => {
                client.close_code = Some(code);
                client.notices.push_back((at, Notice::Close(code)));
            }
        }
    }

    fn engine_response(
        &mut self,
        now_ms: u64,
        client: &mut Client,
        person: &mut Person,
        at: u64,
        response: &Response,
    ) {
        let Some((expected, _)) = self.expected(client, response) else { return };
        let hearing = &mut person.hearing;
        let (status, purpose) = (response.status, expected.purpose);
        if purpose == Purpose::Post && status != 200 {
            hearing.refuse(client.number);
        }
        match (purpose, status) {
            (Purpose::Shake, 200) | (Purpose::Socket, 101) => {
                assert!(hearing.opened_at_ms.replace(now_ms).is_none(), "begun twice");
                hearing.accepted_ms = client.accepted_at_ms.expect("it was accepted");
            }
            (Purpose::Poll | Purpose::Post, 400) => {
                let lives = hearing.is_in_any() && !hearing.unchecked;
                assert!(!lives, "@{}: refused although it lives", person.number);
            }
            (Purpose::Poll | Purpose::Post, 500) => assert!(hearing.unchecked, "500"),
            (Purpose::Post, 200) => assert_eq!(response.body, b"ok"),
            (Purpose::Post, 413) => {
                assert!(hearing.reasons.allows(CloseReason::MessageTooBig), "413");
            }
            _ => {}
        }
        if matches!(purpose, Purpose::Shake | Purpose::Poll) && status == 200 {
            // Of two polls at a time the one that was answered before the end may be taken, and so
            // be seen, behind the one that tells of the end.
            let told_close = hearing.told_close;
            hearing.told_close &= !(hearing.unchecked && expected.in_time);
            let told = self.told;
            for packet in packet::of_body(person.version, &response.body) {
                self.engine_packet(now_ms, client, person, at, &packet);
            }
            self.most_polled = self.most_polled.max(self.told - told);
            person.hearing.told_close |= told_close;
        }
        if matches!(purpose, Purpose::Shake | Purpose::Socket) && status == 401 {
            person.hearing.entries.is_refused = true;
        }
        client.notices.push_back((at, Notice::Carried(Heard::Answer(purpose, status))));
        if response.closes {
            client.notices.push_back((at, Notice::LastAnswer));
        }
    }

    fn engine_packet(
        &mut self,
        now_ms: u64,
        client: &mut Client,
        person: &mut Person,
        at: u64,
        packet: &Packet,
    ) {
        self.learn_epoch(person, packet);
        let (said, delivered) = person.hearing.hear(&self.channels, self.turn, packet);
        if let Some(told) = person.hearing.told.take_if(|told| delivered || told.is_position) {
            client.notices.push_back((at, Notice::Carried(Heard::Told(told))));
        }
        self.delivered += u64::from(delivered);
        self.told += u64::from(delivered);
        let heard = match said {
            None | Some(Said::Ack(..) | Said::Noop) => return,
            Some(Said::Open(sid, text)) => {
                self.open_packet(client, person, &sid, &text);
                Heard::Open(sid)
            }
            Some(Said::Close) => Heard::Close,
            Some(Said::Ping) => {
                assert_eq!(person.version, 4, "in protocol 3 clients ping");
                self.pings += 1;
                person.hearing.pinged_at_ms = Some(now_ms);
                Heard::Ping
            }
            Some(Said::Pong(data)) if data == "probe" => {
                person.hearing.proved_on = Some(client.number);
                Heard::Proved
            }
            Some(Said::Pong(_)) => return,
            Some(Said::Connected(channel, pid)) => {
                let asked = person.hearing.returning.get(&channel);
                let goes_on = asked.is_some_and(|asked| Some(&asked.pid) == pid.as_ref());
                Heard::Connected { channel, pid, goes_on }
            }
            Some(Said::Refused(channel, why)) => {
                let is_name = !channel.contains(' ');
                let legitimate = match why.as_str() {
                    // Held against what was reported of the token.
                    "unauthorized" | "forbidden" => true,
                    "Invalid namespace" => !is_name,
                    "Too many namespaces" => true,
                    "The channel is not open yet" => self.may_not_be_open(now_ms, &channel),
                    "Too many channels" => self.channels_scarce,
                    // What the default channel needs is set aside, and a second space is not. Its
                    // stay in the first may be over by now.
                    "Out of memory" => {
                        let hearing = &person.hearing;
                        let is_second = hearing.is_unjudged_in_any()
                            || hearing.was_beside
                            || hearing.end.is_some();
                        // Whoever waits until it is open is noted in a buffer.
                        let may_wait = self.may_not_be_open(now_ms, &channel);
                        self.scarce && (&*channel != "default" || is_second || may_wait)
                    }
                    "Too many channels from this address"
                    | "Too much memory for channels of this \
                     address" => &*channel != "default",
                    _ => false,
                };
                assert!(legitimate, "{channel}: {why}");
                Heard::Refused
            }
            Some(Said::Event(..)) => unreachable!("a record"),
        };
        client.notices.push_back((at, Notice::Carried(heard)));
    }

    /// The first that a reader of Socket.IO is told of a channel is where it is read from, and with
    /// that the epoch.
    fn learn_epoch(&mut self, person: &Person, packet: &Packet) {
        let (Some(channel), Packet::Text(text)) = (person.hearing.placed_next(), packet) else {
            return;
        };
        let offset = text.strip_suffix("\"]").and_then(|rest| rest.rsplit_once(",\""));
        if let Some((_, offset)) = offset.filter(|(_, offset)| offset.contains('.'))
            && text.contains("[\"elbow:position\",")
        {
            self.told_position(channel, person.hearing.life(channel), offset);
        }
    }

    fn open_packet(&self, client: &Client, person: &Person, sid: &str, text: &str) {
        let [interval_ms, timeout_ms, most] = self.announced;
        let upgrades = if client.is_socket { "" } else { "\"websocket\"" };
        let most = match person.version {
            4 => format!(",\"maxPayload\":{most}"),
            _ => String::new(),
        };
        let expected = format!(
            "0{{\"sid\":\"{sid}\",\"upgrades\":[{upgrades}],\"pingInterval\":{interval_ms},\
             \"pingTimeout\":{timeout_ms}{most}}}"
        );
        assert_eq!(text, expected);
    }
}
