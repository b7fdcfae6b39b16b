//! EraseCustomer: drops the key that opens what is personal; what was sold stays sold.

use std::time::Duration;

use hansa_api::convert::customer::{CopyKey, EraseCustomer};
use hansa_api::convert::time::{from_log, from_ms};
use hansa_api::pb::customer as wire;
use hansa_api::principal::Principal;
use hansa_api::status::{Failure, Reason};
use hansa_types::id::OrderId;
use hansa_types::region::Slot;
use hansa_types::time::LogTime;
use tokio::time::{Instant, sleep};
use tonic::Request;

use crate::core::command::{Command, Outcome, Refused};
use crate::core::keys::Scope;
use crate::core::subjects::{Asked, Cause, Erase, Erased, KeyOf, KeyStep, RegionKey, SubjectId};
use crate::metrics;
use crate::service::customer::{self, Found};
use crate::shell::keys::{ScopeOf, Whose, vault_failed};
use crate::shell::{Hosted, Shell, caller, deadline, refusal};
use crate::start::destroy_after_ms;
use crate::vault::VaultError;

/// Between two tries while another node changes the vault.
const BUSY: Duration = Duration::from_millis(20);
/// Open orders named in a refusal.
const OPEN_MAX: usize = 10;
pub(super) const KEPT: &str = "order name, lines, amounts, currency, country, times and payment \
                               facts, for tax and commercial law, without the personal block; free \
                               text as it was written (reference, descriptions, reasons, tracking \
                               codes), in which nothing personal belongs";

pub async fn run(
    shell: &Shell,
    request: Request<wire::EraseCustomerRequest>,
) -> Result<wire::EraseCustomerResponse, Failure> {
    let due = deadline(&request);
    let caller = caller(Principal::of(&request)?);
    let asked = EraseCustomer::try_from(request.into_inner())?;
    let found = customer::find(shell, &asked.person, due).await?;
    let scope = |slot: Slot, subject: SubjectId| {
        let (home, whose) = (shell.number, Whose::Subject(subject));
        let request = &asked.request_id;
        ScopeOf { caller: &caller, method: "EraseCustomer", home, slot, whose, request }.scope()
    };
    let Found { hosted, slot, subject } = found;
    let keys = shell.vault.keys().await.map_err(|error| vault_failed(&error))?;
    let asked_ms = shell.env.clock.wall().ms();
    let after = |newest| destroy_after_ms(newest, &shell.cfg.keys, asked_ms);
    let times = (asked_ms, keys.last().map_or(asked_ms, after));
    let mut receipt = wire::ErasureReceipt {
        region: shell.region.to_string(),
        kept: KEPT.to_owned(),
        ..Default::default()
    };
    let mut last = Last::default();
    for copy in &asked.copies {
        let gone = forget(shell, hosted, copy, (&scope, slot), times, due).await?;
        receipt.copy_count += u32::from(gone.is_some());
        gone.iter().for_each(|erased| last.take(erased));
    }
    let mut replayed = false;
    if let Some(subject) = subject {
        let residences = customer::residences(hosted, subject, asked.residence);
        receipt.lawful_regions = customer::lawful(shell, (hosted, Some(subject)), residences)?;
        let (asked_ms, destroy_after_ms) = times;
        let request = scope(slot, subject);
        let erase = Command::Erase(Erase { subject, request, asked_ms, destroy_after_ms });
        match hosted.submit(&erase, due).await? {
            Outcome::Erased(erased, before) => {
                replayed = before;
                // A receipt that a backup could undo is none: the vault knows first.
                erased.keys_of(subject).for_each(|of| shell.keyring.forget(of));
                remember(shell, subject, &erased, due).await?;
                shell.keys_changed.notify_waiters();
                metrics::erased(before);
                tell(&mut receipt, shell, subject, &erased);
                last.take(&erased);
            }
            Outcome::Refused(Refused::OrderOpen(first)) => {
                return Err(open(shell, hosted, subject, first));
            }
            // A caller who asks every lawful region in turn expects some to know nothing.
            Outcome::Refused(Refused::SubjectNotFound) => {}
            Outcome::Refused(why) => return Err(refusal(why)),
            _ => return Err(Failure::of(Reason::Internal)),
        }
    }
    last.tell(&mut receipt);
    Ok(wire::EraseCustomerResponse { receipt: Some(receipt), replayed })
}

/// What was dropped last, and goes for good last: own keys, former homes' and copies' alike.
#[derive(Default)]
pub(super) struct Last {
    at: LogTime,
    destroy_after_ms: u64,
    under: Option<RegionKey>,
}

impl Last {
    pub(super) fn take(&mut self, erased: &Erased) {
        self.at = self.at.max(erased.at);
        self.destroy_after_ms = self.destroy_after_ms.max(erased.destroy_after_ms);
        self.under = self.under.max(Some(erased.under));
    }

    pub(super) fn tell(&self, receipt: &mut wire::ErasureReceipt) {
        if let Some(under) = self.under {
            receipt.erase_time = Some(from_log(self.at));
            receipt.destroy_time = Some(from_ms(self.destroy_after_ms));
            receipt.region_key = under.to_string();
        }
    }
}

/// Has the vault remember an erasure. A repeat of the request tries again, as the keeper does.
pub(super) async fn remember(
    shell: &Shell,
    subject: SubjectId,
    erased: &Erased,
    due: Instant,
) -> Result<(), Failure> {
    let noted: Vec<_> = erased.keys_of(subject).map(|of| (of, erased.under)).collect();
    loop {
        match shell.vault.note_erased(&noted).await {
            Ok(()) => return Ok(()),
            Err(VaultError::Busy) if Instant::now() + BUSY < due => sleep(BUSY).await,
            // It stands, and the rotation that ends it comes: only a backup of before could undo
            // it, and the operator is told to repeat erasures then.
            Err(VaultError::Full) => {
                tracing::error!("the vault remembers no more erasures");
                return Ok(());
            }
            Err(error) => return Err(vault_failed(&error)),
        }
    }
}

pub(super) fn tell(
    receipt: &mut wire::ErasureReceipt,
    shell: &Shell,
    subject: SubjectId,
    erased: &Erased,
) {
    let key = |of: KeyOf| {
        Some(wire::ErasedKey {
            home_region: shell.map.region_name(of.subject.home)?.to_string(),
            subject: format!("{:032x}", of.subject.hash),
            generation: of.generation,
        })
    };
    receipt.key = key(KeyOf { subject, generation: erased.generation });
    receipt.former_keys = erased.also.iter().filter_map(|former| key(former.of)).collect();
    receipt.order_count = erased.orders;
}

/// Drops the key of copies that another home has erased; what says so, if it is gone here.
async fn forget(
    shell: &Shell,
    hosted: &Hosted,
    copy: &CopyKey,
    (scope, slot): (&impl Fn(Slot, SubjectId) -> Scope, Slot),
    (asked_ms, destroy_after_ms): (u64, u64),
    due: Instant,
) -> Result<Option<Erased>, Failure> {
    let home = shell.map.region_number(&copy.home);
    let home = home.ok_or_else(|| Failure::of(Reason::UnknownRegion))?;
    if home == shell.number {
        return Ok(None);
    }
    let subject = SubjectId { home, hash: copy.subject };
    let of = KeyOf { subject, generation: copy.generation };
    let asked = Asked { request: scope(slot, subject), cause: Cause::Erased };
    let keys = vec![of];
    let step = KeyStep::Forget { keys, asked, asked_ms, destroy_after_ms };
    match hosted.submit(&Command::Keys(step), due).await? {
        Outcome::Noted => {}
        Outcome::Refused(why) => return Err(refusal(why)),
        _ => return Err(Failure::of(Reason::Internal)),
    }
    shell.keyring.forget(of);
    Ok(hosted.group.peek(|machine| {
        let erased = &machine.state.subjects.table.get(&subject)?.erased;
        erased.iter().rfind(|erased| erased.generation >= of.generation).cloned()
    }))
}

/// Names what is in the way.
pub(super) fn open(shell: &Shell, hosted: &Hosted, subject: SubjectId, first: OrderId) -> Failure {
    let mut open: Vec<OrderId> = hosted.group.peek(|machine| {
        let state = &machine.state;
        let open = state.subjects.orders_of(subject).filter(|id| state.is_open(*id));
        open.take(OPEN_MAX).collect()
    });
    if open.is_empty() {
        open.push(first);
    }
    let names: Vec<String> = open.into_iter().map(|id| shell.map.name_of(id)).collect();
    let failure = refusal(Refused::OrderOpen(first)).with("orders", names.join(","));
    failure.precondition("customer", "has an order that is under way")
}
