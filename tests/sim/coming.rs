//! The oracle on those who come, and come back: where each begins to read, what a plain WebSocket
//! is given from there on, and who is turned away.
//!
//! What must come of a wish follows from what the channel has had so far ([`super::past`]), in the
//! moment of the event that tells of it. Besides, each client that comes back holds what it has
//! taken on one connection against what it takes on the next ([`Notice::Began`],
//! [`Notice::Told`]).

use core::net::IpAddr;
use std::borrow::Cow;

use elbow::id::Dialect;
use elbow::limits;
use elbow::reason::CloseReason;

use super::client::{Client, Message, Notice, Session};
use super::climate::Climate;
use super::hearing::Log;
use super::oracle::{Oracle, Return};
use super::past::{Allowed, Heads, Start};
use super::stream::{self, Piece};
use super::wish::{Trail, Wish};

impl Oracle {
    /// Somebody has come into a channel, in a dialect and on somebody's account. Where it may
    /// begin.
    pub(crate) fn joined(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        channel: &str,
        (dialect, account): (Dialect, Option<IpAddr>),
        wish: &Wish,
    ) -> Vec<Start> {
        let limits = &climate.settings.limits;
        let log = self.channels.entry(channel.into()).or_default();
        // Whoever comes at the moment at which a channel is over finds another, although the
        // server has not looked yet whose time has come.
        log.past.end_if_over(now_ms, limits);
        let heads = Heads { plain: log.plain.len(), spoken: log.spoken.len() };
        let memory = (heads, self.scarce);
        let outlived = log.past.over_ms(limits).is_some() && wish.since.is_some();
        let starts = log.past.prospects(now_ms, limits, dialect, wish, memory);
        let costs = costs(&starts);
        let allowed = self.replays.allow(now_ms, limits, account, costs);
        let log_newest = log.past.newest();
        log.past.join(dialect, memory, allowed, climate.settings.recovers());
        match allowed {
            // A ring that is not paid for is not filled.
            Allowed::No => {}
            Allowed::Perhaps => self.replays.take(now_ms, limits, account, (0, costs.1)),
            Allowed::Yes => self.replays.take(now_ms, limits, account, costs),
        }
        if dialect.is_socketio() {
            return self.rejoined(starts, allowed, log_newest, outlived, wish);
        }
        let is_paid = allowed != Allowed::No || !wish.wants_past();
        assert!(is_paid, "{account:?} is sent more than its share");
        let may_open = |start: &Start| !wish.strict || start.recovered != Some(false);
        assert!(starts.iter().any(may_open), "what is gone was wanted: {wish:?}");
        assert!(!wish.is_malformed, "{wish:?} was understood");
        let Start { recovered, missed, .. } = starts[0];
        let is_stream = dialect == Dialect::EventStream;
        for (what, is_so) in [
            (Return::Recovered, recovered == Some(true)),
            (Return::Joined, recovered == Some(true) && missed > 0 && wish.is_own),
            (Return::Lost, recovered == Some(false)),
            (Return::Newest, recovered != Some(true) && missed > 0),
            (Return::Outlived, outlived && recovered == Some(true)),
            (Return::StreamJoined, is_stream && recovered == Some(true) && missed > 0),
            (Return::StreamReset, is_stream && recovered == Some(false)),
        ] {
            self.returned[what as usize] += u64::from(is_so);
        }
        starts
    }

    /// A session has come into a channel, with so many messages. Where it may begin: whoever comes
    /// back and is not sent what it has missed, since its address had its share, is told so.
    fn rejoined(
        &mut self,
        mut starts: Vec<Start>,
        allowed: Allowed,
        newest: u64,
        outlived: bool,
        wish: &Wish,
    ) -> Vec<Start> {
        let has_missed = |start: &&Start| start.recovered == Some(true) && start.number < newest;
        if allowed != Allowed::Yes
            && let Some(start) = starts.iter().find(has_missed).copied()
        {
            starts.push(Start { recovered: Some(false), number: newest, ..start });
        }
        if allowed == Allowed::No {
            starts.retain(|start| !has_missed(&start));
        }
        let Start { recovered, number, .. } = starts[0];
        let is_recovered = recovered == Some(true);
        for (what, is_so) in [
            (Return::SessionRecovered, is_recovered),
            (Return::SessionJoined, is_recovered && wish.is_own && number < newest),
            (Return::SessionLost, recovered == Some(false)),
            (Return::SessionOutlived, is_recovered && outlived),
        ] {
            self.returned[what as usize] += u64::from(is_so);
        }
        starts
    }

    /// Somebody is no longer in a channel.
    pub(crate) fn parted(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        channel: &str,
        dialect: Dialect,
    ) {
        let log = self.channels.get_mut(channel).expect("it was there");
        log.past.leave(now_ms, &climate.settings.limits, dialect);
    }

    /// The server has served its deadlines: of the channels without members those are over whose
    /// time has come. How many that were.
    pub(crate) fn end_channels(&mut self, now_ms: u64, climate: &Climate) -> usize {
        let limits = &climate.settings.limits;
        let logs = self.channels.values_mut();
        logs.filter_map(|log| log.past.end_if_over(now_ms, limits).then_some(())).count()
    }

    /// Somebody got an answer of this status. If it was refused what it wanted, it had to be, or
    /// could be.
    pub(crate) fn turned_away(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        client: &Client,
        status: u16,
    ) {
        let what = match status {
            410 => Return::Gone,
            429 => Return::OverShare,
            200 if client.is_stream && client.is_over_share => Return::PutOff,
            // The head of a stream, which is that of one that could be read.
            200 if client.asks_for_head => Return::Recovered,
            _ => return,
        };
        let (limits, wish) = (&climate.settings.limits, &client.wish);
        let mut nothing = Log::default();
        let log = self.channels.get_mut(&*client.channel_name(climate)).unwrap_or(&mut nothing);
        // Whoever asks at the moment at which a channel is over ends it.
        log.past.end_if_over(now_ms, limits);
        let heads = Heads { plain: log.plain.len(), spoken: log.spoken.len() };
        let memory = (heads, self.scarce);
        let starts = log.past.prospects(now_ms, limits, client.dialect(), wish, memory);
        let is_gone = |start: &Start| start.recovered == Some(false);
        if client.asks_for_head && status == 200 {
            // That a ring which is still to be filled will hold less than is kept is not known.
            let is_kept = !log.past.has_ring(client.dialect())
                && wish.since.as_ref().is_some_and(|it| log.past.keeps(now_ms, limits, it));
            // Of a channel that is not open here nothing is known that is said elsewhere.
            let may_read =
                !wish.strict || is_kept || self.is_ordered_elsewhere || !starts.iter().all(is_gone);
            assert!(may_read && !wish.is_malformed, "a head of what nobody gets: {wish:?}");
            return;
        }
        self.returned[what as usize] += 1;
        if what == Return::Gone {
            let is_gone = starts.iter().any(is_gone);
            assert!(wish.strict && is_gone, "410, but it is kept: {wish:?} {starts:?}");
            // That the ring holds less than what is kept may have been found by filling it.
            if !client.asks_for_head && !log.past.has_ring(client.dialect()) {
                let costs = (0, costs(&starts).1);
                self.replays.take(now_ms, limits, client.account(climate), costs);
            }
        } else {
            let account = client.account(climate);
            let allowed = self.replays.allow(now_ms, limits, account, costs(&starts));
            assert_ne!(allowed, Allowed::Yes, "{account:?} has a share left: {starts:?}");
        }
    }

    /// A plain WebSocket is told that it is one.
    pub(crate) fn begun(&self, client: &mut Client, at: u64) {
        let Some(session) = client.session.as_ref().filter(|_| !client.is_positioned) else {
            return;
        };
        // Where it begins is not told, and known only if there is but one place.
        if let [start] = session.starts[..] {
            let began = session.began(&start);
            client.notices.push_back((at, began));
        }
    }

    /// A plain WebSocket is given the next message of its channel, or told where it begins.
    pub(crate) fn framed(&mut self, client: &mut Client, at: u64, is_text: bool, whole: &[u8]) {
        let session = client.session.as_mut().expect("frames come in sessions");
        if client.is_positioned && !session.is_greeted {
            let notice = self.greeted(session, is_text, whole);
            return client.notices.push_back((at, notice));
        }
        let is_notice = client.is_positioned && whole.first() == Some(&b'\n');
        let (position, payload) = match client.is_positioned && !is_notice {
            true => split(whole),
            false => (None, whole),
        };
        self.delivered(client, at, position, (is_text, is_notice), payload);
    }

    /// A reader is given the next message of its channel, with its position if it is told that, or
    /// a notice that something is lost.
    fn delivered(
        &mut self,
        client: &mut Client,
        at: u64,
        position: Option<&str>,
        (is_text, is_notice): (bool, bool),
        payload: &[u8],
    ) {
        let form = match client.is_stream {
            true => stream::read,
            false => |message: &Message| Cow::Owned(message.payload.to_vec()),
        };
        let session = client.session.as_mut().expect("messages come in sessions");
        let log = &self.channels[&session.channel];
        let is_it = |place: usize| {
            let known = log.plain.get(place).filter(|_| log.gaps.contains(&place) == is_notice);
            known.is_some_and(|known| known.is_text == is_text && *form(known) == *payload)
        };
        session.turn_to(is_it);
        let place = session.joined + session.got;
        assert_eq!(log.gaps.contains(&place), is_notice, "message {place} of {}", session.channel);
        let expected = log.plain.get(place).expect("a message that nobody published");
        assert_eq!(is_text, expected.is_text, "message {place} of {}", session.channel);
        assert!(
            *payload == *form(expected),
            "message {place} of {} is {:?} and not {:?}",
            session.channel,
            String::from_utf8_lossy(payload),
            String::from_utf8_lossy(&expected.payload),
        );
        let number = log.plain_numbers[place];
        if (client.is_positioned || client.is_stream) && !is_notice {
            let known = log.past.position(session.life, number);
            assert_eq!(position, known.as_deref(), "message {place} of {}", session.channel);
        }
        let may_be = |begun: &usize| log.plain.get(begun + session.got) == Some(expected);
        session.may_have_joined.retain(may_be);
        session.got += 1;
        session.got_turn = self.turn;
        self.delivered += 1;
        if session.starts.len() == 1 {
            let told = Trail { life: session.life, number, place: place + 1 };
            client.notices.push_back((at, Notice::Told(told)));
        }
    }

    /// A reader of positions is told where it begins.
    fn greeted(&mut self, session: &mut Session, is_text: bool, payload: &[u8]) -> Notice {
        let text = core::str::from_utf8(payload).expect("the server speaks text");
        assert!(is_text, "{text:?} is no text");
        let position = text.split("\"position\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let position = position.expect(text);
        self.told_position(&session.channel, session.life, position);
        let channel = session.channel.clone();
        let (past, life) = (&self.channels[&channel].past, session.life);
        let greeting = |start: &Start| {
            let Start { recovered, number, missed, .. } = start;
            let recovered =
                recovered.map_or(String::new(), |is_so| format!(",\"recovered\":{is_so}"));
            let position = past.position(life, *number).expect("it is known by now");
            format!(
                "\n{{\"channel\":\"{channel}\",\"position\":\"{position}\"{recovered},\
                 \"missed\":{missed}}}"
            )
        };
        session.begins_as(text, greeting)
    }

    /// A reader is told a position of a life of a channel, and with that its epoch, which is no
    /// other's. Where the order is decided elsewhere, there is none.
    pub(crate) fn told_position(&mut self, channel: &str, life: usize, position: &str) {
        let log = self.channels.get_mut(channel).expect("it was joined");
        if log.past.is_of_stream(life) {
            return;
        }
        let (epoch, _) = position.split_once('.').expect(position);
        if log.past.told_epoch(life, epoch) {
            assert!(self.epochs.insert(epoch.into()), "two lives have the epoch {epoch}");
        }
    }

    /// Something is said in an event stream, which ends at `at`.
    pub(crate) fn piece(&mut self, now_ms: u64, client: &mut Client, at: u64, piece: &Piece) {
        match piece {
            Piece::Retry(retry_ms) => {
                let least = limits::RETRY_MIN.as_millis();
                let most = least + limits::RETRY_SPREAD_MAX.as_millis();
                assert!((least..most).contains(retry_ms), "{retry_ms} ms");
                let is_put_off = client.session.as_mut().map(|session| &mut session.is_put_off);
                let is_put_off = is_put_off.unwrap_or(&mut client.refused_for_later);
                assert!(!core::mem::replace(is_put_off, true), "told twice when to come back");
                return;
            }
            Piece::End => match &mut client.session {
                Some(session) => return session.close_code = Some(None),
                None => return assert!(client.refused_for_later, "put off for ever"),
            },
            Piece::Begins(_) | Piece::Lost(_) | Piece::Told { .. } | Piece::Comment => {}
        }
        let session = client.session.as_mut().expect("whoever is put off is told nothing else");
        match piece {
            Piece::Lost(position) if session.is_greeted => {
                let notice = format!("\n{{\"lost\":true,\"position\":\"{position}\"}}");
                self.delivered(client, at, None, (true, true), notice.as_bytes());
            }
            Piece::Begins(position) | Piece::Lost(position) => {
                assert!(!session.is_greeted, "a stream begins once");
                self.told_position(&session.channel, session.life, position);
                let (past, life) = (&self.channels[&session.channel].past, session.life);
                let words = |is_lost: bool, position: &str| format!("{position}, lost: {is_lost}");
                let said = words(matches!(piece, Piece::Lost(_)), position);
                let beginning = |start: &Start| {
                    let position = past.position(life, start.number).unwrap_or_default();
                    words(start.recovered == Some(false), &position)
                };
                let notice = session.begins_as(&said, beginning);
                client.notices.push_back((at, notice));
            }
            Piece::Told { position, is_text, payload } => {
                assert!(session.is_greeted, "a message before the beginning");
                self.delivered(client, at, Some(position), (*is_text, false), payload);
            }
            Piece::Comment => {
                assert!(session.is_greeted, "a comment before the beginning");
                self.pings += 1;
                session.pinged_at_ms = Some(now_ms);
                session.pings += 1;
            }
            Piece::Retry(_) | Piece::End => unreachable!("it was looked at"),
        }
    }

    /// An event stream is over: in order, so that its client comes back, or cut.
    pub(crate) fn last_chunk(&self, client: &Client, reason: CloseReason) {
        use CloseReason as R;
        let Some(session) = &client.session else { return };
        let state = client.link.state.borrow();
        let said = session.close_code.is_some();
        let is_cut = reason != R::TooSlow || (state.cut && !said);
        assert!(is_cut, "who is overtaken is cut");
        let must_say = [R::GoingAway, R::NoMemory, R::ProtocolError].contains(&reason);
        // Before its head there is nobody to tell.
        let untold = state.cut || (reason == R::NoMemory && client.answered == 0);
        if must_say && !untold {
            assert!(said, "a stream without an end: {reason:?}");
            assert!(session.is_put_off || self.scarce, "nobody said when to come back");
        }
    }

    /// How many messages a session has not been given yet, at least.
    pub(crate) fn behind(&self, session: &Session) -> usize {
        let joined = session.may_have_joined.iter().max().expect("it has begun somewhere");
        let (log, place) = (&self.channels[&session.channel], joined + session.got);
        let head = if session.parted_ms.is_some() { log.reach(place) } else { log.plain.len() };
        head - place
    }

    /// A position that some reader of a channel could know: of the life that goes on or one before,
    /// one that was given out or a later one, often at the edge of what is kept.
    pub(crate) fn some_position(
        &self,
        now_ms: u64,
        climate: &Climate,
        channel: &str,
        mut below: impl FnMut(u64) -> u64,
    ) -> Option<String> {
        let past = &self.channels.get(channel)?.past;
        let lives = past.count(None);
        if let Some(edge) = past.edge(now_ms, &climate.settings.limits).filter(|_| below(2) == 0) {
            return past.position(past.last_life(), (edge + below(6)).saturating_sub(2));
        }
        let back = below(3).min(lives.checked_sub(1)?);
        let life = (lives - 1 - back) as usize;
        let number = below(past.count(Some(life)) + 3);
        past.position(life, number)
    }
}

impl Session {
    /// A session was told where it begins, in these words, which are those for one of the places
    /// where it may begin.
    fn begins_as(&mut self, said: &str, words: impl Fn(&Start) -> String) -> Notice {
        let Some(start) = self.starts.iter().find(|start| words(start) == said).copied() else {
            let known: Vec<String> = self.starts.iter().map(words).collect();
            panic!("greeted with {said:?} and not {known:?}");
        };
        self.starts = vec![start];
        self.joined = start.place;
        self.may_have_joined = vec![start.place];
        self.is_greeted = true;
        self.began(&start)
    }

    fn began(&self, start: &Start) -> Notice {
        let at = Trail { life: self.life, number: start.number, place: start.place };
        Notice::Began { at, recovered: start.recovered == Some(true) && !self.is_lossy }
    }

    /// Takes it to have begun somewhere else, if what comes now must be from there.
    fn turn_to(&mut self, is_it: impl Fn(usize) -> bool) {
        if !is_it(self.joined + self.got) {
            let mut may_be = self.may_have_joined.iter();
            self.joined = *may_be.find(|place| is_it(*place + self.got)).unwrap_or(&self.joined);
        }
    }
}

/// The least and the most that may be counted.
fn costs(starts: &[Start]) -> (u64, u64) {
    let costs = || starts.iter().map(|start| start.cost_bytes);
    (costs().min().unwrap_or(0), costs().max().unwrap_or(0))
}

/// The position in front of a message, and the message.
fn split(whole: &[u8]) -> (Option<&str>, &[u8]) {
    let end = whole.iter().position(|byte| *byte == b'\n').expect("a position ends in a line feed");
    let position = core::str::from_utf8(&whole[..end]).expect("a position is ASCII");
    (Some(position), &whole[end + 1..])
}
