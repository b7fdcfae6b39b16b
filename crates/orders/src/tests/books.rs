//! A ledger for tests: books that remember by id, behind the real command stream.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use hansa_api::pb::ledger as pb;
use hansa_api::pb::ledger::OutcomeCode as Code;
use hansa_api::pb::ledger::command::Command as Verb;
use hansa_api::pb::ledger::ledger_command_service_server::LedgerCommandService;
use hansa_api::pb::ledger::submit_response::Result as Answer;
use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};

/// SKUs with units, and what became of them.
type Hold = (Vec<(String, i64)>, &'static str);

#[derive(Default)]
pub struct State {
    pub stock: BTreeMap<String, i64>,
    pub holds: BTreeMap<Bytes, Hold>,
    pub captured: BTreeMap<Bytes, i64>,
    pub refunded: i64,
    /// Orders whose payments began elsewhere, and the epoch that was cited.
    pub opened: Vec<(Bytes, u64)>,
    pub paid_back: BTreeMap<Bytes, i64>,
    pub orders: BTreeMap<Bytes, Bytes>,
    /// The order of each payment.
    pub payments: BTreeMap<Bytes, Bytes>,
    /// Refunds by payment, oldest first.
    pub refunds: BTreeMap<Bytes, Vec<Bytes>>,
    pub shipped: i64,
    pub returned: i64,
    /// Of these, units that another region had shipped, and the epoch that was cited.
    pub elsewhere: Vec<(i64, u64)>,
    answers: BTreeMap<Bytes, pb::Outcome>,
    /// Batches to refuse as "may have been applied", after applying them.
    pub lose: u32,
    /// Reservations are refused for an odd reason; holds of money are.
    pub refuse_stock: bool,
    pub refuse_money: bool,
    /// Batches to refuse without looking at them.
    pub overload: u32,
    pub streams: u64,
    pub commands: u64,
}

#[derive(Clone, Default)]
pub struct Books(pub Arc<Mutex<State>>);

fn code(code: Code) -> pb::Outcome {
    pb::Outcome { code: code.into(), ..Default::default() }
}

impl State {
    fn apply(&mut self, command: &pb::Command) -> pb::Outcome {
        self.commands += 1;
        let Some(verb) = &command.command else { return code(Code::Malformed) };
        let id = match verb {
            Verb::Reserve(c) => &c.id,
            Verb::Extend(c) => &c.id,
            Verb::Commit(c) => &c.id,
            Verb::Uncommit(c) => &c.id,
            Verb::Release(c) => &c.id,
            Verb::Ship(c) => &c.id,
            Verb::ReturnStock(c) => &c.id,
            Verb::Authorize(c) => &c.id,
            Verb::Capture(c) => &c.id,
            Verb::Void(c) => &c.id,
            Verb::Refund(c) => &c.id,
            Verb::Open(c) => &c.id,
            Verb::Receive(_) | Verb::Adjust(_) | Verb::Rebook(_) => return code(Code::Malformed),
        };
        if let Some(answer) = self.answers.get(id) {
            let applied = answer.code() == Code::Applied;
            return if applied { code(Code::Exists) } else { answer.clone() };
        }
        let answer = self.effect(verb);
        self.answers.insert(id.clone(), answer.clone());
        answer
    }

    fn effect(&mut self, verb: &Verb) -> pb::Outcome {
        match verb {
            Verb::Reserve(_) if self.refuse_stock => code(Code::AmountInvalid),
            Verb::Authorize(_) if self.refuse_money => code(Code::AmountInvalid),
            Verb::Reserve(c) => self.reserve(c),
            Verb::Extend(c) => self.resolve(&c.hold, "held", "held"),
            Verb::Commit(c) => self.resolve(&c.hold, "held", "committed"),
            Verb::Uncommit(c) => self.give_back(&c.hold, "committed"),
            Verb::Release(c) => self.give_back(&c.hold, "held"),
            Verb::Ship(c) => {
                self.shipped += c.lines.iter().map(|line| i64::from(line.quantity)).sum::<i64>();
                code(Code::Applied)
            }
            Verb::ReturnStock(c) => {
                let units = |lines: &[pb::StockLine]| {
                    lines.iter().map(|line| i64::from(line.quantity)).sum::<i64>()
                };
                let (all, away) = (units(&c.lines), units(&c.elsewhere));
                let before: i64 = self.elsewhere.iter().map(|(units, _)| units).sum();
                if all - away > self.shipped - (self.returned - before) {
                    return code(Code::ExceedsShipped);
                }
                self.returned += all;
                self.elsewhere.extend((away > 0).then_some((away, c.ended_epoch)));
                code(Code::Applied)
            }
            Verb::Authorize(c) => {
                self.holds.insert(c.id.clone(), (Vec::new(), "held"));
                self.orders.insert(c.id.clone(), c.order.clone());
                self.payments.insert(c.payment.clone(), c.order.clone());
                code(Code::Applied)
            }
            Verb::Capture(c) => {
                self.captured.insert(c.payment.clone(), c.amount_minor);
                self.resolve(&c.hold, "held", "captured")
            }
            Verb::Void(c) => self.resolve(&c.hold, "held", "void"),
            Verb::Refund(c) => {
                self.refunded += c.amount_minor;
                self.refunds.entry(c.payment.clone()).or_default().push(c.id.clone());
                *self.paid_back.entry(c.payment.clone()).or_default() += c.amount_minor;
                code(Code::Applied)
            }
            Verb::Open(c) => {
                self.captured.insert(c.payment.clone(), c.captured_minor);
                self.paid_back.insert(c.payment.clone(), c.refunded_minor);
                self.opened.push((c.order.clone(), c.ended_epoch));
                code(Code::Applied)
            }
            Verb::Receive(_) | Verb::Adjust(_) | Verb::Rebook(_) => code(Code::Malformed),
        }
    }

    fn reserve(&mut self, reserve: &pb::Reserve) -> pb::Outcome {
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for line in &reserve.lines {
            *wanted.entry(line.sku.clone()).or_default() += i64::from(line.quantity);
        }
        for line in &reserve.lines {
            let refused = |code: Code, available| pb::Outcome {
                code: code.into(),
                line: line.line,
                sku: line.sku.clone(),
                available,
                ..Default::default()
            };
            match self.stock.get(&line.sku) {
                None => return refused(Code::UnknownSku, 0),
                Some(left) if *left < wanted[&line.sku] => {
                    return refused(Code::ExceedsAvailable, *left);
                }
                Some(_) => {}
            }
        }
        let lines: Vec<_> = wanted.into_iter().collect();
        for (sku, units) in &lines {
            *self.stock.get_mut(sku).unwrap() -= units;
        }
        self.holds.insert(reserve.id.clone(), (lines, "held"));
        self.orders.insert(reserve.id.clone(), reserve.order.clone());
        code(Code::Applied)
    }

    fn resolve(&mut self, hold: &Bytes, from: &str, to: &'static str) -> pb::Outcome {
        match self.holds.get_mut(hold) {
            Some((_, state)) if *state == from => {
                *state = to;
                code(Code::Applied)
            }
            Some(_) => code(Code::AlreadyPosted),
            None => code(Code::HoldNotFound),
        }
    }

    fn give_back(&mut self, hold: &Bytes, from: &str) -> pb::Outcome {
        let outcome = self.resolve(hold, from, "free");
        if outcome.code() == Code::Applied {
            for (sku, units) in self.holds[hold].0.clone() {
                *self.stock.get_mut(&sku).unwrap() += units;
            }
        }
        outcome
    }

    /// Units or money still held by anybody.
    pub fn held(&self) -> usize {
        self.holds.values().filter(|(_, state)| *state == "held").count()
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<pb::SubmitResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LedgerCommandService for Books {
    type SubmitStream = Answers;

    async fn submit(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let books = self.0.clone();
        books.lock().streams += 1;
        let answers = request.into_inner().map(move |batch| {
            let batch = batch?;
            let mut state = books.lock();
            if let Some(left) = state.overload.checked_sub(1) {
                state.overload = left;
                let reason = pb::RefusedReason::Overloaded.into();
                let refused = pb::Refused { reason, leader_node: 0, retry_after_ms: 30 };
                let result = Some(Answer::Refused(refused));
                return Ok(pb::SubmitResponse { seq: batch.seq, result });
            }
            let outcomes = batch.commands.iter().map(|command| state.apply(command)).collect();
            let result = match state.lose.checked_sub(1) {
                Some(left) => {
                    state.lose = left;
                    let reason = pb::RefusedReason::Unknown.into();
                    Answer::Refused(pb::Refused { reason, leader_node: 0, retry_after_ms: 0 })
                }
                None => Answer::Outcomes(pb::Outcomes { outcomes, log_time_ms: 0 }),
            };
            Ok(pb::SubmitResponse { seq: batch.seq, result: Some(result) })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_holds(
        &self,
        request: Request<pb::ListHoldsRequest>,
    ) -> Result<Response<pb::ListHoldsResponse>, Status> {
        // One book for stock and money: the payments group shows it.
        let asked = request.into_inner();
        let payments = asked.group >> 16 == 4;
        let state = self.0.lock();
        let wanted = |id: &Bytes| match asked.ids.is_empty() {
            true => payments,
            false => asked.ids.contains(id),
        };
        let live = state.holds.iter().filter(|(id, (_, state))| wanted(id) && *state == "held");
        let hold = |(id, _): (&Bytes, &Hold)| pb::Hold {
            id: id.clone(),
            order: state.orders.get(id).cloned().unwrap_or_default(),
            ..Default::default()
        };
        Ok(Response::new(pb::ListHoldsResponse { holds: live.map(hold).collect(), more: false }))
    }

    async fn get_payment_accounts(
        &self,
        request: Request<pb::GetPaymentAccountsRequest>,
    ) -> Result<Response<pb::GetPaymentAccountsResponse>, Status> {
        let state = self.0.lock();
        let account = |payment: Bytes| pb::PaymentAccounts {
            order: state.payments.get(&payment).cloned().unwrap_or_default(),
            currency: "GBP".into(),
            captured_minor: state.captured.get(&payment).copied().unwrap_or(0),
            refunded_minor: state.paid_back.get(&payment).copied().unwrap_or(0),
            payment,
            ..Default::default()
        };
        let accounts = request.into_inner().payments.into_iter().map(account).collect();
        Ok(Response::new(pb::GetPaymentAccountsResponse { accounts }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let Some(pb::list_entries_request::Account::Payment(payment)) =
            request.into_inner().account
        else {
            return Ok(Response::new(pb::ListEntriesResponse::default()));
        };
        let entry = |amount_minor: &i64| pb::Entry {
            id: payment.clone(),
            amount_minor: *amount_minor,
            currency: "GBP".into(),
            code: "capture".into(),
            ..Default::default()
        };
        let state = self.0.lock();
        let refunds = state.refunds.get(&payment).into_iter().flatten();
        let refund = |id: &Bytes| pb::Entry { id: id.clone(), ..Default::default() };
        let captured = state.captured.get(&payment).map(entry);
        let entries = captured.into_iter().chain(refunds.map(refund)).collect();
        Ok(Response::new(pb::ListEntriesResponse { entries, more: false }))
    }
}
