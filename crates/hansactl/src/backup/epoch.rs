//! The epoch of a restored region, newer than any that anybody has seen, and who owns what was born
//! there by now.

use futures::future::join_all;
use hansa_api::pb::admin::{ListEpochsRequest, ListEpochsResponse};
use hansa_backup::Manifest;

use crate::connect::{Role, Session};
use crate::error::Problem;

/// What the other regions make of one that comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Fate {
    pub epoch: u64,
    /// Another region has taken over what was born there.
    pub owner: Option<String>,
}

/// # Errors
/// A region that does not answer: it may know of a newer epoch than the others, or of another
/// owner. With an epoch that was asked for: one that is not newer than what those say who do.
pub async fn fate(
    session: &Session,
    manifest: &Manifest,
    asked: Option<u64>,
) -> Result<Fate, Problem> {
    let regions = session.other_regions(&manifest.region);
    let answers = join_all(regions.iter().map(|region| ask(session, region))).await;
    let mut told = Vec::new();
    for (region, answer) in regions.iter().zip(answers) {
        match answer {
            Ok(answer) => told.push(answer),
            Err(problem) if asked.is_some() => {
                let why = problem.text();
                eprintln!("{region} does not say who owns what, and is not waited for: {why}");
            }
            Err(problem) => {
                let what =
                    format!("{region} does not say which epochs it knows: {}", problem.text());
                let next = "give --epoch, newer than any the region ever had";
                return Err(Problem::unreachable(what, next));
            }
        }
    }
    judge(&manifest.region, manifest.epoch, &told, asked)
}

async fn ask(session: &Session, region: &str) -> Result<ListEpochsResponse, Problem> {
    let request = ListEpochsRequest { region: region.to_owned() };
    let peer = session.in_region(region);
    let call = peer.call(Role::Operator, request, |mut services, request| async move {
        services.backups.list_epochs(request).await
    });
    call.await
}

/// Newer than every epoch of every region's births, too: the region may have owned those.
fn judge(
    region: &str,
    backup: u64,
    told: &[ListEpochsResponse],
    asked: Option<u64>,
) -> Result<Fate, Problem> {
    let origins = told.iter().flat_map(|told| &told.origins);
    let streams = origins.filter(|origin| origin.region == region).map(|origin| origin.epoch);
    let births = || told.iter().flat_map(|told| &told.births);
    let newest = streams.chain(births().map(|of| of.epoch)).fold(backup, u64::max);
    let own = births().filter(|of| of.birth_region == region).max_by_key(|of| of.epoch);
    let owner = own.map(|of| of.owner_region.clone()).filter(|owner| owner != region);
    match asked {
        Some(epoch) if epoch <= newest => {
            let what = format!("epoch {epoch} is not newer than {newest}, which others know");
            Err(Problem::usage(what, format!("give --epoch {} or a newer one", newest + 1)))
        }
        Some(epoch) => Ok(Fate { epoch, owner }),
        None => Ok(Fate { epoch: newest + 1, owner }),
    }
}

#[cfg(test)]
mod tests {
    use hansa_api::pb::admin::{BirthEpoch, OriginEpoch};

    use super::*;

    fn told(births: &[(&str, &str, u64)]) -> ListEpochsResponse {
        let birth = |(birth, owner, epoch): &(&str, &str, u64)| BirthEpoch {
            birth_region: (*birth).to_owned(),
            owner_region: (*owner).to_owned(),
            epoch: *epoch,
        };
        let births = births.iter().map(birth).collect();
        ListEpochsResponse { births, ..Default::default() }
    }

    #[test]
    fn a_region_that_was_taken_over_comes_back_as_a_follower() {
        let knows = [
            told(&[("eu-west", "eu-west", 1), ("us-east", "us-east", 1)]),
            told(&[("eu-west", "eu-central", 2), ("us-east", "us-east", 1)]),
        ];
        let fate = judge("eu-west", 1, &knows, None).unwrap();
        assert_eq!(fate, Fate { epoch: 3, owner: Some("eu-central".to_owned()) });
        let forced = judge("eu-west", 1, &knows, Some(9)).unwrap();
        assert_eq!(forced, Fate { epoch: 9, owner: Some("eu-central".to_owned()) });
        assert!(judge("eu-west", 1, &knows, Some(2)).is_err(), "others wrote in it");
    }

    #[test]
    fn the_epoch_is_newer_than_any_of_what_the_region_may_have_owned() {
        let mut knows = told(&[("eu-west", "eu-west", 2), ("us-east", "eu-west", 7)]);
        assert_eq!(judge("eu-west", 1, &[knows.clone()], None).unwrap().epoch, 8);
        let (region, epoch) = ("eu-west".to_owned(), 8);
        knows.origins.push(OriginEpoch { region, epoch, ..Default::default() });
        let fate = judge("eu-west", 1, &[knows], None).unwrap();
        assert_eq!(fate, Fate { epoch: 9, owner: None });
    }
}
