//! PlaceMoved: an order of a customer who lives here, by the region where it arrived.

use hansa_api::pb::order as orders;
use hansa_api::pb::replication as wire;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::{GroupKind, NodeId};
use hansa_types::region::RegionNumber;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::customer::{admitted, may_be_home};
use super::find_request;
use super::home::{self, Asker, Told};
use super::place_order::{Asked, moving};
use super::take_customer::commit;
use crate::core::command::{Command, Outcome, Refused};
use crate::core::moves::{MoveRow, Step};
use crate::core::subjects::SubjectId;
use crate::shell::keys::{ScopeOf, Whose};
use crate::shell::{Hosted, Sent, Shell, deadline, personal, refusal};

pub async fn run(
    shell: &Shell,
    request: Request<wire::PlaceMovedRequest>,
) -> Result<Response<wire::PlaceMovedResponse>, Status> {
    let Asker { region: asker, relayed } = Asker::of(shell, &request, &request.get_ref().region)?;
    let (due, sent) = (deadline(&request), Sent::of(&request));
    let question = request.into_inner();
    let Told { place, body, slot } = Told::of(&question.request)?;
    let now = shell.map.now()?;
    let hosted = shell.hosted(now.group(GroupKind::Orders, slot))?;
    if let Some(leader) = home::led_by(hosted, relayed)? {
        return passed_on(shell, leader, question, sent, due).await;
    }
    let (caller, place) = (question.caller.as_str(), &place);
    // A guest has no second order.
    let customer = place.customer_id.as_ref().ok_or(Reason::MessageMalformed)?;
    let subject = personal::customer(shell, customer)?;
    let from = now.number(&asker).ok_or(Reason::UnknownRegion)?;
    let known_only = question.known_only;
    if known_only {
        let_back(shell, hosted, subject, (from, question.epoch), due).await?;
    }
    let row = hosted.group.peek(|machine| machine.state.moves.get(subject).cloned());
    if from == now.here
        || !may_ask(row.as_ref(), from, known_only, || {
            may_be_home(&now, place.residence_country, &asker)
        })
    {
        tracing::warn!(%asker, "an order of somebody who does not live there");
        return Err(moving().into());
    }
    if known_only {
        let asked = find_request::Asked { shell, hosted, place, slot, caller };
        return Ok(Response::new(known_before(asked, &body, sent, due).await?));
    }
    let whose = Whose::Subject(subject);
    let (method, home, request) = ("PlaceOrder", shell.number, &place.request_id);
    let scope = ScopeOf { caller, method, home, slot, whose, request }.scope();
    let own = now.own_region().ok_or_else(moving)?;
    let known = hosted.group.peek(|machine| machine.state.keys.table.contains(&scope));
    if !known && row.as_ref().is_none_or(|row| row.epoch < question.epoch) {
        // Nobody comes to live here by an order that is refused.
        admitted(&now, place.residence_country, &own.name)?;
    }
    let row = arrived(shell, hosted, subject, (from, question.epoch), due).await?;
    if row.lives != shell.number && !known {
        let gone_to = now.region(row.lives).map(|region| region.name.to_string());
        let (gone_to, gone_epoch) = (gone_to.unwrap_or_default(), row.epoch);
        return Ok(Response::new(wire::PlaceMovedResponse { placed: None, gone_to, gone_epoch }));
    }
    if question.in_doubt && !known {
        return Err(refusal(Refused::InDoubt).into());
    }
    admitted(&now, place.residence_country, &own.name)?;
    let birth = now.owner(now.here, slot).filter(|owner| owner.owner == now.here);
    let home = (now.here, birth.ok_or_else(moving)?.epoch);
    let asked = Asked { shell, hosted, slot, caller, place, body: &body, now, home };
    let placed = asked.placed(subject, scope, row.epoch, sent, due).await?;
    Ok(Response::new(wire::PlaceMovedResponse { placed: Some(placed), ..Default::default() }))
}

async fn passed_on(
    shell: &Shell,
    leader: NodeId,
    question: wire::PlaceMovedRequest,
    Sent(sent): Sent,
    due: Instant,
) -> Result<Response<wire::PlaceMovedResponse>, Status> {
    let mut request = home::passed_on(question, due)?;
    if let Some(sent) = sent {
        hansa_api::first_sent::put(request.metadata_mut(), sent);
    }
    let mut client = HomeServiceClient::new(shell.peers.to(leader));
    home::in_time(due, client.place_moved(request)).await
}

/// What became of a request here; nothing if it surely was not heard.
async fn known_before(
    asked: find_request::Asked<'_>,
    body: &[u8],
    Sent(sent): Sent,
    due: Instant,
) -> Result<wire::PlaceMovedResponse, Failure> {
    let found = |order| orders::PlaceOrderResponse { order: Some(order), replayed: true };
    let placed = asked.find(body, due).await?.map(found);
    if placed.is_none() {
        asked.surely_new(Some(asked.shell.number), sent)?;
    }
    Ok(wire::PlaceMovedResponse { placed, ..Default::default() })
}

/// Lets somebody go who lives again where he came from, as that region says.
pub(super) async fn let_back(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    (to, epoch): (RegionNumber, u64),
    due: Instant,
) -> Result<(), Failure> {
    let row = hosted.group.peek(|machine| machine.state.moves.get(subject).cloned());
    if !row.is_some_and(|row| took_back(&row, (shell.number, to), epoch)) {
        return Ok(());
    }
    let at_ms = shell.env.clock.wall().ms();
    let done = commit(hosted, Step::Follow { subject, to, epoch, at_ms }, due).await;
    if let Err(failure) = &done {
        let to = to.get();
        tracing::warn!(to, %failure, "said to live there again, and not let go by that word alone");
    }
    done
}

/// Whether he came from there, and lives there again by a later move that nobody here knows of: it
/// had taken this region over, or took him back.
fn took_back(row: &MoveRow, (here, from): (RegionNumber, RegionNumber), epoch: u64) -> bool {
    row.lives == here && row.former == from && epoch > row.epoch
}

/// Whether a region may pass an order on: one that may be his home, or where he lives or lived.
/// What he ordered before is told only to where he lives.
pub(super) fn may_ask(
    row: Option<&MoveRow>,
    from: RegionNumber,
    known_only: bool,
    may_be_home: impl FnOnce() -> bool,
) -> bool {
    let lives = row.is_some_and(|row| row.lives == from);
    let lived = row.is_some_and(|row| row.former == from);
    lives || !known_only && (lived || may_be_home())
}

/// Where he lives, once what the asker says of his move is taken in: it takes no order of his any
/// more, so it is believed.
async fn arrived(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    (from, epoch): (RegionNumber, u64),
    due: Instant,
) -> Result<MoveRow, Failure> {
    let look = || hosted.group.peek(|machine| machine.state.moves.get(subject).cloned());
    if let Some(row) = look().filter(|row| row.epoch >= epoch) {
        return Ok(row);
    }
    let at_ms = shell.env.clock.wall().ms();
    let step = Step::Arrive { subject, from, epoch, at_ms, untold: false };
    match hosted.submit(&Command::Moves(step), due).await? {
        Outcome::Noted => look().ok_or_else(moving),
        Outcome::Refused(why) => Err(refusal(why)),
        _ => Err(Failure::of(Reason::Internal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(n: u16) -> RegionNumber {
        RegionNumber::try_from(n).unwrap()
    }

    fn row(former: u16, lives: u16, epoch: u64) -> MoveRow {
        let (former, lives) = (region(former), region(lives));
        let (gone, asked, lived) = (Vec::new(), Vec::new(), vec![former, lives]);
        let (since_ms, left, untold) = (0, None, false);
        MoveRow { epoch, lives, former, since_ms, left, gone, asked, lived, untold }
    }

    #[test]
    fn only_a_home_or_a_region_of_his_passes_an_order_on_and_only_where_he_lives_hears_of_old_ones()
    {
        let ask = |row: Option<MoveRow>, from, known_only, home: bool| {
            may_ask(row.as_ref(), region(from), known_only, || home)
        };
        // Whom nobody knows of.
        assert!(ask(None, 1, false, true) && !ask(None, 1, false, false));
        assert!(!ask(None, 1, true, true), "not even a home hears what he ordered");
        // He went from 2 to 3, and 1 may be his home.
        let his = || Some(row(2, 3, 1));
        for from in [2, 3] {
            assert!(ask(his(), from, false, false));
        }
        assert!(ask(his(), 1, false, true) && !ask(his(), 4, false, false));
        assert!(ask(his(), 3, true, false), "who serves him asks first");
        assert!(!ask(his(), 2, true, true) && !ask(his(), 1, true, true));
    }

    #[test]
    fn who_lives_here_goes_by_a_later_word_of_where_he_came_from_alone() {
        let his = row(1, 2, 5);
        assert!(took_back(&his, (region(2), region(1)), 6));
        assert!(!took_back(&his, (region(2), region(1)), 5), "that is the move that brought him");
        assert!(!took_back(&his, (region(2), region(3)), 6));
        assert!(!took_back(&his, (region(1), region(2)), 6), "he does not live here");
    }
}
