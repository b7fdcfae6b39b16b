//! Machines that are parts of another one: one log, one leader, one time and one digest for all.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::oneshot;

use crate::machine::Machine;
use crate::outcome::SubmitError;
use crate::queue::{Commands, Item, Queue, Reply};
use crate::replica::{Cell, ReadAt};

/// A machine that another one is a part of.
///
/// The whole decides what it does with a command; a handle on the part ([`crate::Group::part`])
/// says what is meant for it, and shows no more of the whole than the part.
///
/// # Invariant
/// `apply` of the whole gives a command behind `TAG` to the part, in a way that
/// [`Holds::outcome`] knows again, and its records under numbers raised by `TABLES`
/// ([`crate::Records::of_part`]). [`Machine::same_parts`] tells a whole with the part from one
/// without.
pub trait Holds<P: Machine>: Machine {
    /// In front of the part's commands in the log; `None` where they are the whole's own.
    const TAG: Option<u8>;
    /// Added to the numbers of the part's archive tables.
    const TABLES: u8;

    /// The part, where the whole has it.
    fn part(&self) -> Option<&P>;

    /// What came of a command of the part; `None` for what came of another's.
    fn outcome(of: Self::Outcome) -> Option<P::Outcome>;
}

/// What comes of commands, once it is known. Who drops it waits no longer.
pub(crate) type Answer<T> = BoxFuture<'static, Result<T, SubmitError>>;

/// The way from a handle to its machine.
pub(crate) trait Access<M: Machine>: Send + Sync {
    /// Looks once.
    fn look(&self, look: &mut dyn FnMut(&M));
    fn look_at(&self, look: &mut dyn FnMut(&M, ReadAt));
    fn submit(&self, command: Bytes) -> Result<Answer<M::Outcome>, SubmitError>;
    fn submit_many(&self, commands: Vec<Bytes>) -> Result<Answer<Vec<M::Outcome>>, SubmitError>;
    /// Changes the machine behind the log's back, as broken memory would.
    #[cfg(test)]
    fn corrupt(&self, change: &mut dyn FnMut(&mut M));
}

/// The way to a machine that is no part.
pub(crate) struct Whole<M: Machine> {
    pub cell: Arc<Cell<M>>,
    pub queue: Arc<Queue<M::Outcome>>,
}

impl<M: Machine> Access<M> for Whole<M> {
    fn look(&self, look: &mut dyn FnMut(&M)) {
        self.cell.peek(look);
    }

    fn look_at(&self, look: &mut dyn FnMut(&M, ReadAt)) {
        self.cell.peek_at(look);
    }

    fn submit(&self, command: Bytes) -> Result<Answer<M::Outcome>, SubmitError> {
        let (tx, rx) = oneshot::channel();
        self.queue.push(Item { commands: Commands::One(command), reply: Reply::One(tx) })?;
        Ok(rx.map(received).boxed())
    }

    fn submit_many(&self, commands: Vec<Bytes>) -> Result<Answer<Vec<M::Outcome>>, SubmitError> {
        let (tx, rx) = oneshot::channel();
        self.queue.push(Item { commands: Commands::Many(commands), reply: Reply::Many(tx) })?;
        Ok(rx.map(received).boxed())
    }

    #[cfg(test)]
    fn corrupt(&self, change: &mut dyn FnMut(&mut M)) {
        self.cell.corrupt(change);
    }
}

type Received<T> = Result<Result<T, SubmitError>, oneshot::error::RecvError>;

fn received<T>(answer: Received<T>) -> Result<T, SubmitError> {
    // The proposer dropped the reply: it stopped after proposing.
    answer.unwrap_or(Err(SubmitError::Unknown))
}

/// The way to a part of `W`.
pub(crate) struct Through<W: Machine> {
    pub whole: Arc<dyn Access<W>>,
}

impl<W: Holds<P>, P: Machine> Access<P> for Through<W> {
    fn look(&self, look: &mut dyn FnMut(&P)) {
        self.whole.look(&mut |whole| look(part_of(whole)));
    }

    fn look_at(&self, look: &mut dyn FnMut(&P, ReadAt)) {
        self.whole.look_at(&mut |whole, at| look(part_of(whole), at));
    }

    fn submit(&self, command: Bytes) -> Result<Answer<P::Outcome>, SubmitError> {
        let answer = self.whole.submit(tagged::<W, P>(command))?;
        Ok(answer.map(|of| of.map(outcome_of::<W, P>)).boxed())
    }

    fn submit_many(&self, commands: Vec<Bytes>) -> Result<Answer<Vec<P::Outcome>>, SubmitError> {
        let commands = commands.into_iter().map(tagged::<W, P>).collect();
        let answer = self.whole.submit_many(commands)?;
        let part = |all: Vec<_>| all.into_iter().map(outcome_of::<W, P>).collect();
        Ok(answer.map(move |all| all.map(part)).boxed())
    }

    #[cfg(test)]
    fn corrupt(&self, _change: &mut dyn FnMut(&mut P)) {
        unreachable!("memory breaks in wholes");
    }
}

fn part_of<W: Holds<P>, P: Machine>(whole: &W) -> &P {
    match whole.part() {
        Some(part) => part,
        None => unreachable!("no machine with other parts takes a machine's place"),
    }
}

fn outcome_of<W: Holds<P>, P: Machine>(of: W::Outcome) -> P::Outcome {
    match W::outcome(of) {
        Some(outcome) => outcome,
        None => unreachable!("what comes of a part's command is the part's"),
    }
}

fn tagged<W: Holds<P>, P: Machine>(command: Bytes) -> Bytes {
    match W::TAG {
        None => command,
        Some(tag) => [&[tag], &command[..]].concat().into(),
    }
}
