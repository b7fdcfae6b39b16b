//! By which residency policy the group places orders: an older one counts no more.

use hansa_types::time::LogTime;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::subjects::Wrapped;

use super::State;

impl State {
    /// The command inside, once the policy by which it came here is known not to be an old one.
    ///
    /// From the first command under a newer policy on nothing is placed by an older one.
    ///
    /// # Outcomes
    /// `NotOwner` for a policy that is older than the newest that was gone by: whoever made the
    /// command lags behind, and the home may be elsewhere by now.
    pub(super) fn under_policy(
        &mut self,
        at: LogTime,
        command: Command,
    ) -> Result<Command, Outcome> {
        let Command::UnderPolicy { version, command } = command else { return Ok(command) };
        if version < self.meta.policy {
            if let Some(minted) = command.as_deref().and_then(mint) {
                self.logged(minted);
            }
            return Err(Outcome::Refused(Refused::NotOwner));
        }
        if version > self.meta.policy {
            (self.meta.policy, self.meta.policy_since) = (version, at);
        }
        command.map(|command| *command).ok_or(Outcome::Noted)
    }
}

/// The data key that an order brings along, which lies in the log whatever becomes of the order.
fn mint(command: &Command) -> Option<&Wrapped> {
    match command {
        Command::Accept(accept) => accept.mint.as_ref(),
        Command::Dated { command, .. } | Command::Resident { command, .. } => mint(command),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::id::OrderId;
    use hansa_types::region::Slot;

    use super::*;

    /// A command that says whether it was looked at: there is no such order.
    fn resume(version: u64) -> Command {
        let order = OrderId::new(LogTime(1), 1_u16.try_into().unwrap(), Slot::of(b"x"), 5);
        let command = Some(Box::new(Command::Resume { order }));
        Command::UnderPolicy { version, command }
    }

    #[test]
    fn what_was_placed_by_an_older_policy_is_refused_once_a_newer_one_was_gone_by() {
        let mut state = State::new(crate::core::tests::settings());
        let mut now = 4;
        let mut apply = |command: Command| {
            let command = Command::decode(&command.encode()).unwrap();
            now += 1;
            state.apply(LogTime(now), command)
        };
        let looked_at = Outcome::Refused(Refused::OrderNotFound);
        assert_eq!(apply(resume(3)), looked_at);
        assert_eq!(apply(resume(3)), looked_at);
        assert_eq!(apply(resume(2)), Outcome::Refused(Refused::NotOwner));
        let only = |version| Command::UnderPolicy { version, command: None };
        assert_eq!(apply(only(7)), Outcome::Noted);
        assert_eq!(apply(only(6)), Outcome::Refused(Refused::NotOwner));
        assert_eq!(apply(resume(6)), Outcome::Refused(Refused::NotOwner));
        let nested = Command::UnderPolicy { version: 8, command: Some(Box::new(only(9))) };
        assert_eq!(apply(nested), Outcome::Refused(Refused::Malformed));
        // The eighth, by the last command: a repeat of it begins nothing.
        assert_eq!(apply(only(8)), Outcome::Noted);
        assert_eq!((state.meta.policy, state.meta.policy_since), (8, LogTime(11)));
    }
}
