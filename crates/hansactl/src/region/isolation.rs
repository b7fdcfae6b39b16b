use std::time::Duration;

use clap::ValueEnum;
use hansa_api::pb::admin::SetIsolationRequest;

use crate::args::span;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::values::request_id;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
`serve` goes on while the region is cut off: a failover then needs a person who says that its \
machines are off. `lease` takes writes only while a majority of regions has renewed it: it \
stops by itself, and costs its orders while it is cut off. Every region is told, in the order \
that is safe.

Example:
  hansactl region isolation eu-west lease --lease 10s")]
pub struct Args {
    /// The region that it is about.
    #[arg(value_name = "REGION")]
    of: String,
    #[arg(value_enum)]
    what: What,
    /// How long a lease lasts.
    #[arg(long, default_value = "10s", value_parser = span)]
    lease: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    /// It goes on.
    Serve,
    /// It takes writes only with a lease.
    Lease,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let lease_ms = match args.what {
        What::Serve => 0,
        What::Lease => u64::try_from(args.lease.as_millis()).unwrap_or(u64::MAX),
    };
    let others = session.other_regions(&args.of);
    // Whoever could take it over must not believe in less than what is so: a region that is to
    // serve, or to hold leases for longer, is told last.
    let told = super::plan::told(session, &args.of).await?;
    let before = super::plan::birth(&told, &args.of)?.lease_ms;
    let weaker = lease_ms == 0 || (before > 0 && lease_ms > before);
    let order = match weaker {
        true => [others.as_slice(), std::slice::from_ref(&args.of)].concat(),
        false => [std::slice::from_ref(&args.of), others.as_slice()].concat(),
    };
    for region in order {
        let request = SetIsolationRequest {
            request_id: request_id(None),
            region: region.clone(),
            of_region: args.of.clone(),
            lease_ms,
        };
        let there = session.in_region(&region);
        let told = there.call(Role::Operator, request, |mut services, request| async move {
            services.region_loss.set_isolation(request).await
        });
        let answer = told.await.map_err(|problem| {
            let what = format!("{region} was not told: {}", problem.text());
            Problem::unreachable(what, "repeat the command once it answers; nothing is unsafe")
        })?;
        let done = if answer.changed { "told" } else { "knew" };
        eprintln!("{region}: {done}");
    }
    Ok(())
}
