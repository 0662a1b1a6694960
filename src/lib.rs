//! elbow: a broadcast server that stands behind a load balancer. It reads the balancer's PROXY
//! header, serves a page, speaks WebSocket and Socket.IO, and gives every message to everyone in
//! the channel. One thread, one event loop, memory with a ceiling.
//!
//! The library is the program without its `main`: it exists so that tests, benches and this
//! documentation can reach the parts. How the program is used is in `README.md`, why it is built
//! like this in `docs/ARCHITECTURE.md`.
//!
//! # Floors
//!
//! A module uses what lies below it, never what lies above. What a floor needs from above it gets
//! as an argument, or asks for by the value that it returns.
//!
//! ```text
//!       main.rs   cli   config          which command; what the operator wants
//!          │
//!   6   shell                           mio, clock, signals, files, standard output
//!          ▼
//!   5   server                          the core's one face: Server<S: Socket>, driven with `now`
//!          ▼
//!   4   hub                             channels, publishing, the sweep, Engine.IO sessions
//!          ▼
//!   3   conn                            one connection: phases, bytes in, steps out
//!          ▼
//!   2   feed outbound pool wheel        mechanisms without policy
//!       order membership site keys
//!       visa metrics settings
//!          ▼
//!   1   wire                            bytes ⇄ values: PROXY, HTTP, origins, WebSocket,
//!                                       Engine.IO, Socket.IO
//!          ▼
//!   0   time rate lifetime limits id    words that everybody shares
//!       position reason text work
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | carries out the command that was given: run, `check`, `health`, `token`, `top` |
//! | [`client`], [`doctor`] | HTTP that blocks, for commands; what is wrong with a server |
//! | [`config`] | flags, variables, presets and defaults, until they agree with each other |
//! | [`shell`] | the turn of the loop, listeners, the log's pipe, `--www`, signals |
//! | [`server`] | admission, reading and sending, answers, Engine.IO, Socket.IO, drain, events |
//! | [`hub`] | publishes: encodes a message once per dialect that is read; keeps the sessions |
//! | [`conn`] | PROXY header, request, response, held poll, POST, WebSocket, closing, lingering |
//! | [`feed`] | the ring of encoded records that a whole channel reads from |
//! | [`outbound`] | what goes next to one socket: own bytes, a file, or the feed |
//! | [`pool`] | the budget of everything that varies with load |
//! | [`wheel`] | one deadline per connection, and one per session |
//! | [`order`] | who has waited for longest |
//! | [`membership`] | whoever is in a channel |
//! | [`site`] | the files that are served, in memory, in two generations |
//! | [`metrics`] | counters, and histograms of how long things took |
//! | [`settings`] | what the operator decided, as plain data |
//! | [`keys`], [`visa`] | what tokens are checked with, and what they let somebody do |
//! | [`wire`] | the codecs |
//! | [`rate`], [`lifetime`] | how often something may be done, how long somebody may stay |
//! | [`time`], [`limits`], [`id`], [`reason`] | instants, bounds, names, and every way to end |
//! | [`position`] | where a message stands in its channel |
//! | [`work`] | what things cost, counted in test builds |
//! | [`text`] | text from outside in a line of ours: cut, escaped, bounded |
//!
//! # The feed
//!
//! No connection has a queue. A message is encoded once, as the frame that goes on the wire, and
//! appended to its channel's ring, one for each dialect that a member reads. A connection holds a
//! cursor into that ring, and one send gives it everything from there to the head. Server frames
//! carry no mask, so all may get the same bytes.
//!
//! ```text
//!             tail                                                  head
//!   ring    ┌────┬──────────┬─────┬───────────────┬──────┬───────────┐     append ──►
//!           │ r7 │    r8    │ r9  │      r10      │ r11  │    r12    │
//!           └────┴──────────┴─────┴───────────────┴──────┴───────────┘
//!                      ▲          ▲                                  ▲
//!            inside r8: lags      on a boundary: lags                caught up
//!
//!   socket ─read─► conn ─message─► hub ─encoded once─► feed ─► one send per member, in portions
//! ```
//!
//! Appending evicts the oldest records until the new one fits. A cursor that is left behind the
//! tail is *lapped*: that reader was too slow and is closed. It has cost nobody else anything.
//!
//! # Example
//!
//! The core never sees a real socket or a clock. Here it serves two clients whose sockets are
//! buffers, and half a minute goes by between two lines.
//!
//! ```
//! use std::cell::RefCell;
//! use std::collections::VecDeque;
//! use std::io::{self, Read};
//! use std::rc::Rc;
//!
//! use elbow::config::{self, Activated, Command, Machine};
//! use elbow::server::{Listener, Readiness, Server, Socket};
//! use elbow::site::Site;
//! use elbow::time::{Instant, Now};
//!
//! /// The client's end of a connection: what it says, and what it has heard.
//! #[derive(Clone, Default)]
//! struct Wire {
//!     says: Rc<RefCell<VecDeque<u8>>>,
//!     hears: Rc<RefCell<Vec<u8>>>,
//! }
//!
//! impl Socket for Wire {
//!     fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
//!         match self.says.borrow_mut().read(buffer)? {
//!             0 => Err(io::ErrorKind::WouldBlock.into()),
//!             count => Ok(count),
//!         }
//!     }
//!     fn write(&self, slices: &[&[u8]; 4]) -> io::Result<usize> {
//!         let bytes = slices.concat();
//!         self.hears.borrow_mut().extend(&bytes);
//!         Ok(bytes.len())
//!     }
//!     fn shutdown_write(&self) {}
//!     fn cut(&self) {}
//! }
//!
//! const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: chat.example\r\n\
//!     Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
//!
//! let at = |ms| Now { mono: Instant::from_millis(ms), unix_s: 1_795_000_000 };
//! let machine = Machine {
//!     descriptors_hard: 1024,
//!     memory_bytes: None,
//!     memory_is_shared: true,
//!     activated: Activated::NONE,
//!     admin_credential: false,
//! };
//! let command = config::parse(["elbow".into()], |_| None, &machine).expect("the defaults hold");
//! let Command::Run(config) = command else { panic!("no command means: run") };
//! let mut server = Server::new(config.settings, Site::new(vec![], true), [7; 32], at(0));
//!
//! // Two clients connect and upgrade.
//! let (ann, bob) = (Wire::default(), Wire::default());
//! let readable = Readiness { readable: true, ..Readiness::default() };
//! let ids = [&ann, &bob].map(|wire| {
//!     let peer = "203.0.113.7:51034".parse().unwrap();
//!     let id = server.accept(at(0), Listener::Public, peer, wire.clone());
//!     wire.says.borrow_mut().extend(UPGRADE);
//!     server.ready(at(0), id, readable);
//!     id
//! });
//! while server.run(at(0)) {}
//! assert_eq!(server.sessions(), 2);
//! assert!(ann.hears.take().starts_with(b"HTTP/1.1 101 "));
//! assert!(bob.hears.take().starts_with(b"HTTP/1.1 101 "));
//!
//! // Ann says "hi": FIN and text, masked with zeros, two bytes. Everybody hears it, she too.
//! ann.says.borrow_mut().extend(b"\x81\x82\0\0\0\0hi");
//! server.ready(at(1000), ids[0], readable);
//! while server.run(at(1000)) {}
//! assert_eq!(ann.hears.take(), b"\x81\x02hi");
//! assert_eq!(bob.hears.take(), b"\x81\x02hi");
//!
//! // Half a minute of silence: both are pinged.
//! while server.run(at(30_000)) {}
//! assert_eq!(ann.hears.take(), b"\x89\x00");
//! assert_eq!(bob.hears.take(), b"\x89\x00");
//! server.check();
//! ```
pub mod cli;
pub mod client;
pub mod config;
pub mod conn;
pub mod doctor;
pub mod feed;
pub mod hub;
pub mod id;
pub mod keys;
pub mod lifetime;
pub mod limits;
pub mod membership;
pub mod metrics;
pub mod order;
pub mod outbound;
pub mod pool;
pub mod position;
pub mod rate;
pub mod reason;
pub mod server;
pub mod settings;
pub mod shell;
pub mod site;
pub mod text;
pub mod time;
pub mod visa;
pub mod wheel;
pub mod wire;
pub mod work;
