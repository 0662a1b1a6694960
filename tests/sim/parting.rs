//! How a person ends: in order, without a word, or by what no client may say.
//!
//! Each end notes the reasons for which the server may now give the session up.

use elbow::reason::CloseReason;

use super::{End, Packet, Person, Purpose};
use crate::client::{Client, Scene};

impl Person {
    /// Leaves, one way or another.
    pub(crate) fn leave(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        if self.over || self.parting {
            return;
        }
        self.end = scene.dice.pick(&[
            End::Politely,
            End::Politely,
            End::Abandons,
            End::Fin,
            End::Reset,
            End::Vanishes,
        ]);
        if self.sid.is_none() && self.end == End::Politely {
            self.end = End::Fin;
        }
        self.finish(scene, clients);
        self.send(scene, clients);
    }

    pub(super) fn finish(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        match self.end {
            End::Stays => {}
            End::Politely => {
                if scene.dice.chance(300) {
                    while !self.spaces.is_empty() && self.asking.is_empty() {
                        self.leave_channel(scene);
                    }
                }
                self.hearing.reasons.allow(CloseReason::ClosedByClient);
                self.last_word(b"1");
            }
            End::Abandons => (self.over, self.parting) = (true, true),
            End::Fin | End::Reset | End::Vanishes => {
                self.over = true;
                self.part(scene, clients);
            }
            End::Breaks => self.break_packets(scene),
            End::Stalls => self.stall(scene, clients),
            End::TooBig => self.say_too_much(scene, clients),
            End::TwoPolls | End::TwoPosts => self.ask_twice(scene, clients),
        }
    }

    /// Says this, and nothing any more.
    pub(super) fn last_word(&mut self, packet: &[u8]) {
        self.parting = true;
        if self.socket.is_none() {
            let text = String::from_utf8(packet.to_vec()).expect("text");
            self.outgoing.push_back(Packet::Text(text));
        }
    }

    /// Lets its connections go.
    pub(super) fn part(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        let end = match self.end {
            End::Reset | End::Vanishes => self.end,
            _ if scene.dice.chance(300) => return,
            End::Politely
            | End::Stays
            | End::Abandons
            | End::Fin
            | End::Stalls
            | End::Breaks
            | End::TooBig
            | End::TwoPolls
            | End::TwoPosts => End::Fin,
        };
        self.parting = true;
        for number in &self.connections {
            let client = &mut clients[*number];
            match end {
                End::Reset => client.break_off(true),
                End::Vanishes => client.vanish(),
                End::Politely
                | End::Stays
                | End::Abandons
                | End::Fin
                | End::Stalls
                | End::Breaks
                | End::TooBig
                | End::TwoPolls
                | End::TwoPosts => client.break_off(false),
            }
        }
        self.hearing.reasons.allow(CloseReason::PeerGone);
        self.hearing.reasons.allow(CloseReason::PeerReset);
        self.hearing.reasons.allow(CloseReason::SocketFailed);
    }

    pub(super) fn break_packets(&mut self, scene: &mut Scene<'_>) {
        let unentered = "42/never,[\"chat message\",\"x\"]";
        let owing = "451-[\"b\",{\"_placeholder\":true,\"num\":0}]";
        let bad: &[&str] = match (self.version, scene.dice.below(7)) {
            (_, 0) => &["0"],
            (_, 1) => &["4junk"],
            (_, 2) => &["42[\"connect\"]"],
            (_, 3) => &[owing, "41"],
            (_, 4) => &["9"],
            (4, 5) => &[unentered],
            (4, _) => &["2"],
            _ => &["5"],
        };
        for packet in bad {
            self.outgoing.push_back(Packet::Text((*packet).to_owned()));
        }
        self.hearing.reasons.allow(CloseReason::ProtocolError);
        self.silent = true;
    }

    /// Half of what it says, and then nothing.
    pub(super) fn stall(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        if let Some(number) = self.socket {
            clients[number].put_frame(0x01, b"42[\"to be continued");
        } else if let (Some(number), None) = (self.free(clients), self.post) {
            let head = format!(
                "POST {} HTTP/1.1\r\nHost: sim\r\nContent-Length: 9\r\n\r\n42[",
                self.path("polling")
            );
            clients[number].ask_for_person(scene, head.as_bytes(), &[200, 400, 500], Purpose::Post);
        }
        self.over = true;
        self.parting = true;
    }

    pub(super) fn say_too_much(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        let most = scene.climate.settings.limits.message_bytes_max as usize;
        let text = format!("42[\"chat message\",\"{}\"]", "x".repeat(most));
        self.hearing.reasons.allow(CloseReason::MessageTooBig);
        if let Some(number) = self.socket {
            clients[number].reasons.allow(CloseReason::MessageTooBig);
        }
        self.outgoing.push_back(Packet::Text(text));
        self.silent = true;
    }

    /// A second request while one is under way, which breaks the protocol.
    pub(super) fn ask_twice(&mut self, scene: &mut Scene<'_>, clients: &mut [Client]) {
        let Some(number) = self.free(clients).filter(|_| self.socket.is_none()) else { return };
        self.hearing.unchecked = true;
        self.hearing.reasons.allow(CloseReason::ProtocolError);
        if self.end == End::TwoPolls {
            self.poll_on(scene, &mut clients[number]);
        } else {
            self.outgoing.push_back(Packet::Text("6".to_owned()));
            self.post_on(scene, &mut clients[number]);
        }
        self.silent = true;
    }
}
