//! Customers who ask again, are forgotten, and move.

use hansa_types::hash::StateHash;
use hansa_types::id::OrderId;
use hansa_types::region::{RegionNumber, Slot};

use super::Story;
use crate::core::command::Command;
use crate::core::contents::Sealed;
use crate::core::keys::{Key, Scope};
use crate::core::moves::{Keep, Leave, Step, print_of};
use crate::core::subjects::{Asked, Cause, Erase, KeyOf, KeyStep, Next, SubjectId, Wrapped};
use crate::core::tests::{FIRST, START, accept, line, with_lines, wrapped};

const CUSTOMERS: u64 = 4;

fn region(n: u16) -> RegionNumber {
    RegionNumber::try_from(n).unwrap()
}

fn block(fill: u64) -> Sealed {
    Sealed { nonce: [fill as u8; 12], ciphertext: vec![7; 40].into() }
}

impl Story {
    fn somebody(&mut self) -> SubjectId {
        SubjectId { home: region(1), hash: 1_000 + u128::from(self.rng.below(CUSTOMERS)) }
    }

    /// The key that what is his is sealed with.
    fn key_of(&self, subject: SubjectId) -> (KeyOf, Option<Wrapped>) {
        match self.state.sealing_key(subject) {
            Next::Use(generation, _) => (KeyOf { subject, generation }, None),
            Next::Mint(generation, by) => {
                let mint = wrapped(by.unwrap_or(FIRST), generation as u8);
                (KeyOf { subject, generation }, Some(mint))
            }
        }
    }

    pub(super) fn of_somebody(&mut self, order: Command) -> Command {
        let Command::Accept(mut accept) = order else { return order };
        let subject = self.somebody();
        (accept.contents.sealed_with, accept.mint) = self.key_of(subject);
        accept.contents.personal = (!self.rng.one_in(4)).then(|| block(self.orders));
        let command = Box::new(Command::Accept(accept));
        self.asked.push((*command).clone());
        match self.state.moves.get(subject).map_or(0, |row| row.epoch) {
            0 => *command,
            epoch => Command::Resident { epoch, command },
        }
    }

    pub(super) fn people(&mut self) {
        let subject = self.somebody();
        let now_ms = self.now.ms();
        match self.rng.below(8) {
            0..3 => self.again(),
            3 => {
                let request = Scope(1 << 80 | u128::from(self.rng.below(40)));
                let (asked_ms, destroy_after_ms) = (now_ms, now_ms + 9);
                self.apply(Command::Erase(Erase { subject, request, asked_ms, destroy_after_ms }));
            }
            4 => {
                self.told(subject);
                // What he orders, or is brought, before that is done.
                self.cards();
                self.keep(subject);
            }
            5 => self.keep(subject),
            6 => self.leave(subject),
            _ => self.comes_and_goes(subject),
        }
    }

    /// A request is repeated; now and then with another body.
    fn again(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let n = self.rng.below(self.asked.len() as u64) as usize;
        let mut command = self.asked[n].clone();
        let other = u128::from(self.rng.below(2));
        match &mut command {
            Command::Accept(accept) => {
                let Key { body, .. } = &mut accept.key;
                *body ^= other;
                // Drawn anew by who is asked.
                self.orders += 1;
                accept.order = crate::core::tests::order_id(self.orders);
            }
            Command::Cancel { key, .. }
            | Command::Ship { key, .. }
            | Command::Return { key, .. }
            | Command::Refund { key, .. } => key.body ^= other,
            other => panic!("{other:?}"),
        }
        self.apply(command);
    }

    /// A few orders that are over at once.
    fn cards(&mut self) {
        for _ in 0..self.rng.below(4) {
            self.orders += 1;
            let order = accept(self.orders, with_lines(vec![line("CARD", 1, 0, None)]));
            let order = self.of_somebody(order);
            self.apply(order);
            // Of this order, if it was taken.
            if let Some(call) = self.state.due(self.state.meta.next_work.saturating_sub(1), 1).pop()
            {
                let result = self.perform(&call);
                self.report(call, result);
            }
        }
        self.now = self.now.plus_ms(self.rng.below(3) * 1_000);
        self.tick();
    }

    fn told(&mut self, subject: SubjectId) {
        let cause = [Cause::Unsaid, Cause::Erased][self.rng.below(2) as usize];
        let request = Scope(1 << 81 | u128::from(self.rng.below(40)));
        let asked_ms = self.now.ms() - self.rng.below(60_000);
        let keys = vec![KeyOf { subject, generation: 1 }];
        let asked = Asked { request, cause };
        let told = KeyStep::Told { keys, asked, asked_ms, destroy_after_ms: asked_ms + 9 };
        self.apply(Command::Keys(told));
        for due in self.state.owed_now(9, 9) {
            self.apply(Command::Keys(due));
        }
    }

    /// Something of his comes from elsewhere; later he does not, or what came is given up.
    fn keep(&mut self, subject: SubjectId) {
        let (of, mint) = self.key_of(subject);
        let n = self.rng.below(20);
        let order = OrderId::new(START, region(2), Slot::of(b"k"), n);
        let blocks = vec![(order, "GB".parse().unwrap(), block(n))];
        let dead = self.state.subjects.dead(subject);
        let keep = Keep { of, mint, blocks, from: region(2), dead };
        self.apply(Command::Moves(Step::Keep(Box::new(keep))));
        if self.rng.one_in(2) {
            let (by, asked_ms) = (Some(region(2)), self.now.ms());
            let destroy_after_ms = asked_ms + 9;
            let step = Step::Abandon { subject, by, asked_ms, destroy_after_ms };
            self.apply(Command::Moves(step));
        }
    }

    fn leave(&mut self, subject: SubjectId) {
        let request = Scope(1 << 82 | u128::from(self.rng.next()));
        let (to, at_ms) = (region(2), self.now.ms());
        self.apply(Command::Moves(Step::Begin { subject, to, request, at_ms }));
        let (of, _) = self.key_of(subject);
        let (mut digest, mut orders) = (StateHash::default(), 0);
        for (id, law, personal) in self.state.blocks(of) {
            digest.add(print_of(id, law, &personal));
            orders += 1;
        }
        let leave = Leave {
            subject,
            to,
            epoch: self.state.moves.get(subject).map_or(0, |row| row.epoch) + 1,
            generation: of.generation,
            orders,
            digest,
            request,
            asked_ms: at_ms,
            delete_after_ms: at_ms + 9,
            by: "op".into(),
            reason: "asked".into(),
            ticket: "T-1".into(),
        };
        self.apply(Command::Moves(Step::Leave(Box::new(leave))));
    }

    /// What he left is deleted, he comes back, or another region says that he lives there.
    fn comes_and_goes(&mut self, subject: SubjectId) {
        let epoch = self.state.moves.get(subject).map_or(0, |row| row.epoch) + 1;
        let at_ms = self.now.ms();
        let step = match self.rng.below(4) {
            0 => {
                let (asked_ms, destroy_after_ms) = (at_ms, at_ms + 9);
                let (by, reason) = (String::new(), String::new());
                Step::Delete { subject, asked_ms, destroy_after_ms, by, reason }
            }
            1 => Step::Recall { subject, epoch, at_ms, by: "op".into(), reason: "lost".into() },
            2 => Step::Arrive { subject, from: region(2), epoch, at_ms, untold: false },
            _ => Step::Follow { subject, to: region(2), epoch, at_ms },
        };
        self.apply(Command::Moves(step));
    }
}
