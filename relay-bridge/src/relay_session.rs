//! One connection of our own relay, as the engine sees it: a queue of texts to be written, bounded in bytes.
//!
//! Nothing is lost in silence: who publishes waits while a reader's queue is full, and a reader that stays full for
//! longer than the limits allow is disconnected, which it notices.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// The queue is counted in units of this many bytes, at least one for each text.
const UNIT_BYTES: usize = 1_024;

/// A connection to our relay.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) number: u64,
    /// Ended when the connection is, or to end it.
    pub(crate) ended: CancellationToken,
    queue: mpsc::UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
    stall_max: Duration,
    subscriptions: Mutex<HashSet<String>>,
}

/// A text to be written; its room in the queue is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) text: String,
    _room: OwnedSemaphorePermit,
}

impl Peer {
    pub(crate) fn new(
        number: u64,
        queue_bytes_max: usize,
        stall_max: Duration,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Outgoing>) {
        let (queue, outgoing) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(queue_bytes_max / UNIT_BYTES));
        let ended = CancellationToken::new();
        let peer = Self { number, ended, queue, room, stall_max, subscriptions: Mutex::default() };
        (Arc::new(peer), outgoing)
    }

    /// Queues a text; waits for room, and ends the connection when there is none for too long.
    pub(crate) async fn send(&self, text: String) {
        let units = units(&text);
        let room = match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(room) => room,
            Err(_) => {
                let waiting = Arc::clone(&self.room).acquire_many_owned(units);
                let acquired = tokio::select! {
                    acquired = tokio::time::timeout(self.stall_max, waiting) => acquired,
                    () = self.ended.cancelled() => return,
                };
                let Ok(Ok(room)) = acquired else {
                    tracing::warn!(
                        connection = self.number,
                        "connection does not read what it asked for: ended"
                    );
                    self.ended.cancel();
                    return;
                };
                room
            }
        };
        // A closed queue belongs to a connection that has ended.
        drop(self.queue.send(Outgoing { text, _room: room }));
    }

    /// Queues a text if there is room now.
    pub(crate) fn try_send(&self, text: String) -> bool {
        match Arc::clone(&self.room).try_acquire_many_owned(units(&text)) {
            Ok(room) => self.queue.send(Outgoing { text, _room: room }).is_ok(),
            Err(_) => false,
        }
    }

    /// Remembers a subscription; false when there are too many.
    pub(crate) fn add_subscription(&self, id: &str, max: usize) -> bool {
        let mut subscriptions = lock(&self.subscriptions);
        if subscriptions.len() >= max && !subscriptions.contains(id) {
            return false;
        }
        subscriptions.insert(id.to_owned());
        true
    }

    pub(crate) fn remove_subscription(&self, id: &str) {
        lock(&self.subscriptions).remove(id);
    }

    pub(crate) fn take_subscriptions(&self) -> HashSet<String> {
        std::mem::take(&mut *lock(&self.subscriptions))
    }
}

fn units(text: &str) -> u32 {
    u32::try_from(text.len() / UNIT_BYTES).unwrap_or(u32::MAX).saturating_add(1)
}
