//! What attackers say that have a session of Socket.IO: bodies of tiny packets, and namespaces that
//! they enter and leave.
//!
//! They are people like others, so everything that they are told is held against what they have
//! said. What they enter for nothing is counted as entered when it is said, since they do not wait
//! for answers.

use super::{End, Packet, Person, Style, Way, prefix};
use crate::attack::Attack;
use crate::client::{Client, Scene};
use crate::packet::tiny_bytes;

/// Namespaces of a session, as the server has it.
const SPACES_MAX: u64 = 8;
/// Namespaces that those have to themselves that come and go.
const REVOLVING: u64 = 3;
/// Unanswered entries that one of them has at most.
const ASKED_MAX: usize = 200;

impl Person {
    pub(crate) fn attacker(number: usize, scene: &mut Scene<'_>, attack: Attack) -> Person {
        let way = if attack == Attack::Packets { Way::Polling } else { Way::Socket };
        let person = Person::new(number, scene);
        Person {
            attack: Some(attack),
            way,
            style: Style::Whole,
            end: End::Stays,
            lazy: false,
            mute: false,
            shy: false,
            ..person
        }
    }

    /// Says what it can.
    pub(super) fn attack(&mut self, scene: &mut Scene<'_>, clients: &mut [Client], attack: Attack) {
        // Until it is in, nothing but that is said.
        if self.spaces.is_empty() {
            return;
        }
        match attack {
            Attack::Packets => self.post_tiny(scene),
            Attack::Joins => self.revolve(scene, clients),
            Attack::Namespaces => self.spread(scene),
            Attack::Pipelines
            | Attack::Frames
            | Attack::Handshakes
            | Attack::LongHeads
            | Attack::Rooms
            | Attack::Stayers
            | Attack::Tokens => {}
        }
    }

    /// As many packets as fit into a body, unless one is under way.
    fn post_tiny(&mut self, scene: &mut Scene<'_>) {
        if !self.outgoing.is_empty() || self.post.is_some() {
            return;
        }
        self.has_attacked = true;
        let most = scene.climate.settings.limits.message_bytes_max as usize;
        let acknowledged = scene.dice.chance(200);
        let (mut total, mut count) = (0, 0);
        while total < most {
            if acknowledged && scene.dice.chance(500) {
                // Own packets of some kilobytes are as many as may wait.
                count += 1;
                if count > 500 {
                    return;
                }
                self.say(scene);
            } else if self.version == 3 && count < 500 && scene.dice.chance(100) {
                count += 1;
                self.outgoing.push_back(Packet::Text("2".to_owned()));
                self.hearing.pings.push_back(String::new());
            } else {
                self.outgoing.push_back(Packet::Text("6".to_owned()));
            }
            total += self.outgoing.back().map_or(1, |packet| tiny_bytes(self.version, packet));
        }
    }

    /// Enters and leaves, as often as is under way at the same time.
    fn revolve(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        let Some(socket) = self.socket else { return };
        let flight_bytes = scene.climate.attacks.flight_bytes;
        let client = &clients[socket];
        let waiting: usize = self.outgoing.iter().map(|packet| tiny_bytes(4, packet)).sum();
        let mut under_way = client.said_bytes() - client.link.read_bytes() + waiting as u64;
        while under_way < flight_bytes && self.hearing.asked.len() < ASKED_MAX {
            let channel: Box<str> = match scene.dice.below(4) {
                // The room of others, who are told of each that comes.
                0 => self.some_channel(scene),
                _ => format!("junk{}-{}", self.number, scene.dice.below(REVOLVING)).into(),
            };
            if self.home.as_ref() == Some(&channel) || channel.contains(' ') {
                continue;
            }
            self.has_attacked = true;
            under_way += 2 * (8 + channel.len() as u64);
            self.put_entry(channel.clone());
            self.put_exit(channel);
        }
    }

    /// Enters as many namespaces as it may be in, each of its own, and tries for more.
    fn spread(&mut self, scene: &mut Scene<'_>) {
        if self.spaces.len() as u64 <= SPACES_MAX && self.hearing.asked.is_empty() {
            self.has_attacked = true;
            let channel = format!("junk{}-{}", self.number, self.spaces.len());
            self.put_entry(channel.into());
        }
        if scene.dice.chance(100) {
            self.say_at_home(scene);
        }
    }

    fn say_at_home(&mut self, scene: &mut Scene<'_>) {
        let Some(home) = self.home.clone() else { return };
        let all = std::mem::take(&mut self.spaces);
        self.spaces.insert(home);
        self.say(scene);
        self.spaces = all;
    }

    fn put_entry(&mut self, channel: Box<str>) {
        self.outgoing.push_back(Packet::Text(format!("40{}", prefix(&channel))));
        self.spaces.insert(channel.clone());
        self.hearing.entries.ask(channel.clone(), None);
        self.hearing.ask(channel);
    }

    fn put_exit(&mut self, channel: Box<str>) {
        self.outgoing.push_back(Packet::Text(format!("41{}", prefix(&channel))));
        self.spaces.remove(&channel);
        self.hearing.left.insert(channel);
    }
}
