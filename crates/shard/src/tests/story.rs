//! What callers send the parts, drawn from a seed.

use hansa_ledger::core::inventory::{self, Adjust, CommandId, Receive, Reserve, StockLine};
use hansa_ledger::core::payments::{self, Authorize, Capture, PaymentKey, Refund, Void};
use hansa_ledger::machine::Batch;
use hansa_orders::core::command::{Accept, Command};
use hansa_orders::core::contents::{Contents, Line, LineKind, Sealed, Token};
use hansa_orders::core::effect::{Call, Reference, Report, SettleResult, StepResult, Todo};
use hansa_orders::core::keys::{Key, Scope};
use hansa_orders::core::lasting;
use hansa_orders::core::remote::RemoteStep;
use hansa_orders::core::settings::Settings;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_types::id::{OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::region::{RegionNumber, Slot};
use hansa_types::time::LogTime;

const START: u64 = 1_700_000_000_000;
const WINDOW_MS: u64 = 86_400_000;
const SKUS: [&str; 3] = ["A", "B", "C"];

pub fn rules() -> Settings {
    Settings {
        region: region(),
        index: 0,
        groups: 1,
        epoch: 1,
        hold_ttl_ms: 60_000,
        hold_cap_ms: 300_000,
        settle_ms: 30_000,
        funds_ttl_ms: WINDOW_MS,
        park_after_ms: 3_600_000,
        key_ttl_ms: WINDOW_MS,
        history_max: 64,
        evict_after_ms: 0,
    }
}

/// The books that this story's orders use: of another group, so that each part acts by itself.
const OTHER: u16 = 1;

pub fn stock_rules() -> inventory::Settings {
    inventory::Settings {
        id_window_ms: WINDOW_MS,
        hold_ms_max: WINDOW_MS,
        default_warehouse: "main".to_owned(),
    }
}

pub fn money_rules() -> payments::Settings {
    payments::Settings { id_window_ms: WINDOW_MS, evict_after_ms: 0 }
}

fn region() -> RegionNumber {
    1.try_into().unwrap()
}

fn order(n: u64) -> OrderId {
    OrderId::new(LogTime(START), region(), Slot::of(&n.to_le_bytes()), n)
}

/// The callers of all parts.
pub struct Story {
    draws: u64,
    pub at: LogTime,
    placed: u64,
    holds: Vec<TransferId>,
    charges: Vec<(TransferId, PaymentKey)>,
    /// The last step of an order that was taken up.
    cursor: u64,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let draws = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (holds, charges) = (Vec::new(), Vec::new());
        Self { draws, at: LogTime(START), placed: 0, holds, charges, cursor: 0 }
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        (self.draws >> 16) % below
    }

    /// The time of the next entry: now and then late enough for holds to run out.
    pub fn pass(&mut self) -> LogTime {
        let by = if self.draw(8) == 0 { 70_000 } else { 1_000 };
        self.at = self.at.plus_ms(by);
        self.at
    }

    /// A command of the orders: a new one, or what came of their steps.
    pub fn orders(&mut self, machine: &OrdersMachine) -> Vec<u8> {
        match self.draw(8) {
            0 | 1 => self.accept().encode(),
            2 => {
                let (order, key) = (order(1 + self.draw(self.placed + 1)), self.key());
                let command = Box::new(Command::Cancel { order, key, reason: "late".into() });
                Command::Dated { first_sent_ms: START, command }.encode()
            }
            // Of which only a hash lasts.
            3 => lasting::to_log(&Command::Remote(RemoteStep::Purge(Vec::new())), || [9; 16]),
            4 => vec![0, 1, 2],
            _ => {
                let due = machine.state.due(self.cursor, 8);
                self.cursor = due.last().map_or(self.cursor, |last| last.no);
                Command::Report(due.iter().filter_map(|call| self.answer(call)).collect()).encode()
            }
        }
    }

    fn key(&mut self) -> Key {
        let hash = u128::from(self.draw(1 << 40)) + 1;
        Key { scope: Scope(hash), body: hash }
    }

    fn accept(&mut self) -> Command {
        self.placed += 1;
        let n = self.placed;
        let subject = SubjectId { home: region(), hash: u128::from(n) };
        let line = |sku: &str, quantity, price_minor| Line {
            kind: LineKind::Stock,
            sku: Some(sku.parse().unwrap()),
            description: "LANTERN".to_owned(),
            quantity,
            price_minor,
            stock_group: Some(OTHER),
        };
        let contents = Contents {
            caller: "storefront".to_owned(),
            sealed_with: KeyOf { subject, generation: 1 },
            guest: false,
            residence: "GB".parse().unwrap(),
            request: format!("request-{n}").parse().unwrap(),
            currency: Currency::GBP,
            lines: vec![line("A", 2, 255), line("B", 1, 100)],
            total_minor: 610,
            token: Token("tok_approve".to_owned()),
            personal: Some(Sealed { nonce: [1; 12], ciphertext: vec![2; 40].into() }),
            payment_group: OTHER,
            reference: String::new(),
            placed_ms: None,
        };
        let wrapped = Wrapped { by: RegionKey(1), nonce: [3; 12], ciphertext: vec![4; 80].into() };
        let (order, key, mint) = (order(n), self.key(), Some(wrapped));
        Command::Accept(Box::new(Accept { order, key, epoch: 1, contents, mint }))
    }

    fn answer(&mut self, call: &Call) -> Option<Report> {
        let result = match &call.todo {
            Todo::Book(_) => StepResult::Done,
            Todo::Authorize { .. } => StepResult::Authorized(Reference("ch_1".to_owned())),
            Todo::Settle(settle) => StepResult::Settled(SettleResult {
                committed: (1 << settle.parts.len()) - 1,
                captured: true,
                booked: true,
                refusal: None,
            }),
            // Nobody takes it up.
            _ => return None,
        };
        Some(Report { order: call.order, no: call.no, result })
    }

    fn id(&mut self) -> TransferId {
        TransferId::derive(self.at, &[&self.draw(1 << 40).to_le_bytes()])
    }

    /// One of the last, if there is any.
    fn one_of<T: Copy>(&mut self, known: &[T]) -> Option<T> {
        let last = known.iter().rev().take(3).copied().collect::<Vec<_>>();
        (!last.is_empty()).then(|| last[self.draw(last.len() as u64) as usize])
    }

    /// A batch of one or two commands of the stock books; now and then with a tail that is none.
    pub fn stock(&mut self) -> Vec<u8> {
        let mut batch = Batch::default();
        for _ in 0..=self.draw(2) {
            let (id, sku) = (self.id(), SKUS[self.draw(3) as usize]);
            let hold = self.one_of(&self.holds.clone()).unwrap_or(id);
            let given = CommandId::Given(id);
            match self.draw(8) {
                0 | 1 => batch.push(&inventory::Command::Receive(Receive {
                    id: given,
                    sku,
                    warehouse: None,
                    quantity: 20,
                    document: "d",
                })),
                2 | 3 => {
                    self.holds.push(id);
                    let lines = vec![StockLine { line: 1, sku, warehouse: None, quantity: 3 }];
                    let (order, ttl_ms) = (order(self.placed), 60_000);
                    batch.push(&inventory::Command::Reserve(Reserve { id, order, ttl_ms, lines }));
                }
                4 => batch.push(&inventory::Command::Commit { id, hold }),
                5 => batch.push(&inventory::Command::Uncommit { id, hold }),
                6 => batch.push(&inventory::Command::Release { id, hold }),
                _ => batch.push(&inventory::Command::Adjust(Adjust {
                    id: given,
                    sku,
                    warehouse: None,
                    delta: -1,
                    expected_on_hand: None,
                    force: true,
                    reason: "broken",
                    document: "d",
                })),
            }
        }
        self.perhaps_cut(batch.finish())
    }

    /// The same for the money books.
    pub fn money(&mut self) -> Vec<u8> {
        let mut batch = Batch::default();
        for _ in 0..=self.draw(2) {
            let (id, new) = (self.id(), PaymentKey(1 << 100 | u128::from(self.draw(4))));
            let (hold, payment) = self.one_of(&self.charges.clone()).unwrap_or((id, new));
            batch.push(&match self.draw(5) {
                0 | 1 => {
                    self.charges.push((id, new));
                    let (payment, order, currency) = (new, order(new.0 as u64), Currency::GBP);
                    let (amount, timeout_ms) = (500, 60_000);
                    let of = Authorize { id, payment, order, amount, currency, timeout_ms };
                    payments::Command::Authorize(of)
                }
                2 => payments::Command::Capture(Capture {
                    id,
                    hold,
                    payment,
                    amount: None,
                    remainder: None,
                }),
                3 => payments::Command::Void(Void { id, hold, payment }),
                _ => payments::Command::Refund(Refund { id, payment, amount: 20 }),
            });
        }
        self.perhaps_cut(batch.finish())
    }

    fn perhaps_cut(&mut self, mut batch: Vec<u8>) -> Vec<u8> {
        if self.draw(16) == 0 {
            batch.truncate(self.draw(batch.len() as u64) as usize);
        }
        batch
    }
}
