//! Orders: who ordered, what he pays with, and copies of what other regions know.

mod rows;

use bytes::Bytes;
use hansa_api::classes::{ClassSet, DataClass};
use hansa_api::pb::replication::{OrderView, SealedBlock};
use hansa_orders::core::command::{Accept, Command};
use hansa_orders::core::contents::Contents;
use hansa_orders::core::effect::{Report, StepResult};
use hansa_orders::core::lasting::Form;
use hansa_orders::core::moves;
use hansa_orders::core::remote::{RemoteEvent, RemoteStep};
use hansa_orders::core::repair::{Action, Begin, RepairStep};
use hansa_orders::core::restored;
use hansa_orders::core::saga::payment_of;
use hansa_orders::core::shelf;
use hansa_orders::core::subjects::{KeyOf, KeyStep, SubjectId, Wrapped};
use hansa_orders::core::takeover::{self, Adopted, Candidate};
use hansa_types::country::Country;
use hansa_types::id::OrderId;
use hansa_types::region::RegionNumber;
use prost::Message as _;

use super::Hearing;
use crate::fact::{Content, Fact, Sealed, Whose, only};

pub use self::rows::facts;
use self::rows::shelved;

pub fn command(bytes: &[u8], to: &mut Hearing<'_>) -> Result<(), String> {
    let read = Form::read(bytes);
    let same = read.as_ref().is_some_and(|form| form.write() == bytes);
    let form = super::whole(read, same, "a command of orders")?;
    said(form.command(), None, to)
}

/// What a command says; `under` is the policy by which it was made, if that is known.
fn said(command: &Command, under: Option<u64>, to: &mut Hearing<'_>) -> Result<(), String> {
    match command {
        Command::Accept(accept) => {
            let Accept { order, key: _, epoch: _, contents, mint } = &**accept;
            self::contents(*order, contents, under, to);
            to.findings.begins_with(payment_of(*order, contents, None), *order);
            if let Some(mint) = mint {
                key(contents.sealed_with, mint, Some(contents.residence), under, to);
            }
            Ok(())
        }
        Command::Report(reports) => {
            reports.iter().for_each(|report| self::report(report, to));
            Ok(())
        }
        Command::Refund { order, .. } => {
            to.fact(Fact::new(Whose::Order(*order), only(DataClass::Financial), "a refund"));
            Ok(())
        }
        // Reasons, parcels and lines are OPERATIONAL, as proto says of them.
        Command::Cancel { .. }
        | Command::Ship { .. }
        | Command::Return { .. }
        | Command::Resume { .. }
        | Command::ResolveRemote { .. }
        | Command::BindVault { .. } => Ok(()),
        Command::ApplyRemote(batch) => events(&batch.events, to),
        Command::Restore(step) => {
            restore(step, to);
            Ok(())
        }
        Command::Dated { first_sent_ms: _, command } => said(command, under, to),
        Command::Keys(step) => {
            key_step(step, to);
            Ok(())
        }
        // A pseudonym and times.
        Command::Erase(_) => Ok(()),
        Command::Remote(step) => remote(step, to),
        Command::Repair(step) => {
            repair(step, to);
            Ok(())
        }
        Command::UnderPolicy { version, command } => {
            command.as_ref().map_or(Ok(()), |command| said(command, Some(*version), to))
        }
        Command::Takeover(step) => {
            take_over(step, to);
            Ok(())
        }
        Command::Moves(step) => {
            moves(step, to);
            Ok(())
        }
        Command::Resident { epoch: _, command } => said(command, under, to),
        Command::Shelf(shelf::recall::Step::Recall(recalled)) => {
            recalled.iter().try_for_each(|one| shelved(one.order, &one.record, to))
        }
    }
}

/// What an order asks for: its people and its money.
fn contents(order: OrderId, contents: &Contents, under: Option<u64>, to: &mut Hearing<'_>) {
    let Contents {
        caller: _,
        sealed_with,
        guest: _,
        residence,
        request: _,
        currency: _,
        lines: _,
        total_minor: _,
        token,
        personal,
        payment_group: _,
        reference: _,
        placed_ms: _,
    } = contents;
    to.findings.lives(sealed_with.subject, *residence);
    let fact = |classes, what| Fact {
        whose: Whose::Order(order),
        residence: Some(*residence),
        content: Content::Order(classes),
        policy: under,
        copy: false,
        sealed: Sealed::Open,
        what,
    };
    if personal.is_some() {
        to.fact(Fact {
            content: Content::Plain(only(DataClass::Personal)),
            sealed: Sealed::With(*sealed_with),
            ..fact(ClassSet::NONE, SEALED)
        });
    }
    let plain = match token.0.is_empty() {
        true => only(DataClass::Operational),
        false => only(DataClass::Operational).with(DataClass::Financial),
    };
    to.fact(fact(plain, "an order"));
}

/// Ciphertext that only its customer's data key opens.
const SEALED: &str = "sealed personal block";
const SEALED_KEY: &str = "sealed data key";

/// A customer's data key under a region key.
fn key(
    of: KeyOf,
    wrapped: &Wrapped,
    residence: Option<Country>,
    under: Option<u64>,
    to: &mut Hearing<'_>,
) {
    to.findings.wraps(of, wrapped.by);
    let fact = Fact::new(Whose::Customer(of.subject), only(DataClass::Personal), SEALED_KEY);
    to.fact(fact.of(residence).under(under).sealed(Sealed::By(wrapped.by)));
}

fn report(report: &Report, to: &mut Hearing<'_>) {
    let Report { order, no: _, result } = report;
    match result {
        StepResult::Authorized(_) | StepResult::Declined(_) => {
            let money = only(DataClass::Financial);
            to.fact(Fact::new(Whose::Order(*order), money, "a provider's answer"));
        }
        StepResult::Done
        | StepResult::Refused(_)
        | StepResult::InDoubt
        | StepResult::NotFound
        | StepResult::Settled(_)
        | StepResult::Unbooked(_) => {}
    }
}

fn events(events: &[RemoteEvent], to: &mut Hearing<'_>) -> Result<(), String> {
    events.iter().try_for_each(|event| {
        let terms = (event.shown.terms > 0).then_some(event.shown.terms);
        view(event.order, &event.view, terms, to)
    })
}

/// A copy of another region's order, as its home showed it.
fn view(
    order: OrderId,
    bytes: &Bytes,
    terms: Option<u64>,
    to: &mut Hearing<'_>,
) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    let read = OrderView::decode(bytes.clone()).ok();
    let same = read.as_ref().is_some_and(|view| view.encode_to_vec() == bytes.as_ref());
    let view = super::whole(read, same, "a view of an order")?;
    shown(order, view, terms, to);
    Ok(())
}

/// What a view shows, its sealed block apart.
pub fn shown(order: OrderId, mut view: OrderView, terms: Option<u64>, to: &mut Hearing<'_>) {
    let residence = view.order.as_ref().and_then(|order| order.residence_country.parse().ok());
    if let Some(block) = view.sealed.take() {
        let of = sealed_with(&block);
        if let (Some(of), Some(residence)) = (of, residence) {
            to.findings.lives(of.subject, residence);
        }
        let fact = Fact::new(Whose::Order(order), only(DataClass::Personal), SEALED).shipped();
        let sealed = of.map_or(Sealed::Open, Sealed::With);
        to.fact(fact.of(residence).under(terms).sealed(sealed));
    }
    to.fact(Fact {
        whose: Whose::Order(order),
        residence,
        content: Content::View(Box::new(view)),
        policy: terms,
        copy: true,
        sealed: Sealed::Open,
        what: "copy of an order",
    });
}

/// The data key that opens a block, if it names one.
fn sealed_with(block: &SealedBlock) -> Option<KeyOf> {
    let home = RegionNumber::try_from(u16::try_from(block.home).ok()?).ok()?;
    let hash = u128::from_be_bytes(block.subject.as_ref().try_into().ok()?);
    Some(KeyOf { subject: SubjectId { home, hash }, generation: block.generation })
}

fn restore(step: &restored::Step, to: &mut Hearing<'_>) {
    match step {
        restored::Step::Listed { found, last: _, looked: _ } => {
            for found in found {
                let money = only(DataClass::Financial);
                to.fact(Fact::new(Whose::Order(found.order), money, "a provider's reference"));
            }
        }
        restored::Step::Begin(_)
        | restored::Step::Decide { .. }
        | restored::Step::Cancelled { .. }
        | restored::Step::End => {}
    }
}

fn key_step(step: &KeyStep, to: &mut Hearing<'_>) {
    match step {
        KeyStep::Rewrap(keys) | KeyStep::Take(keys) => {
            keys.iter().for_each(|entry| key(entry.of, &entry.wrapped, None, None, to));
        }
        KeyStep::Use { .. }
        | KeyStep::Forget { .. }
        | KeyStep::Lost { .. }
        | KeyStep::Again { .. }
        | KeyStep::GiveBack(_)
        | KeyStep::Told { .. } => {}
    }
}

fn remote(step: &RemoteStep, to: &mut Hearing<'_>) -> Result<(), String> {
    match step {
        RemoteStep::Refill(refill) => events(&refill.events, to),
        RemoteStep::Retry { events, .. } => self::events(events, to),
        RemoteStep::Purge(reduced) => reduced.iter().try_for_each(|reduced| {
            let view = reduced.view.as_ref();
            view.map_or(Ok(()), |view| self::view(reduced.order, view, None, to))
        }),
        RemoteStep::Reduce(reductions) => reductions.iter().try_for_each(|reduction| {
            let (order, view) = (reduction.of.order, reduction.of.view.as_ref());
            view.map_or(Ok(()), |view| self::view(order, view, None, to))
        }),
        RemoteStep::Held { .. } | RemoteStep::Resolve { .. } => Ok(()),
    }
}

fn repair(step: &RepairStep, to: &mut Hearing<'_>) {
    match step {
        RepairStep::Begin(begin) => {
            let Begin { rests_on, action, .. } = &**begin;
            if let Some((order, _)) = rests_on {
                action_of(*order, action, to);
            }
        }
        RepairStep::Propose { .. } | RepairStep::Approve { .. } | RepairStep::Ended { .. } => {}
    }
}

fn action_of(order: OrderId, action: &Action, to: &mut Hearing<'_>) {
    match action {
        Action::CancelCharge { .. } | Action::RefundCapture { .. } | Action::VoidMoney { .. } => {
            let money = only(DataClass::Financial);
            to.fact(Fact::new(Whose::Order(order), money, "a repair of money"));
        }
        Action::ReleaseStock { .. }
        | Action::Resume
        | Action::Rebook { .. }
        | Action::Reship { .. }
        | Action::DecideTail { .. } => {}
    }
}

fn take_over(step: &takeover::Step, to: &mut Hearing<'_>) {
    match step {
        takeover::Step::Adopt { orders, epoch, .. } => {
            for candidate in orders {
                match candidate {
                    Candidate::Take(adopted) => self::adopted(adopted, *epoch, to),
                    Candidate::Fail { .. } | Candidate::Again { .. } => {}
                }
            }
        }
        takeover::Step::Drain { .. }
        | takeover::Step::Drained { .. }
        | takeover::Step::Undrain { .. }
        | takeover::Step::Elsewhere { .. }
        | takeover::Step::TakeOver(_)
        | takeover::Step::Settled { .. }
        | takeover::Step::GivenBack { .. }
        | takeover::Step::Decided { .. }
        | takeover::Step::Doubted { .. } => {}
    }
}

fn moves(step: &moves::Step, to: &mut Hearing<'_>) {
    match step {
        moves::Step::Keep(keep) => {
            let moves::Keep { of, mint, blocks, from: _, dead: _ } = keep.as_ref();
            for (order, residence, _) in blocks {
                kept(*order, *of, *residence, to);
            }
            if let Some(mint) = mint {
                let residence = blocks.first().map(|(_, residence, _)| *residence);
                key(*of, mint, residence, None, to);
            }
        }
        // Pseudonyms, regions and times; who and why of an operator.
        moves::Step::Leave(_)
        | moves::Step::Arrive { .. }
        | moves::Step::Follow { .. }
        | moves::Step::Delete { .. }
        | moves::Step::Begin { .. }
        | moves::Step::Cancel { .. }
        | moves::Step::Abandon { .. }
        | moves::Step::Recall { .. }
        | moves::Step::Heard { .. } => {}
    }
}

/// The block of an order that another region keeps.
fn kept(order: OrderId, of: KeyOf, residence: Country, to: &mut Hearing<'_>) {
    to.findings.lives(of.subject, residence);
    let fact = Fact::new(Whose::Order(order), only(DataClass::Personal), SEALED).shipped();
    to.fact(fact.of(Some(residence)).sealed(Sealed::With(of)));
}

fn adopted(adopted: &Adopted, epoch: u64, to: &mut Hearing<'_>) {
    let Adopted { order, looked: _, version: _, contents, mint, facts } = adopted;
    self::contents(*order, contents, None, to);
    to.findings.begins_with(payment_of(*order, contents, Some(epoch)), *order);
    // Whoever owned it before knew him by another name, and by its key tells his requests apart.
    to.findings.lives(facts.sealed.subject, contents.residence);
    if let Some(mint) = mint {
        key(contents.sealed_with, mint, Some(contents.residence), None, to);
    }
    let money = only(DataClass::Financial);
    let fact = Fact::new(Whose::Order(*order), money, "what a copy said of a payment");
    to.fact(fact.of(Some(contents.residence)));
}
