//! `hansa dev`: a league that stays up, and what one needs to call it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use hansa_node::shutdown;
use hansa_node::tasks::Tasks;
use hansa_node::telemetry::Telemetry;

use super::Exit;
use crate::league::League;
use crate::league::layout::Layout;

const READY_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the league keeps its data; started again, it goes on from there.
    #[arg(long, default_value = "hansa-data/dev")]
    data: PathBuf,
    /// Ports start here: gateways at +11 to +33, internal 100 above, metrics 200 above.
    #[arg(long, default_value_t = 7_400, conflicts_with = "any_ports")]
    base_port: u16,
    /// Take ports that are free now.
    #[arg(long)]
    any_ports: bool,
    /// What the nodes log to stderr, as tracing directives.
    #[arg(long, default_value = "warn,openraft=error", env = "HANSA_LOG")]
    log: String,
}

/// Starts the league, says how to call it, and waits for Ctrl-C.
///
/// # Errors
/// What kept it from starting, or the node that failed.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let mut layout = if args.any_ports { Layout::anywhere()? } else { Layout::at(args.base_port)? };
    layout.telemetry.log_filter.clone_from(&args.log);
    let telemetry = Telemetry::start(&layout.telemetry, "hansa-dev")?;
    let asked = shutdown::on_signals(&Tasks::new("dev"))?;
    let data = std::path::absolute(&args.data).context("--data")?;
    let mut league = League::start(&data, &layout).await?;
    let ready = tokio::select! {
        biased;
        ready = league.ready(READY_MAX) => ready,
        () = asked.cancelled() => Ok(()),
    };
    if ready.is_ok() && !asked.is_cancelled() {
        print!("{}", guide(&league, &data));
    }
    let failed = match ready {
        Ok(()) => tokio::select! {
            biased;
            () = asked.cancelled() => None,
            failure = failure(&mut league) => Some(failure),
        },
        Err(error) => Some(format!("{error:#}")),
    };
    league.stop().await;
    telemetry.stop(Duration::from_secs(2)).await;
    match failed {
        None => Ok(Exit::Done),
        Some(failure) => anyhow::bail!("{failure}"),
    }
}

async fn failure(league: &mut League) -> String {
    loop {
        league.stop_drained().await;
        if let Some(failure) = league.failure() {
            return failure;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Endpoints, certificates and a first call to paste.
fn guide(league: &League, data: &Path) -> String {
    use std::fmt::Write as _;
    let profile = league.profile();
    let mut guide = String::from("\nThe league is up. Gateways (mTLS, HTTP/2):\n");
    for (region, gateways) in &profile.regions {
        // Writing to a String cannot fail.
        let _ = writeln!(guide, "  {region:<10} {}", gateways.endpoints.join("  "));
    }
    let pki = data.join("pki");
    let (pki, file) = (pki.display(), league.profile_file().display());
    let endpoint = profile.regions.values().find_map(|region| region.endpoints.first());
    let endpoint = endpoint.map_or("127.0.0.1:7411", String::as_str);
    let _ = write!(
        guide,
        r#"Certificates: CA {pki}/ca.crt, clients {pki}/clients/<name>.crt and .key
  (storefront, warehouse, finance, operator, auditor, approver)
Profile: {file}

First calls, with whatever client you have:
  grpcurl -cacert {pki}/ca.crt -cert {pki}/clients/operator.crt -key {pki}/clients/operator.key \
    {endpoint} hansa.region.v1.RegionService/ListRegions
  buf curl --protocol grpc --cacert {pki}/ca.crt --cert {pki}/clients/operator.crt \
    --key {pki}/clients/operator.key https://{endpoint}/hansa.region.v1.RegionService/ListRegions
  python3 -c 'import grpc; r = lambda f: open("{pki}/" + f, "rb").read(); \
    c = grpc.secure_channel("{endpoint}", grpc.ssl_channel_credentials(r("ca.crt"), \
    r("clients/operator.key"), r("clients/operator.crt"))); \
    print(c.unary_unary("/hansa.region.v1.RegionService/ListRegions")(b"", timeout=5))'
  hansactl --profile {file} stock receive 85123A 100
  hansactl --profile {file} order place --country DE --line 85123A:2:2.55 --currency EUR
  hansa replay --profile {file} data/online-retail-sample.csv

Ctrl-C drains and stops; a second one exits now.
"#
    );
    guide
}
