//! Where somebody lives, as far as this client was told.

use std::collections::BTreeMap;
use std::time::Duration;

use hansa_types::region::RegionName;
use tokio::time::Instant;

use super::About;
use crate::client::tls::Expect;
use crate::status::{Failure, Reason, key};

/// A region and its gateways; the first one is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    region: RegionName,
    endpoints: Vec<String>,
}

impl Home {
    /// `None` for a region that is none or has no gateway.
    pub fn of(region: &str, endpoints: Vec<String>) -> Option<Self> {
        let region = region.parse().ok()?;
        (!endpoints.is_empty()).then_some(Self { region, endpoints })
    }

    /// The region that a `WRONG_REGION` names, `None` for other failures.
    pub fn named_by(failure: &Failure) -> Option<Self> {
        if failure.reason() != Reason::WrongRegion {
            return None;
        }
        let endpoint = failure.metadata(key::ENDPOINT).filter(|endpoint| !endpoint.is_empty())?;
        Self::of(failure.metadata(key::REGION)?, vec![endpoint.to_owned()])
    }

    pub fn endpoint(&self) -> Option<&str> {
        self.endpoints.first().map(String::as_str)
    }

    /// Whoever sends us somewhere says which region it is; the certificate there must say so too.
    pub fn expect(&self) -> Expect {
        Expect::NodeOf(self.region.clone())
    }
}

/// Homes that are remembered at most: countries, and the regions that orders were born in.
const HOMES_MAX: usize = 512;
/// A home is asked for anew after this long: laws change, and a home that has moved away need not
/// be there any more to say so.
const HOME_TTL: Duration = Duration::from_secs(600);

/// What is known of homes; forgotten in time, when they say that they are none, and when they turn
/// us away once from each of their gateways.
#[derive(Debug, Default)]
pub(super) struct Homes(BTreeMap<String, Known>);

#[derive(Debug)]
struct Known {
    home: Home,
    turned: usize,
    until: Instant,
}

impl Homes {
    pub fn of(&mut self, about: About<'_>) -> Option<Home> {
        let (key, now) = (key_of(about), Instant::now());
        if self.0.get(key).is_some_and(|known| known.until <= now) {
            self.0.remove(key);
        }
        self.0.get(key).map(|known| known.home.clone())
    }

    pub fn remember(&mut self, about: About<'_>, home: Home) {
        let key = key_of(about);
        if self.0.len() >= HOMES_MAX && !self.0.contains_key(key) {
            // The one that would go first in time.
            let oldest = self.0.iter().min_by_key(|(_, known)| known.until);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let until = Instant::now() + HOME_TTL;
        self.0.insert(key.to_owned(), Known { home, turned: 0, until });
    }

    /// What was taken for the home says that it is not.
    pub fn forget(&mut self, about: About<'_>) {
        self.0.remove(key_of(about));
    }

    /// A gateway of the home does not serve: the next one is asked, and after all of them whoever
    /// knows where the home is by now.
    pub fn turned_away(&mut self, about: About<'_>) {
        let key = key_of(about);
        let Some(Known { home, turned, .. }) = self.0.get_mut(key) else { return };
        home.endpoints.rotate_left(1);
        *turned += 1;
        if *turned >= home.endpoints.len() {
            self.0.remove(key);
        }
    }
}

/// Orders live where those of their birth region live, but for single slots that have moved; those
/// are redirected, and what is remembered follows the last one.
fn key_of(about: About<'_>) -> &str {
    match about {
        About::Resident(country) => country,
        About::Order(name) => name.rsplit_once("/orders/").map_or(name, |(region, _)| region),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(endpoints: &[&str]) -> Home {
        Home::of("ru-central", endpoints.iter().map(|e| (*e).to_owned()).collect()).unwrap()
    }

    #[test]
    fn a_home_is_left_after_each_of_its_gateways_was_tried() {
        let (mut homes, russian) = (Homes::default(), About::Resident("RU"));
        homes.remember(russian, home(&["a:1", "b:1"]));
        assert_eq!(homes.of(russian).unwrap().endpoint(), Some("a:1"));
        homes.turned_away(russian);
        assert_eq!(homes.of(russian).unwrap().endpoint(), Some("b:1"));
        homes.turned_away(russian);
        assert_eq!(homes.of(russian), None);
        homes.turned_away(russian);
    }

    #[test]
    fn orders_of_one_birth_region_share_their_home() {
        let mut homes = Homes::default();
        homes.remember(About::Order("regions/ru-central/orders/1"), home(&["a:1"]));
        assert!(homes.of(About::Order("regions/ru-central/orders/2")).is_some());
        assert!(homes.of(About::Order("regions/eu-west/orders/1")).is_none());
        assert!(homes.of(About::Resident("RU")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_the_newest_is_kept() {
        let mut homes = Homes::default();
        for n in 0..2 * HOMES_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            homes.remember(About::Order(&format!("x{n}")), home(&["a:1"]));
        }
        assert_eq!(homes.0.len(), HOMES_MAX);
        assert!(homes.of(About::Order(&format!("x{}", 2 * HOMES_MAX - 1))).is_some());
        assert!(homes.of(About::Order("x0")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_home_is_asked_for_anew_after_a_while_and_when_it_says_that_it_is_none() {
        let (mut homes, russian) = (Homes::default(), About::Resident("RU"));
        homes.remember(russian, home(&["a:1"]));
        tokio::time::advance(HOME_TTL - Duration::from_millis(1)).await;
        assert!(homes.of(russian).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(homes.of(russian), None);
        homes.remember(russian, home(&["a:1"]));
        homes.forget(russian);
        assert_eq!(homes.of(russian), None);
    }

    #[test]
    fn a_redirect_to_nowhere_is_none() {
        let region = "eu-west".parse().unwrap();
        assert_eq!(Home::named_by(&Failure::wrong_region(&region, "")), None);
        assert_eq!(Home::named_by(&Failure::of(Reason::NotLeader)), None);
        assert!(Home::named_by(&Failure::wrong_region(&region, "x:1")).is_some());
    }
}
