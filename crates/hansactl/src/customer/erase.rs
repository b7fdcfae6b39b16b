use std::collections::BTreeSet;

use hansa_api::pb::customer::{
    EraseCustomerRequest, EraseCustomerResponse, ErasedKey, ErasureReceipt,
};
use prost_types::Timestamp;

use super::Who;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{dash, request_id, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    who: Who,
    /// Repeats an earlier request, such as one that not every region answered.
    #[arg(long)]
    request_id: Option<String>,
}

/// Passes over the regions: what the first one learns of a customer's keys is for all of them.
const PASSES_MAX: usize = 4;

/// Asks the home first: it refuses while an order is open, and knows where else he may be.
pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let id = request_id(args.request_id);
    let who = EraseCustomerRequest {
        customer_id: args.who.customer(),
        order: args.who.order(),
        request_id: id.clone(),
        ..Default::default()
    };
    let request = EraseCustomerRequest { residence_country: args.who.country(), ..who.clone() };
    let home = ask(session, request).await?;
    show(session, &home)?;
    let mut told = Told::default();
    told.take(&home);
    let receipt = home.receipt.unwrap_or_default();
    let mut named = Vec::new();
    let mut asked = BTreeSet::from([receipt.region.clone()]);
    for pass in 0..PASSES_MAX {
        // Who moved on may be known where only the region that he moved to knows of.
        let new = told.regions.iter().any(|region| !asked.contains(region));
        if pass > 0 && named == told.keys && !new {
            break;
        }
        named = told.keys.clone();
        // What was learned on the way goes to the home as well.
        let again = |region: &&String| pass > 0 || **region != receipt.region;
        let regions: Vec<String> = told.regions.iter().filter(again).cloned().collect();
        let request = EraseCustomerRequest { copies: named.clone(), ..who.clone() };
        ask_each(session, &regions, request, &mut told, &mut asked).await?;
    }
    match told.known {
        true => {
            eprintln!("the last key of his is destroyed by {}", time(told.last.as_ref()));
            Ok(())
        }
        false => Err(Problem::not_found(
            "no lawful region knows the customer",
            "check the id and the country in which he lived when he ordered",
        )),
    }
}

/// Each at its own gateway: nobody else needs to hear who it is about.
async fn ask_each(
    session: &Session,
    regions: &[String],
    request: EraseCustomerRequest,
    told: &mut Told,
    asked: &mut BTreeSet<String>,
) -> Result<(), Problem> {
    let mut undone = Vec::new();
    for region in regions {
        let request = EraseCustomerRequest { region: region.clone(), ..request.clone() };
        match ask(&session.in_region(region), request).await {
            Ok(answer) => {
                told.take(&answer);
                if asked.insert(region.clone()) {
                    show(session, &answer)?;
                }
            }
            Err(problem) => undone.push((region.as_str(), problem)),
        }
    }
    all_done(&undone, &request.request_id)
}

/// Regions that did not do it, and what to do then: who refused does so again.
fn all_done(undone: &[(&str, Problem)], request_id: &str) -> Result<(), Problem> {
    if undone.is_empty() {
        return Ok(());
    }
    let each = undone.iter().map(|(region, problem)| format!("{region}: {}", problem.text()));
    let each: Vec<String> = each.collect();
    let what = format!("not every lawful region has erased the customer; {}", each.join("; "));
    let repeat = format!("repeat with --request-id {request_id}");
    Err(match undone.iter().any(|(_, problem)| problem.is_refused()) {
        true => {
            Problem::refused(what, format!("do as the region that refused says; else {repeat}"))
        }
        false => Problem::unreachable(what, repeat),
    })
}

/// What all regions together have said.
#[derive(Default)]
struct Told {
    known: bool,
    /// Every key that opened something of his.
    keys: Vec<ErasedKey>,
    /// Every region where he may be known.
    regions: BTreeSet<String>,
    /// When the last region destroys what wrapped the last of them.
    last: Option<Timestamp>,
}

impl Told {
    fn take(&mut self, answer: &EraseCustomerResponse) {
        let Some(receipt) = &answer.receipt else { return };
        self.known |= receipt.key.is_some() || receipt.copy_count > 0;
        for key in receipt.key.iter().chain(&receipt.former_keys) {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
        self.regions.extend(receipt.lawful_regions.iter().cloned());
        let later = |of: &Timestamp| (of.seconds, of.nanos);
        self.last = self.last.into_iter().chain(receipt.destroy_time).max_by_key(later);
    }
}

async fn ask(
    session: &Session,
    request: EraseCustomerRequest,
) -> Result<EraseCustomerResponse, Problem> {
    session
        .call(Role::Operator, request, |mut services, request| async move {
            services.customers.erase_customer(request).await
        })
        .await
}

fn show(session: &Session, answer: &EraseCustomerResponse) -> Result<(), Problem> {
    output::print(session.format, "hansa.customer.v1.EraseCustomerResponse", answer, rows)
}

fn rows(answer: &EraseCustomerResponse) -> Rows {
    let mut rows = Rows::new(&["what", "value"], "no receipt");
    let Some(receipt) = &answer.receipt else { return rows };
    let ErasureReceipt { region, key, order_count, region_key, kept, copy_count, .. } = receipt;
    let mut add = |what: &str, value: String| rows.add([what.to_owned(), value]);
    add("region", region.clone());
    match key {
        Some(key) => {
            add("erased", time(receipt.erase_time.as_ref()));
            let before = if answer.replayed { "yes, by an earlier request" } else { "no" };
            add("before", before.to_owned());
            add("pseudonym", name(key));
            for former in &receipt.former_keys {
                add("formerly", format!("{} at {}", name(former), former.home_region));
            }
            add("orders kept", order_count.to_string());
            add("kept", kept.clone());
        }
        None => add("erased", format!("nothing of his own here, {copy_count} copies of his keys")),
    }
    if receipt.destroy_time.is_some() {
        add("region key", dash(region_key));
        add("destroyed by", time(receipt.destroy_time.as_ref()));
    }
    if key.is_some() {
        add("lawful regions", receipt.lawful_regions.join(" "));
    }
    rows
}

fn name(key: &ErasedKey) -> String {
    format!("{} generation {}", key.subject, key.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_advised_where_nobody_refused_and_else_what_who_refused_says() {
        let silent = || ("a", Problem::unreachable("nobody answers", "wait"));
        let refused = || ("b", Problem::refused("an order is open", "cancel it"));
        assert!(all_done(&[], "r-1").is_ok());
        let lone = all_done(&[silent()], "r-1").unwrap_err();
        assert!(!lone.is_refused());
        assert!(lone.text().ends_with("\nnext: repeat with --request-id r-1"), "{}", lone.text());
        for undone in [[silent(), refused()], [refused(), silent()]] {
            let both = all_done(&undone, "r-1").unwrap_err();
            let text = both.text();
            assert!(both.is_refused() && text.contains("a: error: nobody answers"), "{text}");
            assert!(text.contains("b: error: an order is open\nnext: cancel it"), "{text}");
            let next =
                "next: do as the region that refused says; else repeat with --request-id r-1";
            assert!(text.ends_with(next), "{text}");
        }
    }
}
