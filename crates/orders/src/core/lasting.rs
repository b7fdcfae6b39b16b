//! What of a command lasts.
//!
//! A law may take back what this region holds of another one's orders. The log forgets it when it
//! is purged; the archive of committed entries and backups never do. So a command that shows copies
//! is framed with a blind on its way into the log, and of it lasts what it was about, and a hash
//! over all of it. The blind does not last: the hash holds whoever has the command to its content,
//! and tells nobody else anything that could be tried out.

use bytes::Bytes;

use super::command::Command;
use super::remote::{Reduced, RemoteEvent, RemoteStep};

/// First bytes of frames; no version of a command comes near them.
pub const BLINDED: u8 = 0xb1;
pub const KEPT: u8 = 0xb2;

/// Drawn anew for each command.
pub type Blind = [u8; 16];

/// A command as bytes have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Form {
    /// It lasts as it is.
    Whole(Command),
    Blinded(Blind, Command),
    /// What lasts of a blinded one: what it was about, and the hash over its frame.
    Kept([u8; 32], Command),
}

impl Form {
    /// `None` for bytes that are no command.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&BLINDED, rest) => {
                let (blind, rest) = rest.split_first_chunk()?;
                Some(Self::Blinded(*blind, Command::bare(rest)?))
            }
            (&KEPT, rest) => {
                let (of, rest) = rest.split_first_chunk()?;
                Some(Self::Kept(*of, Command::bare(rest)?))
            }
            _ => Command::bare(bytes).map(Self::Whole),
        }
    }

    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Whole(command) => command.encode(),
            Self::Blinded(blind, command) => framed(BLINDED, blind, command),
            Self::Kept(of, about) => framed(KEPT, of, about),
        }
    }

    pub fn command(&self) -> &Command {
        match self {
            Self::Whole(command) | Self::Blinded(_, command) | Self::Kept(_, command) => command,
        }
    }
}

fn framed(kind: u8, by: &[u8], command: &Command) -> Vec<u8> {
    [&[kind], by, &command.encode()].concat()
}

/// What lasts of a command's bytes, where that is not all of them.
pub fn lasting(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.first() != Some(&BLINDED) {
        return None;
    }
    let of = *blake3::hash(bytes).as_bytes();
    // What nobody can read may show anything: the hash alone.
    let Some(Form::Blinded(_, mut command)) = Form::read(bytes) else {
        return Some([&[KEPT][..], &of[..]].concat());
    };
    strip(&mut command);
    Some(Form::Kept(of, command).write())
}

/// The bytes for the log; `blind` is asked where the command must not last as it is.
pub fn to_log(command: &Command, blind: impl FnOnce() -> Blind) -> Vec<u8> {
    match shows_copies(command) {
        true => framed(BLINDED, &blind(), command),
        false => command.encode(),
    }
}

/// Exhaustive: who adds a command says here whether it may last.
fn shows_copies(command: &Command) -> bool {
    match command {
        Command::ApplyRemote(_) => true,
        Command::Remote(step) => match step {
            RemoteStep::Refill(_)
            | RemoteStep::Purge(_)
            | RemoteStep::Retry { .. }
            | RemoteStep::Reduce(_) => true,
            RemoteStep::Held { .. } | RemoteStep::Resolve { .. } => false,
            #[cfg(test)]
            RemoteStep::Plant(..) => false,
        },
        Command::Dated { command, .. } | Command::Resident { command, .. } => {
            shows_copies(command)
        }
        Command::UnderPolicy { command, .. } => command.as_deref().is_some_and(shows_copies),
        Command::Accept(_)
        | Command::Report(_)
        | Command::Cancel { .. }
        | Command::Ship { .. }
        | Command::Return { .. }
        | Command::Refund { .. }
        | Command::Resume { .. }
        | Command::ResolveRemote { .. }
        | Command::BindVault { .. }
        | Command::Restore(_)
        | Command::Keys(_)
        | Command::Erase(_)
        | Command::Repair(_)
        | Command::Takeover(_)
        // Own orders only.
        | Command::Shelf(_)
        // Its blocks are sealed.
        | Command::Moves(_) => false,
    }
}

/// Takes out what the command shows.
fn strip(command: &mut Command) {
    match command {
        Command::ApplyRemote(batch) => empty(&mut batch.events),
        Command::Remote(RemoteStep::Refill(refill)) => empty(&mut refill.events),
        Command::Remote(RemoteStep::Retry { events, .. }) => empty(events),
        Command::Remote(RemoteStep::Purge(reduced)) => reduced.iter_mut().for_each(lessen),
        Command::Remote(RemoteStep::Reduce(reductions)) => {
            reductions.iter_mut().for_each(|reduction| lessen(&mut reduction.of));
        }
        Command::Dated { command: inner, .. }
        | Command::Resident { command: inner, .. }
        | Command::UnderPolicy { command: Some(inner), .. } => strip(inner),
        _ => {}
    }
}

fn empty(events: &mut [RemoteEvent]) {
    events.iter_mut().for_each(|event| event.view = Bytes::new());
}

/// That something stayed is still said.
fn lessen(reduced: &mut Reduced) {
    reduced.view = reduced.view.take().map(|_| Bytes::new());
}
