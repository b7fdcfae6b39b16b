//! PlaceOrder: check, seal, accept, wait until decided.

use hansa_api::convert::order::{self as checked, PlaceOrder};
use hansa_api::pb::order as wire;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_region_router::core::directory::Snapshot;
use hansa_types::id::OrderId;
use hansa_types::region::Slot;
use hansa_types::time::LogTime;
use prost::Message;
use tonic::Request;

use crate::core::command::{Accept, Command, Outcome, Refused};
use crate::core::contents::{Contents, Line, LineKind, Sealed, Token};
use crate::core::keys::Key;
use crate::map::stock_group;
use crate::shell::keys::{ScopeOf, Whose};
use crate::shell::waiters::Want;
use crate::shell::{Sent, Shell, answer_by, caller, deadline};
use crate::{metrics, wire as show};

/// Draws of an order id: 50 random bits within a millisecond and slot collide about never.
const DRAWS: u32 = 3;

pub async fn run(
    shell: &Shell,
    request: Request<wire::PlaceOrderRequest>,
) -> Result<wire::PlaceOrderResponse, Failure> {
    let (due, sent) = (deadline(&request), Sent::of(&request));
    let caller = caller(Principal::of(&request)?);
    let request = request.into_inner();
    let body = request.encode_to_vec();
    let place = PlaceOrder::try_from(request)?;
    let slot = match &place.customer_id {
        Some(customer) => Slot::of(customer.as_str().as_bytes()),
        None => Slot::of(place.request_id.as_str().as_bytes()),
    };
    let hosted = shell.hosted(shell.map.orders_group(slot)?)?;
    let now = shell.map.now()?;
    let scope = ScopeOf {
        caller: &caller,
        method: "PlaceOrder",
        home: shell.number,
        slot,
        whose: Whose::Customer(place.customer_id.as_ref()),
        request: &place.request_id,
    };
    let key = scope.key(shell.vault.as_ref(), &body)?;
    let accepted = async {
        let mut draws = DRAWS;
        loop {
            let id = mint(shell, slot);
            let command = accept(shell, &now, id, key, &caller, &place)?;
            draws -= 1;
            match hosted.submit(&hosted.dated(command, sent), due).await? {
                Outcome::Refused(Refused::OrderIdTaken) if draws > 0 => {}
                outcome => return hosted.answered(outcome),
            }
        }
    };
    let (target, replayed) = accepted.await?;
    metrics::placed(replayed);
    let decided = |order: &crate::core::order::Order, contents: &Contents| {
        order.order_status(contents).decided()
    };
    let answer = hosted
        .when(target.order, Want::Decision, answer_by(due), decided, |order, contents| {
            show::order(shell, target.order, order, contents)
        })
        .await?;
    Ok(wire::PlaceOrderResponse { order: Some(answer), replayed })
}

fn mint(shell: &Shell, slot: Slot) -> OrderId {
    let born = LogTime(shell.env.clock.wall().ms());
    OrderId::new(born, shell.number, slot, shell.env.entropy.number())
}

fn accept(
    shell: &Shell,
    now: &Snapshot,
    id: OrderId,
    key: Key,
    caller: &str,
    place: &PlaceOrder,
) -> Result<Command, Failure> {
    let personal = match &place.personal {
        Some(personal) => Some(seal(shell, id, &personal.expose().encode_to_vec())?),
        None => None,
    };
    let contents = Contents {
        caller: caller.to_owned(),
        customer: place.customer_id.clone(),
        residence: place.residence_country,
        request: place.request_id.clone(),
        currency: place.total.currency,
        lines: place.lines.iter().map(|line| line_of(now, line)).collect(),
        total_minor: place.total.minor,
        token: Token(place.payment_token.expose().clone()),
        personal,
        payment_group: shell.map.payments_group(id.slot())?,
        reference: place.client_reference.clone(),
        placed_ms: place.placed.map(|at| at.ms()),
    };
    let accept = Accept { order: id, key, epoch: shell.epoch, contents };
    Ok(Command::Accept(Box::new(accept)))
}

fn seal(shell: &Shell, id: OrderId, plain: &[u8]) -> Result<Sealed, Failure> {
    shell.vault.seal(id, plain).map_err(|error| {
        tracing::error!(%error, "personal block not sealed");
        Failure::of(Reason::Internal)
    })
}

fn line_of(now: &Snapshot, line: &checked::Line) -> Line {
    let (kind, stock) = match line.kind {
        checked::LineKind::Stock => (LineKind::Stock, true),
        checked::LineKind::Fee => (LineKind::Fee, false),
        checked::LineKind::Discount => (LineKind::Discount, false),
        checked::LineKind::NonStock => (LineKind::NonStock, false),
    };
    Line {
        kind,
        stock_group: line.sku.as_ref().filter(|_| stock).map(|sku| stock_group(now, sku)),
        sku: line.sku.clone(),
        description: line.description.clone(),
        quantity: line.quantity,
        price_minor: line.unit_price.minor,
    }
}
