//! Names to addresses, without stopping the loop.
//!
//! `getaddrinfo(3)` is the only reader of names that knows what the system's administrator has
//! decided, and it waits: for seconds, if the name server is silent. So a thread waits in its
//! place, the only one beside the loop's. It sleeps until it is asked, knows nothing of the server,
//! and answers by waking the poll. A resolver of our own would need no thread, and would be wrong
//! wherever names come from elsewhere than DNS.
//!
//! What it costs: a stack of 256 KiB, of which a few pages are touched. Nothing is asked while a
//! connection stands.
//!
//! The surprise: an answer may come long after whoever asked has given up. It says what was asked,
//! and who does not wait for it any more forgets it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use mio::{Registry, Token, Waker};

/// The most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The most questions that wait; each line has one at a time.
const QUESTIONS_MAX: usize = 2;

/// Bytes of the thread's stack. Readers of names use some tens of KiB, and the C library's plug-ins
/// for other sources of names more.
const STACK_BYTES: usize = 256 * 1024;

/// A name that is to be resolved.
struct Question {
    /// Whose question it is: whatever the asker has numbered so.
    asker: usize,
    host: Box<str>,
    port: u16,
}

/// What a name stands for.
pub(super) struct Answer {
    /// The number of whoever has asked.
    pub(super) asker: usize,
    /// The addresses in the order in which they should be tried: 1 to 16, or why there are none.
    pub(super) addresses: io::Result<Vec<SocketAddr>>,
}

/// The thread that resolves names.
pub(super) struct Resolver {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts the thread, which tells the poll of answers as `token`. The thread ends when this
    /// value is gone and its last question is answered.
    pub(super) fn start(registry: &Registry, token: Token) -> io::Result<Resolver> {
        let waker = Waker::new(registry, token)?;
        let (questions, asked) = sync_channel::<Question>(QUESTIONS_MAX);
        let (answer, answers) = sync_channel(QUESTIONS_MAX);
        thread::Builder::new().name("resolver".to_owned()).stack_size(STACK_BYTES).spawn(
            move || {
                for Question { asker, host, port } in asked {
                    let addresses = resolve(&host, port);
                    // Without a loop there is nobody left to tell.
                    if answer.send(Answer { asker, addresses }).is_err() || waker.wake().is_err() {
                        return;
                    }
                }
            },
        )?;
        Ok(Resolver { questions, answers })
    }

    /// Asks for the addresses of `host`. Whoever asks must have had its last answer.
    ///
    /// # Errors
    /// If the thread is gone.
    pub(super) fn ask(&self, asker: usize, host: &str, port: u16) -> io::Result<()> {
        let question = Question { asker, host: host.into(), port };
        self.questions.try_send(question).map_err(io::Error::other)
    }

    /// The next answer that has come.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// Asks the system, and waits for its answer.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    use mio::{Events, Poll};

    #[test]
    fn each_asker_is_told_and_the_poll_is_woken() {
        let mut poll = Poll::new().unwrap();
        let resolver = Resolver::start(poll.registry(), Token(7)).unwrap();
        resolver.ask(0, "localhost", 80).unwrap();
        resolver.ask(1, "no such name.invalid", 80).unwrap();
        let mut told = [None, None];
        let mut events = Events::with_capacity(8);
        while told.iter().any(Option::is_none) {
            poll.poll(&mut events, None).unwrap();
            assert!(events.iter().all(|event| event.token() == Token(7)));
            while let Some(answer) = resolver.answer() {
                told[answer.asker] = Some(answer.addresses);
            }
        }
        let [Some(Ok(addresses)), Some(Err(_))] = &told else { panic!("{told:?}") };
        assert!(!addresses.is_empty());
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(addresses.iter().all(|address| address.port() == 80));
    }
}
