//! The commands that wait for their entry: bounded, refusing early, drained a batch at a time.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hansa_types::id::NodeId;
use hansa_types::limits::{COMMAND_BYTES_MAX, ENTRY_BYTES_MAX, ENTRY_COMMANDS_MAX};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::outcome::SubmitError;
use crate::room::RETRY_AFTER;

/// An entry sets out behind another with so much only: what is less shares the next one, which
/// every replica writes, hashes and applies as one.
const BEHIND_COMMANDS_MIN: usize = 32;
const BEHIND_BYTES_MIN: usize = 64 << 10;

/// What a queue may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub commands: usize,
    pub bytes: usize,
}

/// Commands that travel together, and who waits for what comes of them.
pub(crate) struct Item<O> {
    pub commands: Commands,
    pub reply: Reply<O>,
}

pub(crate) enum Commands {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Commands {
    pub fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(command) => std::slice::from_ref(command),
            Self::Many(commands) => commands,
        }
    }
}

pub(crate) enum Reply<O> {
    One(oneshot::Sender<Result<O, SubmitError>>),
    Many(oneshot::Sender<Result<Vec<O>, SubmitError>>),
}

impl<O> Reply<O> {
    /// Nobody waits any more.
    pub fn abandoned(&self) -> bool {
        match self {
            Self::One(tx) => tx.is_closed(),
            Self::Many(tx) => tx.is_closed(),
        }
    }

    pub fn refuse(self, why: SubmitError) {
        // A caller that no longer waits has its answer: unknown.
        match self {
            Self::One(tx) => drop(tx.send(Err(why))),
            Self::Many(tx) => drop(tx.send(Err(why))),
        }
    }
}

/// Who may enter: the leader's queue is open, any other is closed with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    NotLeader(Option<NodeId>),
    Stopped,
}

pub(crate) struct Queue<O> {
    waiting: Mutex<Waiting<O>>,
    /// Wakes the proposer; one permit is kept, so a wake-up between two looks is not lost.
    pub arrived: Notify,
    bounds: Bounds,
}

struct Waiting<O> {
    items: VecDeque<Item<O>>,
    commands: usize,
    bytes: usize,
    door: Door,
    /// The disks have no room for what would come in.
    full: bool,
    /// Commands per second that lately left, for the advice to those refused.
    rate: f64,
}

impl<O> Queue<O> {
    pub fn new(bounds: Bounds) -> Self {
        let waiting = Waiting {
            items: VecDeque::new(),
            commands: 0,
            bytes: 0,
            door: Door::NotLeader(None),
            full: false,
            rate: 0.0,
        };
        Self { waiting: Mutex::new(waiting), arrived: Notify::new(), bounds }
    }

    /// Puts an item into the queue, or refuses it at once.
    pub fn push(&self, item: Item<O>) -> Result<(), SubmitError> {
        let commands = item.commands.as_slice();
        let (count, bytes) = (commands.len(), size(commands));
        let too_large = commands.iter().any(|command| command.len() > COMMAND_BYTES_MAX);
        if too_large || count > ENTRY_COMMANDS_MAX || bytes > ENTRY_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        let mut waiting = self.waiting.lock();
        match waiting.door {
            Door::Open => {}
            Door::NotLeader(leader) => return Err(SubmitError::NotLeader { leader }),
            Door::Stopped => return Err(SubmitError::Stopped),
        }
        if waiting.full {
            return Err(SubmitError::DiskFull { retry_after: RETRY_AFTER });
        }
        let full = waiting.commands + count > self.bounds.commands
            || waiting.bytes + bytes > self.bounds.bytes;
        // An item larger than the whole queue still enters an empty one: it fits an entry.
        if full && !waiting.items.is_empty() {
            return Err(SubmitError::Overloaded { retry_after: waiting.drained_in() });
        }
        waiting.commands += count;
        waiting.bytes += bytes;
        waiting.items.push_back(item);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes what fits one entry, oldest first; abandoned items are dropped, nobody waits for them.
    /// Behind an entry that is on its way less than [`BEHIND_COMMANDS_MIN`] and
    /// [`BEHIND_BYTES_MIN`] waits.
    pub fn take_entry(&self, behind: bool) -> Vec<Item<O>> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut commands, mut bytes) = (Vec::new(), 0, 0);
        let few = waiting.commands < BEHIND_COMMANDS_MIN && waiting.bytes < BEHIND_BYTES_MIN;
        if behind && few {
            return taken;
        }
        while let Some(next) = waiting.items.front() {
            let (count, size) = (next.commands.as_slice().len(), size(next.commands.as_slice()));
            let abandoned = next.reply.abandoned();
            let fits = commands + count <= ENTRY_COMMANDS_MAX && bytes + size <= ENTRY_BYTES_MAX;
            if !abandoned && !fits {
                break;
            }
            let Some(item) = waiting.items.pop_front() else { break };
            waiting.commands -= count;
            waiting.bytes -= size;
            if !abandoned {
                commands += count;
                bytes += size;
                taken.push(item);
            }
        }
        taken
    }

    /// Opens or closes the door. What waits behind a closed door is refused: none of it was
    /// proposed.
    pub fn set_door(&self, door: Door) {
        let refused = {
            let mut waiting = self.waiting.lock();
            if waiting.door == Door::Stopped {
                return;
            }
            waiting.door = door;
            if door == Door::Open {
                return;
            }
            (waiting.commands, waiting.bytes) = (0, 0);
            std::mem::take(&mut waiting.items)
        };
        let why = match door {
            Door::NotLeader(leader) => SubmitError::NotLeader { leader },
            Door::Open | Door::Stopped => SubmitError::Stopped,
        };
        for item in refused {
            item.reply.refuse(why.clone());
        }
    }

    /// Takes no commands while the disks are full. What waits is refused too: none of it was
    /// proposed.
    pub fn set_full(&self, full: bool) {
        let refused = {
            let mut waiting = self.waiting.lock();
            waiting.full = full;
            if !full {
                return;
            }
            (waiting.commands, waiting.bytes) = (0, 0);
            std::mem::take(&mut waiting.items)
        };
        for item in refused {
            item.reply.refuse(SubmitError::DiskFull { retry_after: RETRY_AFTER });
        }
    }

    /// Notes that `commands` took `within`, so that a refusal can say when to come back.
    pub fn note_rate(&self, commands: usize, within: Duration) {
        let now = commands as f64 / within.as_secs_f64().max(1e-6);
        let mut waiting = self.waiting.lock();
        waiting.rate = if waiting.rate == 0.0 { now } else { 0.9 * waiting.rate + 0.1 * now };
    }
}

impl<O> Waiting<O> {
    /// When the queue will have drained at its late rate, within reason.
    fn drained_in(&self) -> Duration {
        let seconds = if self.rate > 0.0 { self.commands as f64 / self.rate } else { 0.1 };
        Duration::from_secs_f64(seconds.clamp(0.01, 2.0))
    }
}

fn size(commands: &[Bytes]) -> usize {
    commands.iter().map(|command| command.len() + 4).sum()
}

#[cfg(test)]
mod tests;
