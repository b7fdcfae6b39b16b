//! Before anything is deleted, the region where a customer lives says that it holds all of it.

use bytes::Bytes;
use hansa_api::convert::id::order_to_bytes;
use hansa_api::pb::replication as home;
use hansa_api::pb::replication::home_service_client::HomeServiceClient;
use hansa_api::status::{Failure, Reason};
use hansa_node::layers::Deadline;
use hansa_node::layers::deadline::outgoing;
use hansa_region_router::core::directory::Region;
use tokio::time::{Instant, timeout_at};

use super::page;
use crate::core::moves::{Block, Step};
use crate::core::subjects::{KeyOf, KeyState, SubjectId, Wrapped};
use crate::service::place_order::moving;
use crate::service::take_customer::commit;
use crate::shell::keys::vault_failed;
use crate::shell::{Hosted, Shell, not_read};

/// What is asked of the region beside the blocks.
pub struct Ask {
    pub arrive_epoch: u64,
    pub holds_only: bool,
}

/// Nothing, once the region where he lives has all that he left here, or there is nothing to lose.
///
/// # Errors
/// `HOME_UNREACHABLE` while it is away or another went on with it; `HOME_MOVING` while it says
/// otherwise: then what is here may be all that is left. Who came back meanwhile arrives.
pub async fn held_there(
    shell: &Shell,
    hosted: &Hosted,
    subject: SubjectId,
    due: Instant,
) -> Result<(), Failure> {
    let read = hosted.group.read(due, |machine| {
        let state = &machine.state;
        let row = state.moves.get(subject)?;
        let left = row.left.as_ref().filter(|left| !left.deleted)?;
        let of = KeyOf { subject, generation: left.generation };
        let KeyState::Living(wrapped) = state.subjects.key(of) else { return None };
        Some((row.clone(), of, wrapped, state.blocks(of).collect::<Vec<Block>>()))
    });
    let Some((row, of, wrapped, blocks)) = read.await.map_err(not_read)? else { return Ok(()) };
    let Some((first, ..)) = blocks.first() else { return Ok(()) };
    let now = shell.map.now()?;
    let region = now.region(row.lives).ok_or_else(moving)?;
    let owner = now.owner(row.lives, first.slot()).ok_or_else(moving)?.owner;
    if owner != row.lives {
        let why = format!("{} was taken over: what he left may be here only", region.name);
        return Err(Failure::new(Reason::HomeUnreachable, why));
    }
    // What it heard of only from here it is told again.
    let arrive_epoch = if row.former == shell.number { row.epoch } else { 0 };
    let mut rest = &blocks[..];
    while !rest.is_empty() {
        let (asked, more) = rest.split_at(page(rest));
        let ask = Ask { arrive_epoch, holds_only: true };
        let said = take_customer(shell, region, (of, &wrapped), asked, ask, due).await?;
        if said.lives_in == shell.region.as_str() && said.epoch > row.epoch {
            let (epoch, at_ms) = (said.epoch, shell.env.clock.wall().ms());
            commit(hosted, Step::Arrive { subject, from: row.lives, epoch, at_ms }, due).await?;
            return Err(Failure::new(Reason::HomeMoving, "he has come back"));
        }
        if said.epoch < row.epoch || usize::try_from(said.block_count) != Ok(asked.len()) {
            let why = format!(
                "{} has {} of {} orders that he left here, by move {} of {}",
                region.name,
                said.block_count,
                asked.len(),
                said.epoch,
                row.epoch,
            );
            return Err(Failure::new(Reason::HomeMoving, why));
        }
        rest = more;
    }
    Ok(())
}

/// # Errors
/// What the other region answers; `HOME_UNREACHABLE` where nobody leads there.
pub async fn take_customer(
    shell: &Shell,
    to: &Region,
    (of, wrapped): (KeyOf, &Wrapped),
    blocks: &[Block],
    Ask { arrive_epoch, holds_only }: Ask,
    due: Instant,
) -> Result<home::TakeCustomerResponse, Failure> {
    let share = shell.keyring.share(of, wrapped).await.map_err(|error| vault_failed(&error))?;
    let key = home::KeyShare {
        home: u32::from(of.subject.home.get()),
        subject: Bytes::copy_from_slice(&of.subject.hash.to_be_bytes()),
        generation: of.generation,
        key: Bytes::copy_from_slice(share.bytes()),
    };
    let question = home::TakeCustomerRequest {
        region: shell.region.to_string(),
        key: Some(key),
        blocks: blocks.iter().map(moved_block).collect(),
        arrive_epoch,
        holds_only,
    };
    let request = outgoing(question, Deadline(due))?;
    let mut client = HomeServiceClient::new(shell.peers.gateway(&to.name));
    let failure = match timeout_at(due, client.take_customer(request)).await {
        Ok(Ok(answer)) => return Ok(answer.into_inner()),
        Ok(Err(status)) => Failure::from(&status),
        Err(_) => Failure::of(Reason::DeadlineExceeded),
    };
    Err(match failure.reason() {
        // Its leader, not ours.
        Reason::NotLeader => Failure::of(Reason::HomeUnreachable),
        _ => failure,
    })
}

fn moved_block((id, residence, personal): &Block) -> home::MovedBlock {
    home::MovedBlock {
        order_id: order_to_bytes(*id),
        residence_country: residence.to_string(),
        nonce: Bytes::copy_from_slice(&personal.nonce),
        ciphertext: personal.ciphertext.clone(),
    }
}
