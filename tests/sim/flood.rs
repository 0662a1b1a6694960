//! What attackers say that have no session of Socket.IO: requests in pipelines, frames.
//!
//! They are clients like others, and note what they are owed, so each of their answers and pongs is
//! checked, too.

use core::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use elbow::reason::CloseReason;
use elbow::server::Listener;
use elbow::settings::ProxyMode;

use super::{Client, End, Message, Reads, Role, Scene};
use crate::attack::Attack;
use crate::pass::{self, Pass};
use crate::person::Purpose;
use crate::socket::Link;

/// Requests that one of them has under way. After an attack the server has them to answer.
const ASKED_MAX: usize = 24;
/// Unanswered pings that one of them has at most.
const PINGS_MAX: usize = 64;
/// The number of the room that attackers have to themselves.
const ROOM: u64 = 99;
/// The longest target and agent, some bytes under what a head may have.
const TARGET_BYTES: u64 = 8000;
const AGENT_BYTES: u64 = 16_000;
/// The address of attackers that have but one, behind a header and as a peer.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 255, 1), Ipv4Addr::new(10, 9, 255, 1)];

impl Client {
    pub(crate) fn attacker(
        number: usize,
        link: Rc<Link>,
        scene: &mut Scene<'_>,
        (attack, pass): (Attack, Pass),
    ) -> Client {
        let can_be_probe =
            matches!(attack, Attack::Pipelines | Attack::LongHeads | Attack::Stayers);
        let probes = can_be_probe && scene.dice.chance(300);
        let mut client = Client {
            role: if matches!(attack, Attack::Frames | Attack::Rooms) {
                Role::Socket
            } else {
                Role::Web
            },
            listener: if probes { Listener::Health } else { Listener::Public },
            end: End::Stays,
            mute: false,
            pass,
            ..Client::new(number, link, scene)
        };
        if client.reads == Reads::InPeriods {
            client.reads = Reads::AtOnce;
        }
        if attack == Attack::Rooms {
            (client.channel, client.reads) = (ROOM, Reads::AtOnce);
        }
        client.become_attacker(scene, attack);
        client.introduce_plainly(scene);
        if client.role == Role::Socket {
            client.ask_upgrade(scene);
        }
        client
    }

    /// Asks whether the server is alive, once, on a new connection.
    pub(crate) fn prober(number: usize, link: Rc<Link>, scene: &mut Scene<'_>) -> Client {
        let health = scene.dice.chance(500);
        let mut client = Client {
            role: Role::Doomed,
            listener: if health { Listener::Health } else { Listener::Public },
            reads: Reads::AtOnce,
            end: End::Stays,
            over: true,
            probes: true,
            ..Client::new(number, link, scene)
        };
        client.introduce_plainly(scene);
        let head = b"GET /healthz HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n";
        client.outbox.extend(head);
        client.expect(scene, &[200], Some("ok")).last = true;
        client.reasons.allow(CloseReason::Answered);
        client
    }

    /// Counts as an attacker, at the address that they share if they do.
    pub(crate) fn become_attacker(&mut self, scene: &Scene<'_>, attack: Attack) {
        self.attack = Some(attack);
        if scene.climate.attacks.one_address {
            let [claimed, peer] = ADDRESSES;
            self.claimed.set_ip(IpAddr::V4(claimed));
            self.peer.set_ip(IpAddr::V4(peer));
        }
    }

    /// A header where one is due, and none that is odd.
    fn introduce_plainly(&mut self, scene: &mut Scene<'_>) {
        let required = scene.climate.settings.proxy == ProxyMode::Required;
        if self.listener == Listener::Public && required {
            self.put_header(scene);
        }
    }

    /// Says as much as fits under way.
    pub(super) fn attack(&mut self, scene: &mut Scene<'_>, attack: Attack) {
        let before = self.count;
        while self.said_bytes() - self.link.read_bytes() < scene.climate.attacks.flight_bytes
            && self.expected.len() < ASKED_MAX
            && self.pings.len() < PINGS_MAX
        {
            match attack {
                Attack::Pipelines => self.ask_health(scene),
                Attack::Handshakes => self.ask_session(scene),
                Attack::LongHeads => self.ask_at_length(scene),
                Attack::Tokens => self.show_in_vain(scene),
                Attack::Frames if self.open && self.sent_code.is_none() => self.put_noise(scene),
                Attack::Rooms if self.open && self.sent_code.is_none() => {
                    // One word of each at a time is enough for the room never to be through.
                    if !self.sent.is_empty() {
                        break;
                    }
                    self.put_words();
                }
                // One request at a time.
                Attack::Stayers if self.expected.is_empty() => self.ask_health(scene),
                Attack::Frames
                | Attack::Rooms
                | Attack::Stayers
                | Attack::Packets
                | Attack::Joins
                | Attack::Namespaces => break,
            }
        }
        self.has_attacked |= self.count > before;
    }

    /// When it goes on although nothing has happened.
    pub(super) fn attacks_again_ms(&self, scene: &mut Scene<'_>, attack: Attack) -> u64 {
        if attack != Attack::Stayers {
            return scene.now_ms;
        }
        let keep_alive_ms = scene.climate.settings.keep_alive.as_millis();
        scene.now_ms + scene.dice.between(keep_alive_ms / 2, keep_alive_ms * 4 / 5)
    }

    fn ask_health(&mut self, scene: &Scene<'_>) {
        self.count += 1;
        self.outbox.extend(b"GET /healthz HTTP/1.1\r\nHost: sim\r\n\r\n");
        self.expect(scene, &[200], Some("ok"));
    }

    fn ask_session(&mut self, scene: &Scene<'_>) {
        self.count += 1;
        let head = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: sim\r\n\r\n";
        self.outbox.extend(head);
        self.expect(scene, &[200, 503], None).purpose = Purpose::Shake;
    }

    fn ask_at_length(&mut self, scene: &mut Scene<'_>) {
        self.count += 1;
        let target = scene.dice.below(TARGET_BYTES) as usize;
        let agent = scene.dice.below(AGENT_BYTES) as usize;
        let (target, agent) = ("x".repeat(target), "y".repeat(agent));
        let head =
            format!("GET /none/{target} HTTP/1.1\r\nHost: sim\r\nUser-Agent: {agent}\r\n\r\n");
        self.outbox.extend(head.as_bytes());
        self.expect(scene, &[404], None);
    }

    /// A request with a token that is not taken.
    fn show_in_vain(&mut self, scene: &mut Scene<'_>) {
        self.count += 1;
        let (fault, token) = pass::in_vain(scene.dice);
        let path =
            scene.dice.pick(&["/sse?", "/sse/none?", "/socket.io/?EIO=4&transport=polling&"]);
        let head = format!("GET {path}token={token} HTTP/1.1\r\nHost: sim\r\n\r\n");
        self.outbox.extend(head.as_bytes());
        self.shown.push_back(fault);
        self.expect(scene, &[401], None);
    }

    /// The shortest message that can be told from others.
    fn put_words(&mut self) {
        let payload = format!("{}.{}", self.number, self.count).into_bytes();
        self.put_frame(0x81, &payload);
        self.sent.push_back(Message { is_text: true, payload: payload.into() });
    }

    /// Frames that cost the server something and bring nobody anything.
    fn put_noise(&mut self, scene: &mut Scene<'_>) {
        match scene.dice.below(12) {
            0..4 => {
                self.count += 1;
                // Each is different, so that its pong is known.
                let payload = self.count.to_be_bytes().to_vec();
                self.put_frame(0x89, &payload);
                self.pings.push_back(payload);
            }
            4..11 => self.put_frame(0x8a, b""),
            _ => {
                self.put_frame(0x01, b"");
                for _ in 0..scene.dice.below(20) {
                    self.put_frame(0x00, b"");
                }
                self.put_frame(0x80, b"");
                self.sent.push_back(Message { is_text: true, payload: Rc::from(&b""[..]) });
            }
        }
    }
}
