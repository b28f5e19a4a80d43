//! Inbox of the chain thread: a queue of inputs from other threads.

use astreum_core::consensus::Input;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

/// Number of waiting messages above which droppable ones are dropped.
pub const MAX_WAITING: usize = 8_192;

enum Message {
    Input(Input),
    Stop,
}

/// Sending half of the inbox, for any thread. Sending never waits.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: Sender<Message>,
    waiting: Arc<AtomicUsize>,
}

/// Receiving half of the inbox, for the chain thread.
#[derive(Debug)]
pub(crate) struct Outlet {
    receiver: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
}

/// Message taken from the inbox.
pub(crate) enum Taken {
    Input(Input),
    /// No message arrived within the timeout.
    TimedOut,
    /// The thread has to stop: on request, or because all senders are gone.
    Stop,
}

/// Creates both halves of an inbox.
pub(crate) fn inbox() -> (Inbox, Outlet) {
    let (sender, receiver) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox {
        sender,
        waiting: Arc::clone(&waiting),
    };
    (inbox, Outlet { receiver, waiting })
}

impl Inbox {
    /// Adds the response to a request of the chain thread. There are at most as many responses as
    /// requests, so they are never dropped.
    pub fn answer(&self, input: Input) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Sending fails only after the chain thread has ended; the input is not needed then.
        let _ = self.sender.send(Message::Input(input));
    }

    /// Adds an input from a peer. Returns `false` if it was dropped because too many messages wait.
    pub fn offer(&self, input: Input) -> bool {
        let has_room = self.waiting.load(Ordering::Relaxed) < MAX_WAITING;
        if has_room {
            self.answer(input);
        }
        has_room
    }

    /// Stops the chain thread.
    pub(crate) fn stop(&self) {
        let _ = self.sender.send(Message::Stop);
    }
}

impl Outlet {
    /// Waits for the next message; `None` waits without a limit.
    pub(crate) fn take(&self, timeout: Option<Duration>) -> Taken {
        let message = match timeout {
            None => self.receiver.recv().map_err(RecvTimeoutError::from),
            Some(timeout) => self.receiver.recv_timeout(timeout),
        };
        match message {
            Ok(Message::Input(input)) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                Taken::Input(input)
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => Taken::Stop,
            Err(RecvTimeoutError::Timeout) => Taken::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::AtomId;

    #[test]
    fn full_inbox_drops_peer_inputs_but_not_answers() {
        let (inbox, outlet) = inbox();
        let said = || Input::Transaction {
            peer: None,
            group: None,
            id: AtomId::ZERO,
        };
        let taken = (0..MAX_WAITING + 10).filter(|_| inbox.offer(said()));
        assert_eq!(taken.count(), MAX_WAITING);
        let (block, outcome) = (AtomId::ZERO, Ok(()));
        inbox.answer(Input::Committed { block, outcome });
        for _ in 0..MAX_WAITING {
            assert!(matches!(outlet.take(None), Taken::Input(_)));
        }
        let answer = outlet.take(None);
        assert!(matches!(
            answer,
            Taken::Input(Input::Committed {
                outcome: Ok(()),
                ..
            })
        ));
        assert!(matches!(outlet.take(Some(Duration::ZERO)), Taken::TimedOut));
        assert!(inbox.offer(said()));
        inbox.stop();
        assert!(matches!(outlet.take(None), Taken::Input(_)));
        assert!(matches!(outlet.take(None), Taken::Stop));
    }
}
