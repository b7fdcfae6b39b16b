//! How far the copies of each region's orders are from their homes, as the regions say it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hansa_api::pb::admin::{GetReplicationStatusRequest, OutgoingStream};
use tokio::time::Instant;

use crate::processes::Processes;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// One look at all regions.
#[derive(Debug, Default)]
pub struct Copies {
    /// Streams by the region that they leave.
    pub outgoing: BTreeMap<String, Vec<OutgoingStream>>,
    /// Orders whose events wait for an operator, by the region that they wait in.
    pub parked: BTreeMap<String, u64>,
    /// Regions or nodes that said nothing.
    pub silent: Vec<String>,
}

impl Copies {
    /// What every region that answers says of its streams.
    pub async fn look(league: &Processes) -> Self {
        let mut all = Self::default();
        for region in league.profile.regions.keys() {
            let name = region.to_string();
            let Some(mut door) = league.doors.pick(region, 0, 0) else { continue };
            let mut ask = tonic::Request::new(GetReplicationStatusRequest { region: name.clone() });
            ask.set_timeout(CALL_TIMEOUT);
            match door.operator.replication.get_replication_status(ask).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    all.silent.extend(answer.silent_nodes);
                    let parked = answer.incoming.iter().map(|stream| stream.parked_orders).sum();
                    all.parked.insert(name.clone(), parked);
                    all.outgoing.insert(name, answer.outgoing);
                }
                Err(status) => all.silent.push(format!("{name}: {status}")),
            }
        }
        all
    }

    fn streams(&self) -> impl Iterator<Item = (&String, &OutgoingStream)> {
        self.outgoing.iter().flat_map(|(home, streams)| streams.iter().map(move |s| (home, s)))
    }

    /// Events of the stream that is furthest behind, and the age of the oldest of any, with whose.
    #[must_use]
    pub fn lag(&self) -> (u64, Duration, String) {
        let events = self.streams().map(|(_, stream)| stream.lag_events).max();
        let oldest = self.streams().max_by_key(|(_, stream)| stream.lag_ms);
        let Some((home, stream)) = oldest else { return Default::default() };
        let whose = format!("{home} to {}: {}", stream.peer, stream.last_error);
        (events.unwrap_or_default(), Duration::from_millis(stream.lag_ms), whose)
    }

    /// The last event of each group of each region.
    #[must_use]
    pub fn last(&self) -> BTreeMap<(String, u32), u64> {
        self.streams().map(|(home, s)| ((home.clone(), s.group), s.last_sequence)).collect()
    }

    /// Why copies are not known to equal their homes; `None` when each was compared after `since`
    /// and nothing differs.
    fn apart(&self, regions: usize, since: SystemTime) -> Option<String> {
        if !self.silent.is_empty() || self.outgoing.len() < regions {
            return Some(format!("silent: {:?}", self.silent));
        }
        if let Some((region, parked)) = self.parked.iter().find(|(_, parked)| **parked > 0) {
            return Some(format!("{parked} orders are parked at {region}"));
        }
        let wanted = regions - 1;
        if let Some((home, _)) = self.outgoing.iter().find(|(_, streams)| streams.len() < wanted) {
            return Some(format!("{home} does not ship to all"));
        }
        let apart = |stream: &OutgoingStream| {
            let compared = stream.compared_time.and_then(|time| SystemTime::try_from(time).ok());
            stream.lag_events > 0
                || stream.purge_pending
                || stream.differences > 0
                || stream.differences_truncated
                || compared.is_none_or(|compared| compared < since)
        };
        let (home, stream) = self.streams().find(|(_, stream)| apart(stream))?;
        Some(format!("{home}: {stream:?}"))
    }
}

/// Waits until every copy in every region equals its home by a comparison that began after now;
/// how long that took.
///
/// # Panics
/// When it takes longer than `within`, with the stream that is behind.
pub async fn converge(league: &Processes, within: Duration) -> Duration {
    let (began, since) = (Instant::now(), SystemTime::now());
    loop {
        let copies = Copies::look(league).await;
        let Some(why) = copies.apart(league.profile.regions.len(), since) else {
            return began.elapsed();
        };
        assert!(began.elapsed() < within, "not equal after {within:?}: {why}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
