//! This node's part of AuditService: walks over its groups' chains, anchors of other regions.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use hansa_api::pb::admin as pb;
use hansa_consensus::{Audit, AuditError, Host, Mark, Walked};
use hansa_gateway::chains::{Chains, Steps};
use hansa_types::id::GroupId;

use super::inside::Inside;

/// See [`Chains`].
pub struct NodeChains {
    host: Host,
    inside: Arc<Inside>,
}

impl NodeChains {
    pub fn new(host: Host, inside: Arc<Inside>) -> Self {
        Self { host, inside }
    }
}

#[tonic::async_trait]
impl Chains for NodeChains {
    async fn walk(&self, asked: pb::VerifyChainRequest) -> Steps {
        let begun = match GroupId::from_number(asked.group) {
            Some(group) => {
                let marks: BTreeSet<u64> = asked.marks.into_iter().collect();
                let upto = (asked.upto_index > 0).then_some(asked.upto_index);
                self.host.audit(group, marks, upto).await
            }
            None => Err(AuditError::Unreadable("no such group".to_owned())),
        };
        match begun {
            Ok(audit) => stream::unfold(Some(audit), next).boxed(),
            Err(error) => stream::iter([refused(error)]).boxed(),
        }
    }

    fn anchors(&self, origin: &str) -> Vec<pb::Anchor> {
        self.inside.orders().map_or_else(Vec::new, |orders| orders.anchors(origin))
    }
}

async fn next(audit: Option<Audit>) -> Option<(pb::VerifyChainResponse, Option<Audit>)> {
    match audit?.step().await {
        Ok((audit, walked)) => {
            let end = walked.done.then(|| audit.applied());
            Some((step(walked, end), end.is_none().then_some(audit)))
        }
        Err(error) => Some((refused(error), None)),
    }
}

fn step(walked: Walked, end: Option<Mark>) -> pb::VerifyChainResponse {
    let verdict = match end {
        Some(_) => pb::ChainVerdict::Verified,
        None => pb::ChainVerdict::Unspecified,
    };
    pb::VerifyChainResponse {
        next_index: walked.next,
        upto_index: walked.upto,
        marks: walked.marks.into_iter().chain(end).map(mark).collect(),
        records: walked.records.into_iter().map(mark).collect(),
        verdict: verdict.into(),
        detail: String::new(),
    }
}

fn mark(mark: Mark) -> pb::ChainMark {
    pb::ChainMark { index: mark.index, head: Bytes::copy_from_slice(&mark.head) }
}

fn refused(error: AuditError) -> pb::VerifyChainResponse {
    let (verdict, next_index) = match &error {
        AuditError::Differs { index, .. } => (pb::ChainVerdict::Differs, *index),
        AuditError::Unreadable(_) => (pb::ChainVerdict::Unreadable, 0),
    };
    let (verdict, detail) = (verdict.into(), error.to_string());
    pb::VerifyChainResponse { next_index, verdict, detail, ..Default::default() }
}
