//! The oracle on those who come, and come back: where each begins to read, what a plain WebSocket
//! is given from there on, and who is turned away.
//!
//! What must come of a wish follows from what the channel has had so far ([`super::past`]), in the
//! moment of the event that tells of it. Besides, each client that comes back holds what it has
//! taken on one connection against what it takes on the next ([`Notice::Began`],
//! [`Notice::Told`]).

use core::net::IpAddr;

use elbow::id::Dialect;

use super::client::{Client, Notice, Session};
use super::climate::Climate;
use super::hearing::Log;
use super::oracle::{Oracle, Return};
use super::past::{Allowed, Start};
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
        let memory = (log.plain.len(), self.scarce);
        let outlived = log.past.over_ms(limits).is_some() && wish.since.is_some();
        let starts = log.past.prospects(now_ms, limits, dialect, wish, memory);
        let costs = costs(&starts);
        let allowed = self.replays.allow(now_ms, limits, account, costs);
        log.past.join(dialect, memory.0, memory.1, allowed);
        match allowed {
            // A ring that is not paid for is not filled.
            Allowed::No => {}
            Allowed::Perhaps => self.replays.take(now_ms, limits, account, (0, costs.1)),
            Allowed::Yes => self.replays.take(now_ms, limits, account, costs),
        }
        if dialect.is_socketio() {
            return starts;
        }
        let is_paid = allowed != Allowed::No || !wish.wants_past();
        assert!(is_paid, "{account:?} is sent more than its share");
        let may_open = |start: &Start| !wish.strict || start.recovered != Some(false);
        assert!(starts.iter().any(may_open), "what is gone was wanted: {wish:?}");
        assert!(!wish.is_malformed, "{wish:?} was understood");
        let Start { recovered, missed, .. } = starts[0];
        for (what, is_so) in [
            (Return::Recovered, recovered == Some(true)),
            (Return::Joined, recovered == Some(true) && missed > 0 && wish.is_own),
            (Return::Lost, recovered == Some(false)),
            (Return::Newest, recovered != Some(true) && missed > 0),
            (Return::Outlived, outlived && recovered == Some(true)),
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
            _ => return,
        };
        self.returned[what as usize] += 1;
        let (limits, wish) = (&climate.settings.limits, &client.wish);
        let nothing = Log::default();
        let log = self.channels.get(&*client.channel_name(climate)).unwrap_or(&nothing);
        let memory = (log.plain.len(), self.scarce);
        let starts = log.past.prospects(now_ms, limits, client.dialect(), wish, memory);
        if what == Return::Gone {
            let is_gone = starts.iter().any(|start| start.recovered == Some(false));
            assert!(wish.strict && is_gone, "410, but it is kept: {wish:?} {starts:?}");
            // That the ring holds less than what is kept may have been found by filling it.
            if !log.past.has_ring(client.dialect()) {
                let costs = (0, costs(&starts).1);
                self.replays.take(now_ms, limits, client.account(climate), costs);
            }
        } else {
            let account = client.account(climate);
            let allowed = self.replays.allow(now_ms, limits, account, costs(&starts));
            assert_ne!(allowed, Allowed::Yes, "429, but {account:?} has a share left: {starts:?}");
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
    pub(crate) fn delivered(&mut self, client: &mut Client, at: u64, is_text: bool, whole: &[u8]) {
        let is_positioned = client.is_positioned;
        let session = client.session.as_mut().expect("frames come in sessions");
        if is_positioned && !session.is_greeted {
            let notice = self.greeted(session, is_text, whole);
            return client.notices.push_back((at, notice));
        }
        let log = &self.channels[&session.channel];
        let is_notice = is_positioned && whole.first() == Some(&b'\n');
        let (position, payload) = match is_positioned && !is_notice {
            true => split(whole),
            false => (None, whole),
        };
        let is_it = |place: usize| {
            let known = log.plain.get(place).filter(|_| log.gaps.contains(&place) == is_notice);
            known.is_some_and(|known| known.is_text == is_text && *known.payload == *payload)
        };
        session.turn_to(log, is_it);
        let place = session.joined + session.got;
        assert_eq!(log.gaps.contains(&place), is_notice, "message {place} of {}", session.channel);
        let expected = log.plain.get(place).expect("a message that nobody published");
        assert_eq!(is_text, expected.is_text, "message {place} of {}", session.channel);
        assert!(
            *payload == expected.payload[..],
            "message {place} of {} is {:?} and not {:?}",
            session.channel,
            String::from_utf8_lossy(payload),
            String::from_utf8_lossy(&expected.payload),
        );
        let number = log.plain_numbers[place];
        if is_positioned && !is_notice {
            let known = log.past.position(session.life, number);
            assert_eq!(position, known.as_deref(), "message {place} of {}", session.channel);
        }
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
        let log = self.channels.get_mut(&session.channel).expect("it was joined");
        if !log.past.is_of_stream(session.life) {
            let (epoch, _) = position.split_once('.').expect(text);
            if log.past.told_epoch(session.life, epoch) {
                assert!(self.epochs.insert(epoch.into()), "two lives have the epoch {epoch}");
            }
        }
        let (past, life) = (&log.past, session.life);
        let greeting = |start: &Start| {
            let Start { recovered, number, missed, .. } = start;
            let recovered =
                recovered.map_or(String::new(), |is_so| format!(",\"recovered\":{is_so}"));
            let position = past.position(life, *number).expect("it is known by now");
            format!(
                "\n{{\"channel\":\"{}\",\"position\":\"{position}\"{recovered},\
                 \"missed\":{missed}}}",
                session.channel
            )
        };
        let is_it = |start: &&Start| greeting(start) == text;
        let Some(start) = session.starts.iter().find(is_it).copied() else {
            let known: Vec<String> = session.starts.iter().map(greeting).collect();
            panic!("greeted with {text:?} and not {known:?}");
        };
        session.starts = vec![start];
        session.joined = start.place;
        session.is_greeted = true;
        session.began(&start)
    }

    /// How many messages a session has not been given yet, at least.
    pub(crate) fn behind(&self, session: &Session) -> usize {
        let log = &self.channels[&session.channel];
        let places = session.starts.iter().map(|start| start.place);
        let may_be = places.filter(|place| session.is_same(log, *place));
        let joined = may_be.max().unwrap_or(session.joined);
        let place = joined + session.got;
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
    fn began(&self, start: &Start) -> Notice {
        let at = Trail { life: self.life, number: start.number, place: start.place };
        Notice::Began { at, recovered: start.recovered == Some(true) }
    }

    /// Whether what it was given may have begun at this place, as well.
    fn is_same(&self, log: &Log, place: usize) -> bool {
        let given = log.plain.get(place..place + self.got);
        given == log.plain.get(self.joined..self.joined + self.got)
    }

    /// Takes it to have begun somewhere else, if what comes now must be from there.
    fn turn_to(&mut self, log: &Log, is_it: impl Fn(usize) -> bool) {
        if self.starts.len() > 1 && !is_it(self.joined + self.got) {
            let places = self.starts.iter().map(|start| start.place);
            let mut may_be = places.filter(|place| self.is_same(log, *place));
            self.joined = may_be.find(|place| is_it(place + self.got)).unwrap_or(self.joined);
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
