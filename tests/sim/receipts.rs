//! The oracle on what backends publish and whom operators disconnect.
//!
//! Every message that is reported is one that was ordered and not said before, and is pushed to the
//! log of its channel, which readers are held against. Every answer is held against what became of
//! its order: 202 names the very position at which it was said, a refusal was never said, and a
//! repeat has the position of the first. When a disconnect is answered, nobody is left of those
//! who were in the channel when it was put on its way.

use std::collections::BTreeMap;

use elbow::text::cut_bytes;

use super::client::{Answered, Ask, Client, Order, Word};
use super::climate::Climate;
use super::decode::Response;
use super::oracle::{Oracle, is_swollen_word};

/// For how long a request is known by its key.
const REPEAT_MS: u64 = 120_000;

/// What is known of backends.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// Where what was said under a key stands: the life of its channel and its number.
    keys: BTreeMap<(Box<str>, u64), (usize, u64)>,
    /// Channels of which the members were to be closed, with when that was first asked for.
    disconnects: BTreeMap<Box<str>, u64>,
    /// Answers that were 202, those of repeats among them, and answers to disconnects.
    pub(crate) taken: u64,
    pub(crate) repeated: u64,
    pub(crate) disconnected: u64,
}

impl Receipts {
    /// Somebody has asked for the members of a channel to be closed.
    pub(crate) fn expect_closes(&mut self, now_ms: u64, channel: &str) {
        self.disconnects.entry(channel.into()).or_insert(now_ms);
    }

    /// Whether a connection may have been closed by an operator: a member of a channel that was to
    /// be closed, or what carries a session.
    pub(crate) fn explains(&self, client: &Client, is_persons: bool) -> bool {
        match &client.session {
            Some(session) => self.disconnects.contains_key(&session.channel),
            None => is_persons && self.closes_any(),
        }
    }

    /// Whether anybody may have been.
    pub(crate) fn closes_any(&self) -> bool {
        !self.disconnects.is_empty()
    }
}

impl Oracle {
    /// A backend was heard.
    pub(crate) fn spoken_by_backend(
        &mut self,
        now_ms: u64,
        climate: &Climate,
        client: &mut Client,
        text: &str,
    ) {
        self.published += 1;
        let (position, is_here) = self.next_place();
        let number = client.number;
        // Answers are decided in the order of their requests, each behind what was said for it.
        let is_it = |order: &&mut Order| {
            let Ask::Publish(word) = &order.ask else { return false };
            let is_open = order.answered != Some(Answered::ForGood);
            is_open && order.said.is_none() && cut_bytes(&word.report()) == text.as_bytes()
        };
        let orders = client.limbo.iter_mut().chain(&mut client.orders);
        let mut orders: Vec<&mut Order> = orders.filter(is_it).collect();
        // Once one of several requests with the same key was said, the others never are, but those
        // that were told 503 stay in `limbo`. A later order of as many bytes is not one of them.
        let keys = &self.receipts.keys;
        let is_repeat = |order: &&mut Order| match &order.ask {
            Ask::Publish(Word { channel, key: Some(key), .. }) => {
                keys.contains_key(&(channel.clone(), *key))
            }
            Ask::Publish(_) | Ask::Wrong | Ask::Disconnect(_) => false,
        };
        let chosen = orders.iter().position(|order| !is_repeat(order)).unwrap_or(0);
        assert!(!orders.is_empty(), "#{number} has not ordered {text:?}");
        let order = orders.swap_remove(chosen);
        let Ask::Publish(word) = &order.ask else { return };
        assert!(!is_swollen_word(climate, word), "#{number} was heard with too much");
        let limits = &climate.settings.limits;
        let log = self.channels.entry(word.channel.clone()).or_default();
        log.past.end_if_over(now_ms, limits);
        if limits.history.is_some() && !self.is_ordered_elsewhere {
            log.past.open(log.plain.len(), climate.settings.recovers());
        }
        let when = (now_ms, self.turn);
        let said = match is_here {
            true => {
                let spoken = (word.spoken.clone(), position);
                log.push(when, word.args.as_deref(), spoken, word.plain.clone())
            }
            // What is lost stands in its place.
            false => log.past.newest(),
        };
        let said = (if said > 0 { log.past.last_life() } else { 0 }, said);
        order.said = Some(said);
        if let Some(key) = word.key {
            let before = self.receipts.keys.insert((word.channel.clone(), key), said);
            // Its other requests may have come when the first was already forgotten.
            let is_forgotten = now_ms > order.at_ms + REPEAT_MS;
            let is_twice = before.is_some() && !is_forgotten;
            assert!(!is_twice, "#{number} has repeated itself, and was heard twice: {before:?}");
        }
    }

    /// A backend has its answer.
    pub(crate) fn receipt(
        &mut self,
        climate: &Climate,
        client: &mut Client,
        others: &[(Box<str>, u64)],
        response: &Response,
    ) {
        if response.status == 408 && response.closes {
            return;
        }
        let order = client.orders.pop_front().expect("an answer is that of an order");
        match (&order.ask, response.status) {
            (Ask::Wrong, _) => {}
            (Ask::Publish(word), 202) => self.taken(word, &order, &response.body),
            (Ask::Publish(word), status) => {
                // By an order behind this one it became known after this was decided.
                let is_repeated = client.orders.iter().any(|later| match &later.ask {
                    Ask::Publish(other) => (&other.channel, other.key) == (&word.channel, word.key),
                    Ask::Wrong | Ask::Disconnect(_) => false,
                });
                let is_known = word.key.is_some_and(|key| {
                    !is_repeated && self.receipts.keys.contains_key(&(word.channel.clone(), key))
                });
                // What was decided elsewhere may have its place while the answer is on its way.
                let may_be_said = status == 503 && self.is_ordered_elsewhere;
                assert!(order.said.is_none() || may_be_said, "{status}, and it was said");
                let may_be = match status {
                    // Readers are waited for that are to be sent something, and may be gone by now.
                    429 => {
                        let log = self.channels.get(&word.channel);
                        !is_known && log.is_some_and(|log| !log.spoken.is_empty())
                    }
                    503 => {
                        self.scarce || self.is_ordered_elsewhere || self.is_without_room(climate)
                    }
                    _ => false,
                };
                assert!(may_be, "#{}: {status} for {order:?}", client.number);
                if order.answered == Some(Answered::ForNow) {
                    client.limbo.push(order);
                }
            }
            (Ask::Disconnect(channel), 200) => {
                self.receipts.disconnected += 1;
                let is_left =
                    |(other, at_ms): &&(Box<str>, u64)| *other == *channel && *at_ms < order.at_ms;
                let left = others.iter().find(is_left);
                assert_eq!(left, None, "somebody is left of {channel}, {}", order.at_ms);
            }
            (Ask::Disconnect(_), status) => assert!(self.scarce && status == 503),
        }
    }

    /// Whether there may be no room for one more channel.
    fn is_without_room(&self, climate: &Climate) -> bool {
        climate.settings.limits.history.is_some() && self.channels_scarce
    }

    fn taken(&mut self, word: &Word, order: &Order, body: &[u8]) {
        self.receipts.taken += 1;
        let key = word.key.map(|key| (word.channel.clone(), key));
        let known = key.and_then(|key| self.receipts.keys.get(&key).copied());
        self.receipts.repeated += u64::from(order.said.is_none());
        let (life, number) = order.said.or(known).expect("what is taken was said");
        let text = core::str::from_utf8(body).expect("an answer is text");
        if number == 0 {
            return assert_eq!(text, "{\"position\":null}");
        }
        let position = text.strip_prefix("{\"position\":\"").and_then(|it| it.strip_suffix("\"}"));
        let position = position.expect(text);
        let log = self.channels.get_mut(&word.channel).expect("it was said there");
        if let Some(known) = log.past.said_at(life, number) {
            return assert_eq!(position, known);
        }
        let (epoch, _) = position.split_once('.').expect(text);
        if log.past.told_epoch(life, epoch) {
            assert!(self.epochs.insert(epoch.into()), "two lives have the epoch {epoch}");
        }
        assert_eq!(Some(position), log.past.position(life, number).as_deref());
    }
}
