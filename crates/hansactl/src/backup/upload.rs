//! A backup on its way to one new node.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use hansa_api::pb::node::restore_service_client::RestoreServiceClient;
use hansa_api::pb::node::{BeginRestoreRequest, PutChunkRequest, WantedPart};
use hansa_api::status::{Failure, Kind};
use hansa_backup::part::checksum;
use hansa_backup::{Manifest, PartKind};
use indicatif::ProgressBar;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::disk;
use crate::connect::{Role, Session};
use crate::error::Problem;

const CHUNK_BYTES: usize = 1 << 20;
/// Tries of one call, and the wait after the first.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(100);

type Client = RestoreServiceClient<Channel>;

/// A node that waits for a backup.
pub struct Node {
    pub at: String,
    pub id: u64,
    /// A hash of what it will make of the backup.
    pub plan: String,
    parts: Vec<WantedPart>,
    client: Client,
}

impl Node {
    pub async fn begin(
        session: &Session,
        region: &str,
        at: &str,
        begin: &BeginRestoreRequest,
    ) -> Result<Self, Problem> {
        let channel = session.node(Role::Operator, region, at).await?;
        let client = RestoreServiceClient::new(channel);
        let asked = begin.clone();
        let answer = again(&client, |mut client| {
            let asked = asked.clone();
            async move { client.begin_restore(asked).await }
        })
        .await?;
        let (at, id, plan) = (at.to_owned(), answer.node, answer.plan);
        Ok(Self { at, id, plan, parts: answer.parts, client })
    }

    pub async fn call<T, Fut>(&self, make: impl Fn(Client) -> Fut) -> Result<T, Problem>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        again(&self.client, make).await
    }

    /// Bytes that it still lacks.
    pub fn wanted_bytes(&self, manifest: &Manifest) -> u64 {
        let whole = |path: &str| {
            let of = manifest
                .groups
                .iter()
                .flat_map(|group| PartKind::ALL.map(|kind| (group.path(kind), group.part(kind))));
            let mut of = of.filter(|(known, _)| known == path);
            of.next().and_then(|(_, part)| part).map_or(0, |part| part.bytes)
        };
        let wanted = self.parts.iter();
        wanted.map(|part| whole(&part.path).saturating_sub(part.bytes)).sum()
    }
}

/// Sends whatever the node lacks, from where it is.
pub async fn all(node: &Node, folder: &Path, bar: &ProgressBar) -> Result<(), Problem> {
    for part in &node.parts {
        let path = folder.join(&part.path);
        let mut file = File::open(&path).map_err(|e| disk(&path, e))?;
        let length = file.metadata().map_err(|e| disk(&path, e))?.len();
        let (mut offset, mut buffer) = (part.bytes, vec![0; CHUNK_BYTES]);
        while offset < length {
            file.seek(SeekFrom::Start(offset)).map_err(|e| disk(&path, e))?;
            let read = file.read(&mut buffer).map_err(|e| disk(&path, e))?;
            if read == 0 {
                break;
            }
            let chunk = PutChunkRequest {
                path: part.path.clone(),
                offset,
                data: bytes::Bytes::copy_from_slice(&buffer[..read]),
                checksum: checksum(offset, &buffer[..read]),
            };
            let put = node.call(|mut client| {
                let chunk = chunk.clone();
                async move { client.put_chunk(chunk).await }
            });
            // A repeat whose first try arrived answers with where it is by now.
            let held = put.await?.bytes;
            bar.inc(held.saturating_sub(offset));
            offset = held;
        }
    }
    Ok(())
}

/// One call, again while the node cannot be reached: every one of them may be repeated.
async fn again<T, Fut>(client: &Client, make: impl Fn(Client) -> Fut) -> Result<T, Problem>
where
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let mut tried = 0;
    loop {
        tried += 1;
        let failure = match make(client.clone()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => Failure::from(&status),
        };
        if failure.kind() != Kind::Unavailable || tried == TRIES {
            return Err(failure.into());
        }
        tokio::time::sleep(WAIT * tried).await;
    }
}
