//! One instance: a whole server, and its two lines to the model of Redis, driven in the order in
//! which the shell drives them in a turn.
//!
//! Deals with: bytes between the server's backplane and Redis, cut, delayed and lost; what was on a
//! line that is dead and is carried out late. Leaves to others: clients, and what goes wrong when.

use elbow::hub::backplane::{Action, Line};
use elbow::id::ConnId;
use elbow::metrics::By;
use elbow::server::{Event, Readiness, Server};
use elbow::settings::{self, Settings};
use elbow::site::Site;
use elbow::time::{Duration, Instant, Now};

use crate::chance::Chance;
use crate::harness::End;
use crate::oracle::Oracle;
use crate::redis::Redis;

/// Bytes on their way between an instance and Redis.
#[derive(Debug)]
struct Link {
    conn: usize,
    up: Vec<u8>,
    down: Vec<u8>,
    /// Nothing gets through any more, and nobody is told.
    is_dead: bool,
}

pub(crate) struct Instance {
    pub(crate) server: Server<End>,
    links: [Option<Link>; 2],
    /// What the kernel says about sockets in the next turn.
    ready: Vec<(ConnId, Readiness)>,
    pub(crate) is_draining: bool,
    /// Whether the server has taken leave of everybody.
    pub(crate) is_drained: bool,
    /// Gaps that the server has found.
    pub(crate) gaps: u64,
}

/// Redis, and what lies between it and the instances.
pub(crate) struct Network {
    pub(crate) redis: Redis,
    pub(crate) oracle: Oracle,
    /// Bytes of dead connections that are carried out at a time.
    pub(crate) late: Vec<(Instant, Vec<u8>)>,
    pub(crate) stalled_until: Instant,
    /// The most bytes of a piece of a reply.
    pub(crate) piece_bytes: u64,
    /// How many attempts in a thousand to connect fail.
    pub(crate) refuses_connections: u64,
}

impl Instance {
    pub(crate) fn start(settings: Settings, seed: u64, now: Now) -> Instance {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut server = Server::new(settings, Site::new(Vec::new(), false), bytes, now);
        let shared =
            settings::Backplane { name: "elbow".into(), user: None, password: None, database: 0 };
        assert!(server.share_order(now, shared), "there is memory");
        Instance {
            server,
            links: [None, None],
            ready: Vec::new(),
            is_draining: false,
            is_drained: false,
            gaps: 0,
        }
    }

    /// Something can be done with a socket.
    pub(crate) fn ready(&mut self, id: ConnId, readiness: Readiness) {
        self.ready.push((id, readiness));
    }

    /// A turn of the loop.
    pub(crate) fn turn(&mut self, now: Now, network: &mut Network, chance: &mut Chance) {
        for (id, readiness) in self.ready.drain(..) {
            self.server.ready(now, id, readiness);
        }
        self.carry(now, network, chance);
        self.receive(now, network, chance);
        let is_more = self.server.run(now);
        self.server.check();
        if !is_more && now.mono.as_millis().is_multiple_of(4) {
            // Whoever may sleep has nothing left that could be said now.
            let said = |server: &Server<End>| By::ALL.map(|by| server.metrics().published(by));
            let before = said(&self.server);
            self.server.run(now);
            assert_eq!(said(&self.server), before, "somebody would have slept over it");
        }
        self.send(now, network, chance);
        while let Some(event) = self.server.poll_event() {
            self.is_drained |= matches!(event, Event::Drained);
            self.gaps += u64::from(matches!(event, Event::Lost { .. }));
            self.server.recycle(event);
        }
        self.carry(now, network, chance);
    }

    /// Bytes go both ways.
    fn carry(&mut self, now: Now, network: &mut Network, chance: &mut Chance) {
        if now.mono < network.stalled_until {
            return;
        }
        for link in self.links.iter_mut().flatten().filter(|link| !link.is_dead) {
            let mut count = link.up.len();
            if chance.in_thousand(100) {
                count = chance.index(count + 1);
            }
            let up: Vec<u8> = link.up.drain(..count).collect();
            network.redis.feed(link.conn, &up);
            link.down.append(&mut network.redis.take_output(link.conn));
        }
        network.oracle.look(&network.redis.state);
    }

    fn receive(&mut self, now: Now, network: &Network, chance: &mut Chance) {
        let backplane = self.server.backplane().expect("it was given one");
        for (number, line) in Line::ALL.into_iter().enumerate() {
            let Some(link) = self.links[number].as_mut().filter(|link| !link.is_dead) else {
                continue;
            };
            loop {
                let piece = 1 + chance.index(network.piece_bytes as usize);
                let room = backplane.room(line);
                let count = piece.min(link.down.len()).min(room.len());
                if count == 0 {
                    break;
                }
                room[..count].copy_from_slice(&link.down[..count]);
                link.down.drain(..count);
                backplane.received(now.mono, line, count);
                // The rest comes with a later turn.
                if chance.in_thousand(100) {
                    break;
                }
            }
        }
    }

    fn send(&mut self, now: Now, network: &mut Network, chance: &mut Chance) {
        let backplane = self.server.backplane().expect("it was given one");
        while let Some(action) = backplane.poll_action(now.mono) {
            match action {
                Action::Connect(line) if chance.in_thousand(network.refuses_connections) => {
                    backplane.closed(now.mono, line, "refused");
                }
                Action::Connect(line) => {
                    let conn = network.redis.connect();
                    let link = Link { conn, up: Vec::new(), down: Vec::new(), is_dead: false };
                    let old = self.links[line as usize].replace(link);
                    assert!(old.is_none(), "one socket for each line");
                    backplane.connected(now.mono, line);
                }
                Action::Close(line) => {
                    let link = self.links[line as usize].take();
                    network.bury(now, &mut link.expect("only what is there is closed"), chance);
                }
            }
        }
        for (number, line) in Line::ALL.into_iter().enumerate() {
            let Some(link) = &mut self.links[number] else { continue };
            // What has gone out makes room for requests that wait.
            for _ in 0..4 {
                let unsent = backplane.unsent(line);
                let count = unsent.len().min(network.piece_bytes as usize * 100);
                link.up.extend_from_slice(&unsent[..count]);
                if count == 0 {
                    break;
                }
                backplane.transmitted(line, count);
                backplane.end_turn(now.mono);
            }
        }
        backplane.check();
    }

    /// A connection to Redis is gone; the instance learns of it, or finds out.
    pub(crate) fn break_line(
        &mut self,
        (now, number): (Now, usize),
        network: &mut Network,
        chance: &mut Chance,
    ) {
        let Some(mut link) = self.links[number].take() else { return };
        if chance.in_thousand(300) && !link.is_dead {
            // What was on its way arrives, and its replies are lost.
            let up = core::mem::take(&mut link.up);
            network.redis.feed(link.conn, &up);
        }
        network.bury(now, &mut link, chance);
        if chance.in_thousand(800) {
            let backplane = self.server.backplane().expect("it was given one");
            backplane.closed(now.mono, Line::ALL[number], "reset");
        } else {
            link.is_dead = true;
            self.links[number] = Some(link);
        }
    }

    /// Nothing gets through any more on a line, and nobody is told.
    pub(crate) fn deaden(&mut self, number: usize) {
        if let Some(link) = &mut self.links[number] {
            link.is_dead = true;
        }
    }

    /// The reader is left at a server that nobody writes to.
    pub(crate) fn freeze(&mut self, network: &mut Network) {
        let reader = self.links[1].as_ref().filter(|link| network.redis.is_connected(link.conn));
        if let Some(link) = reader {
            network.redis.freeze(link.conn);
        }
    }

    /// The process has ended: its lines are gone.
    pub(crate) fn stop(&mut self, now: Now, network: &mut Network, chance: &mut Chance) {
        for link in self.links.iter_mut().filter_map(Option::take) {
            let mut link = link;
            network.bury(now, &mut link, chance);
        }
    }
}

impl Network {
    /// What a connection has sent may be carried out later, once it is gone.
    fn bury(&mut self, now: Now, link: &mut Link, chance: &mut Chance) {
        if !self.redis.is_connected(link.conn) {
            return;
        }
        let mut rest = self.redis.disconnect(link.conn);
        rest.append(&mut link.up);
        if !rest.is_empty() && chance.in_thousand(500) {
            let at = now.mono.plus(Duration::from_millis(chance.below(8000)));
            self.late.push((at, rest));
        }
    }

    /// Time goes by for Redis.
    pub(crate) fn pass(&mut self, now: Now, ms: u64) {
        if self.stalled_until <= now.mono {
            self.redis.pass(ms);
        } else {
            // What waits is answered when it goes on.
            self.redis.now_ms += ms;
        }
        let (due, later) = self.late.drain(..).partition(|(at, _)| *at <= now.mono);
        self.late = later;
        let due: Vec<(Instant, Vec<u8>)> = due;
        for (_, bytes) in due {
            self.redis.feed_late(&bytes);
        }
        self.oracle.look(&self.redis.state);
    }
}
