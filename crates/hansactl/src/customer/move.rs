use hansa_api::pb::customer::{MoveAction, MoveCustomerRequest, MoveCustomerResponse, MoveState};

use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{dash, request_id, short, time};

/// Regions asked to move him on, one after the other.
const HOPS_MAX: usize = 4;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The customer's id.
    customer: String,
    /// Where he lives; ISO 3166-1 alpha-2. The region where the law puts him is asked first.
    #[arg(long)]
    country: String,
    /// The region where he is to live. Without it, only tells where he does.
    #[arg(long, requires_all = ["reason", "ticket"])]
    to: Option<String>,
    /// How long what he left stays readable there, in milliseconds. Request ids live as long
    /// without it.
    #[arg(long = "window-ms", requires = "to")]
    window_ms: Option<u64>,
    /// Deletes what he left before the window is over. Repeats of requests from before are answered
    /// CUSTOMER_MOVED from then on.
    #[arg(long, requires_all = ["reason", "ticket"])]
    finish_now: bool,
    /// Calls off a move that is not decided: he stays, and what was brought elsewhere goes.
    #[arg(long, requires_all = ["reason", "ticket"], conflicts_with_all = ["to", "finish_now"])]
    cancel: bool,
    /// Takes him back from a region that is lost, or cannot be asked for long: asks the one that he
    /// left. That region hears of it when it is back.
    #[arg(long, requires_all = ["reason", "ticket"],
          conflicts_with_all = ["to", "finish_now", "cancel"])]
    recall: bool,
    /// Why. Stands in the log and the audit chain for ever: no names, nothing personal.
    #[arg(long)]
    reason: Option<String>,
    /// Stands there for ever, too.
    #[arg(long)]
    ticket: Option<String>,
    /// Repeats an earlier request.
    #[arg(long)]
    request_id: Option<String>,
}

impl Args {
    fn request(&self) -> MoveCustomerRequest {
        MoveCustomerRequest {
            residence_country: self.country.clone(),
            customer_id: self.customer.clone(),
            request_id: request_id(self.request_id.clone()),
            to: self.to.clone().unwrap_or_default(),
            window_ms: self.window_ms.unwrap_or(0),
            reason: self.reason.clone().unwrap_or_default(),
            ticket: self.ticket.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

/// Asks the region where the law puts him; then the one where he lives by now, which is the one to
/// move him on, and those where he lived, which say what became of what he left.
pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let request = args.request();
    let step = |action: MoveAction, region: &str| MoveCustomerRequest {
        action: action.into(),
        region: region.to_owned(),
        // A region that is named need not be where the law puts him.
        residence_country: match region {
            "" => args.country.clone(),
            _ => String::new(),
        },
        ..request.clone()
    };
    let first = match (args.to.is_some(), args.recall) {
        (true, _) => MoveAction::Move,
        (false, true) => MoveAction::Recall,
        (false, false) => MoveAction::Unspecified,
    };
    let mut told = vec![ask(session, step(first, "")).await?];
    if let Some(to) = &args.to {
        while let Hop::Ask(region) = hop(&told, to)? {
            let asked = step(MoveAction::Move, &region);
            told.push(ask(&session.in_region(&region), asked).await?);
        }
    }
    // Who is recalled is recalled from where nobody answers.
    let moved = told.len();
    while let Some(region) = unasked(&told).filter(|_| !args.recall) {
        let asked = step(MoveAction::Unspecified, &region);
        let asked = ask(&session.in_region(&region), asked).await;
        told.push(asked.map_err(|problem| {
            let what = format!("{region} does not say where it stands: {}", problem.text());
            Problem::unreachable(what, "repeat the command")
        })?);
    }
    let mut going = told.iter_mut().filter(|one| args.cancel && one.state() == MoveState::Going);
    if let Some(one) = going.next() {
        let cancel = step(MoveAction::Cancel, &one.region);
        *one = ask(&session.in_region(&one.region), cancel).await?;
    } else if args.cancel {
        let next = "a move that is decided is not called off: move him back with --to";
        return Err(Problem::refused("no move of his is under way", next));
    }
    for (at, one) in told.iter_mut().enumerate() {
        let left = one.delete_time.is_some() && one.receipt.is_none();
        let action = match left {
            true if args.finish_now => Some(MoveAction::Finish),
            // What it has of his, and where he lives may not, it brings again.
            true if at >= moved && args.to.as_ref() == Some(&one.lives_in) => {
                Some(MoveAction::Move)
            }
            _ => None,
        };
        if let Some(action) = action {
            let again = step(action, &one.region);
            *one = ask(&session.in_region(&one.region), again).await?;
        }
        output::print(session.format, "hansa.customer.v1.MoveCustomerResponse", one, rows)?;
    }
    Ok(())
}

/// What is to be asked next of those who could move him.
#[derive(Debug, PartialEq, Eq)]
enum Hop {
    Ask(String),
    /// He lives where he was to.
    There,
}

/// Each region that is asked names the one where he lives, which is the one to move him on.
fn hop(told: &[MoveCustomerResponse], to: &str) -> Result<Hop, Problem> {
    let Some(last) = told.last() else { return Ok(Hop::There) };
    if last.lives_in == to {
        return Ok(Hop::There);
    }
    if told.len() >= HOPS_MAX || told.iter().any(|one| one.region == last.lives_in) {
        let what = format!("{} says that he lives in {}, not in {to}", last.region, last.lives_in);
        return Err(Problem::unreachable(what, "repeat the command without --to"));
    }
    Ok(Hop::Ask(last.lives_in.clone()))
}

/// A region that was named and has not been asked.
fn unasked(told: &[MoveCustomerResponse]) -> Option<String> {
    let mut named = told.iter().flat_map(|one| [&one.lives_in, &one.former]);
    let new = |name: &&String| !name.is_empty() && told.iter().all(|one| one.region != **name);
    named.find(new).cloned()
}

async fn ask(
    session: &Session,
    request: MoveCustomerRequest,
) -> Result<MoveCustomerResponse, Problem> {
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.customers.move_customer(request).await
        })
        .await
}

fn rows(told: &MoveCustomerResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "nothing is known");
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("region", told.region.clone());
    add("lives in", told.lives_in.clone());
    add("state", state(told));
    if !told.next.is_empty() {
        add("next", told.next.clone());
    }
    if told.former.is_empty() {
        return rows;
    }
    add(
        "moved",
        format!("{} from {}, move {}", time(told.move_time.as_ref()), told.former, told.epoch),
    );
    if told.delete_time.is_some() {
        add("took along", format!("{} orders, {}", told.order_count, dash(&told.digest)));
    }
    match &told.receipt {
        Some(receipt) => {
            add("deleted here", time(receipt.erase_time.as_ref()));
            add("region key", dash(&receipt.region_key));
            add("destroyed by", time(receipt.destroy_time.as_ref()));
            add("kept", receipt.kept.clone());
        }
        None if told.delete_time.is_some() => {
            add("deleted here", format!("after {}", time(told.delete_time.as_ref())));
        }
        None => {}
    }
    if !told.open_orders.is_empty() {
        add("waits for", told.open_orders.join(" "));
    }
    if !told.waits_for.is_empty() {
        add("waits for", told.waits_for.clone());
    }
    rows
}

/// Where it stands, in a word, and with whom.
fn state(told: &MoveCustomerResponse) -> String {
    let with = &told.with_region;
    match told.state() {
        MoveState::Unspecified => "never moved".to_owned(),
        MoveState::Going => format!("going to {with} since {}", time(told.begin_time.as_ref())),
        MoveState::Coming => format!("coming from {with}"),
        state => short(state.as_str_name(), "MOVE_STATE_").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(region: &str, lives_in: &str) -> MoveCustomerResponse {
        let (region, lives_in) = (region.to_owned(), lives_in.to_owned());
        MoveCustomerResponse { region, lives_in, ..Default::default() }
    }

    #[test]
    fn he_is_followed_to_where_he_lives_and_moved_on_from_there() {
        let home = told("a", "b");
        let ask = |told: &[MoveCustomerResponse], to| hop(told, to).unwrap();
        assert_eq!(ask(std::slice::from_ref(&home), "b"), Hop::There);
        assert_eq!(ask(std::slice::from_ref(&home), "c"), Hop::Ask("b".into()));
        assert_eq!(ask(&[home.clone(), told("b", "c")], "c"), Hop::There);
        assert_eq!(ask(&[home, told("b", "d")], "c"), Hop::Ask("d".into()));
    }

    #[test]
    fn a_move_that_moved_nobody_is_no_success() {
        // Asked for itself, or round in a circle, or too far: the tool does not say yes.
        for told in [
            vec![told("a", "a")],
            vec![told("a", "b"), told("b", "a")],
            vec![told("a", "b"), told("b", "d"), told("d", "e"), told("e", "f")],
        ] {
            assert!(hop(&told, "c").is_err(), "{told:?}");
        }
    }

    #[test]
    fn every_region_that_is_named_is_asked_once() {
        let home = MoveCustomerResponse { former: "x".into(), ..told("a", "b") };
        assert_eq!(unasked(std::slice::from_ref(&home)).as_deref(), Some("b"));
        assert_eq!(unasked(&[home.clone(), told("b", "b")]).as_deref(), Some("x"));
        assert_eq!(unasked(&[home, told("b", "b"), told("x", "a")]), None);
    }

    #[test]
    fn a_state_is_told_in_a_word() {
        let mut one = told("a", "a");
        assert_eq!(state(&one), "never moved");
        one.set_state(MoveState::Window);
        assert_eq!(state(&one), "window");
        one.set_state(MoveState::Coming);
        one.with_region = "b".into();
        assert_eq!(state(&one), "coming from b");
    }
}
