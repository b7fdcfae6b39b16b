//! One orders group: the saga as the leader goes through it, its answers made up on the spot.

use anyhow::{Context as _, Result, bail, ensure};
use hansa_consensus::{Machine, Records};
use hansa_orders::core::command::{Accept, Command, Outcome};
use hansa_orders::core::contents::{Contents, Line, LineKind, Sealed, Token};
use hansa_orders::core::effect::{Call, Reference, Report, SettleResult, StepResult, Todo};
use hansa_orders::core::keys::{Key, Scope};
use hansa_orders::core::settings::Settings;
use hansa_orders::core::status::OrderStatus;
use hansa_orders::core::subjects::{KeyOf, RegionKey, SubjectId, Wrapped};
use hansa_orders::machine::OrdersMachine;
use hansa_types::region::RegionNumber;

use crate::ledger::order;
use crate::{Path, START, WINDOW_MS, at};

/// Steps that the leader takes up at once.
const CALLS_MAX: usize = 8;

pub fn saga(times: usize) -> Result<Path> {
    let mut group = Group::new()?;
    let accepts: Result<Vec<_>> = (0..times).map(accept).collect();
    let accepts = accepts?;
    Ok(Box::new(move |n| group.confirm(n, &accepts[n])))
}

pub fn digest(_times: usize) -> Result<Path> {
    let mut group = Group::new()?;
    for n in 0..50 {
        group.confirm(n, &accept(n)?)?;
    }
    Ok(Box::new(move |_| {
        std::hint::black_box(group.machine.digest());
        Ok(())
    }))
}

struct Group {
    machine: OrdersMachine,
    /// The last step that the leader took up.
    cursor: u64,
}

impl Group {
    fn new() -> Result<Self> {
        let settings = Settings {
            region: RegionNumber::try_from(1)?,
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
        };
        Ok(Self { machine: OrdersMachine::new(settings), cursor: 0 })
    }

    fn apply(&mut self, n: usize, command: &[u8]) -> Outcome {
        let mut records = Records::new();
        self.machine.advance(at(n), &mut records);
        self.machine.apply(at(n), command, &mut records)
    }

    /// One order: each step is taken up, answered, and the answer goes through the log.
    fn confirm(&mut self, n: usize, accept: &[u8]) -> Result<()> {
        let outcome = self.apply(n, accept);
        ensure!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        loop {
            let due = self.machine.state.due(self.cursor, CALLS_MAX);
            let Some(last) = due.last() else { break };
            self.cursor = last.no;
            let reports: Result<Vec<_>> = due.iter().map(answer).collect();
            let outcome = self.apply(n, &Command::Report(reports?).encode());
            ensure!(outcome == Outcome::Noted, "{outcome:?}");
        }
        let (id, state) = (order(n)?, &self.machine.state);
        let order = state.orders.get(&id).context("no order")?;
        let status = order.order_status(state.contents.get(&id).context("no contents")?);
        ensure!(status == OrderStatus::Confirmed, "{status:?}");
        Ok(())
    }
}

fn answer(call: &Call) -> Result<Report> {
    let result = match &call.todo {
        Todo::Book(_) => StepResult::Done,
        Todo::Authorize { .. } => StepResult::Authorized(Reference("ch_0123456789".to_owned())),
        Todo::Settle(settle) => StepResult::Settled(SettleResult {
            committed: (1 << settle.parts.len()) - 1,
            captured: true,
            booked: true,
            refusal: None,
        }),
        other => bail!("a step that no good order takes: {other:?}"),
    };
    Ok(Report { order: call.order, no: call.no, result })
}

/// The command that a gateway's request becomes: order `n`, by a customer who is new here.
fn accept(n: usize) -> Result<Vec<u8>> {
    let hash = n as u128 + 1;
    let sealed_with =
        KeyOf { subject: SubjectId { home: RegionNumber::try_from(1)?, hash }, generation: 1 };
    let contents = Contents {
        caller: "storefront".to_owned(),
        sealed_with,
        guest: false,
        residence: "GB".parse()?,
        request: format!("request-{n:08}").parse()?,
        currency: "GBP".parse()?,
        lines: vec![line("85123A", 2, 255, 0)?, line("71053", 6, 339, 1)?],
        total_minor: 2 * 255 + 6 * 339,
        token: Token("tok_approve".to_owned()),
        personal: Some(Sealed { nonce: [1; 12], ciphertext: vec![2; 160].into() }),
        payment_group: 0,
        reference: format!("invoice-{n:08}"),
        placed_ms: Some(START),
    };
    let mint = Wrapped { by: RegionKey(1 << 48), nonce: [3; 12], ciphertext: vec![4; 80].into() };
    let accept = Accept {
        order: order(n)?,
        key: Key { scope: Scope(hash), body: hash },
        epoch: 1,
        contents,
        mint: Some(mint),
    };
    let command = Box::new(Command::Accept(Box::new(accept)));
    Ok(Command::UnderPolicy { version: 1, command: Some(command) }.encode())
}

fn line(sku: &str, quantity: u32, price_minor: i64, group: u16) -> Result<Line> {
    Ok(Line {
        kind: LineKind::Stock,
        sku: Some(sku.parse()?),
        description: "WHITE METAL LANTERN".to_owned(),
        quantity,
        price_minor,
        stock_group: Some(group),
    })
}
