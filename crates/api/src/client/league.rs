//! A client of the whole league: any of its endpoints, retries, and the way to the right region.

mod homes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::connect::{ConnectError, Services, Timing, connect_lazy_over, connect_over};
use super::reach::{Reach, Tls};
use super::retry::{Budget, Policy};
use super::tls::{Expect, Identity};
use crate::first_sent;
use crate::pb::region::ExplainRouteRequest;
use crate::status::{Failure, Kind, Reason};
use homes::{Home, Homes};

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub timing: Timing,
    pub policy: Policy,
    /// For residents whose law forbids that a call passes through another region: asks where they
    /// live before anything about them is sent, and sends it there only.
    pub strict: bool,
}

/// Whom or what a call is about, as far as it says where to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// A resident of this country, ISO 3166-1 alpha-2.
    Resident(&'a str),
    /// The order of this name.
    Order(&'a str),
}

/// Calls go to the first endpoint; one that is unavailable hands over to the next.
#[derive(Clone, Debug)]
pub struct League(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reach: Arc<dyn Reach>,
    expect: Expect,
    endpoints: Vec<String>,
    options: Options,
    budget: Budget,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Index of the endpoint that answered last.
    current: usize,
    /// One channel per endpoint and whom we expect there; endpoints are few.
    services: BTreeMap<(String, String), Services>,
    homes: Homes,
}

/// A channel that was made for one expectation says nothing about another.
fn key_of(endpoint: &str, expect: &Expect) -> (String, String) {
    (endpoint.to_owned(), format!("{expect:?}"))
}

/// Endpoints that redirects may add; more would be a server that leads us astray.
const CHANNELS_MAX: usize = 64;

/// One try of a call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    deadline: Instant,
    /// From 1.
    pub attempt: u32,
    /// When the first try began.
    pub first_sent_ms: Option<u64>,
}

impl Call {
    /// A request that carries what is left of the call's time as `grpc-timeout`, and when it was
    /// first sent.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(at) = self.first_sent_ms {
            first_sent::put(request.metadata_mut(), at);
        }
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        request
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Whether another gateway may do better. One that a partition has cut off from its peers answers
/// late or that nobody leads, while the others serve.
fn turns_away(failure: &Failure) -> bool {
    failure.kind() == Kind::Unavailable || failure.kind() == Kind::DeadlineExceeded
}

impl League {
    /// Connects to the first endpoint that answers; the others wait as spares.
    ///
    /// # Errors
    /// What was wrong with the last one tried.
    pub async fn connect(
        identity: Identity,
        endpoints: Vec<String>,
        expect: Expect,
        options: Options,
    ) -> Result<Self, ConnectError> {
        Self::connect_over(Arc::new(Tls(identity)), endpoints, expect, options).await
    }

    /// The same over any reach.
    ///
    /// # Errors
    /// As there.
    pub async fn connect_over(
        reach: Arc<dyn Reach>,
        endpoints: Vec<String>,
        expect: Expect,
        options: Options,
    ) -> Result<Self, ConnectError> {
        let mut last = ConnectError::NoEndpoint;
        for (current, endpoint) in endpoints.iter().enumerate() {
            match connect_over(&reach, endpoint, &expect, options.timing).await {
                Ok(channel) => {
                    let key = key_of(endpoint, &expect);
                    let services = BTreeMap::from([(key, Services::new(channel))]);
                    let homes = Homes::default();
                    let state = Mutex::new(State { current, services, homes });
                    let budget = Budget::new(&options.policy);
                    return Ok(Self(Arc::new(Inner {
                        reach,
                        expect,
                        endpoints,
                        options,
                        budget,
                        state,
                    })));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The typed clients at the endpoint in use, for streams and for calls without retries.
    ///
    /// # Errors
    /// `UNAVAILABLE` when not even a lazy channel can be made.
    pub fn services(&self) -> Result<Services, Failure> {
        self.current().map(|(_, services)| services)
    }

    fn current(&self) -> Result<(usize, Services), Failure> {
        let index = self.lock().current;
        let services = self.at(&self.0.endpoints[index], &self.0.expect)?;
        Ok((index, services))
    }

    /// Makes a call, again where the policy allows, at another region where the answer says so.
    ///
    /// ```ignore
    /// let order = league.call(timeout, |mut services, call| {
    ///     let request = call.request(message.clone());
    ///     async move { services.orders.place_order(request).await }
    /// }).await?;
    /// ```
    ///
    /// # Errors
    /// The last failure; `DEADLINE_EXCEEDED` when `timeout` has passed.
    pub async fn call<T, F, Fut>(&self, timeout: Duration, make: F) -> Result<T, Failure>
    where
        F: FnMut(Services, Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        // Boxed: the clients of all services lie in it, several times.
        Box::pin(self.make(Instant::now() + timeout, None, None, make)).await
    }

    /// The same for a call about somebody or something, which goes to where they live once that is
    /// known: a redirect is followed once and remembered. A strict client asks before the first
    /// call, and sends nothing of it anywhere else.
    ///
    /// # Errors
    /// As [`League::call`]; those of `ExplainRoute` from a strict client.
    pub async fn call_about<T, F, Fut>(
        &self,
        about: About<'_>,
        timeout: Duration,
        make: F,
    ) -> Result<T, Failure>
    where
        F: FnMut(Services, Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + timeout;
        let home = match self.home(about)? {
            None if self.0.options.strict => Some(self.explain(about, deadline).await?),
            known => known,
        };
        Box::pin(self.make(deadline, Some(about), home, make)).await
    }

    /// What a failure says of a remembered home.
    fn doubt(&self, about: About<'_>, at_home: bool, failure: &Failure) {
        let homes = &mut self.lock().homes;
        if at_home && turns_away(failure) {
            homes.turned_away(about);
        }
        if failure.reason() == Reason::WrongRegion {
            // Also where it names nobody, or the second one in a row.
            homes.forget(about);
        }
    }

    async fn make<T, F, Fut>(
        &self,
        deadline: Instant,
        about: Option<About<'_>>,
        home: Option<Services>,
        mut make: F,
    ) -> Result<T, Failure>
    where
        F: FnMut(Services, Call) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.0.budget.earn();
        let mut at_home = home.is_some();
        let (mut index, mut services) = match home {
            Some(services) => (usize::MAX, services),
            None => self.current()?,
        };
        let first_sent_ms = self.0.reach.wall_ms();
        let mut redirected = false;
        for attempt in 1.. {
            let call = Call { deadline, attempt, first_sent_ms };
            let tried = tokio::time::timeout_at(deadline, make(services.clone(), call)).await;
            let failure = match tried {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Failure::from(status),
                Err(_) => Reason::DeadlineExceeded.into(),
            };
            if let Some(about) = about {
                self.doubt(about, at_home, &failure);
            }
            let stay = redirected || !turns_away(&failure);
            if failure.reason() == Reason::DeadlineExceeded {
                // No time is left for this call; the next one goes elsewhere.
                if !stay && !at_home {
                    self.leave(index);
                }
                return Err(failure);
            }
            if let (false, Some(other)) = (redirected, self.redirect(&failure)) {
                // Once: two regions that send us to each other are a fault to be seen.
                redirected = true;
                services = other?;
                if let Some((about, home)) = about.zip(Home::named_by(&failure)) {
                    self.lock().homes.remember(about, home);
                    at_home = true;
                }
                continue;
            }
            let wait = self.0.options.policy.wait(&failure, attempt, self.0.reach.chance());
            let Some(wait) = wait.filter(|wait| Instant::now() + *wait < deadline) else {
                return Err(failure);
            };
            if !self.0.budget.spend() {
                return Err(failure);
            }
            tokio::time::sleep(wait).await;
            if at_home {
                // Another gateway of the same region, or the same one again: never another region.
                let again = about.map_or(Ok(None), |about| self.home(about))?;
                services = again.unwrap_or(services);
            } else if !stay {
                self.leave(index);
                (index, services) = self.current()?;
            }
        }
        Err(Reason::Internal.into()) // Not reached: the tries are bounded by the policy.
    }

    /// The services of the region that a `WRONG_REGION` names, `None` for other failures.
    fn redirect(&self, failure: &Failure) -> Option<Result<Services, Failure>> {
        let home = Home::named_by(failure)?;
        Some(self.at(home.endpoint()?, &home.expect()))
    }

    /// The services of the region where somebody is known to live.
    fn home(&self, about: About<'_>) -> Result<Option<Services>, Failure> {
        let home = self.lock().homes.of(about);
        let Some((endpoint, expect)) =
            home.as_ref().and_then(|home| Some((home.endpoint()?, home.expect())))
        else {
            return Ok(None);
        };
        self.at(endpoint, &expect).map(Some)
    }

    /// Asks where somebody lives, and remembers it. The question names a country or an order, and
    /// nobody.
    async fn explain(&self, about: About<'_>, deadline: Instant) -> Result<Services, Failure> {
        let (residence_country, order) = match about {
            About::Resident(country) => (country.to_owned(), String::new()),
            About::Order(order) => (String::new(), order.to_owned()),
        };
        let question =
            ExplainRouteRequest { residence_country, order, ..ExplainRouteRequest::default() };
        let asked = self.make(deadline, None, None, |mut services, call| {
            let request = call.request(question.clone());
            async move { services.regions.explain_route(request).await }
        });
        let told = Box::pin(asked).await?;
        let home = Home::of(&told.home_region, told.endpoints);
        let home =
            home.ok_or_else(|| Failure::new(Reason::Unavailable, "the home has no endpoint"))?;
        let services = self.at(home.endpoint().unwrap_or_default(), &home.expect())?;
        self.lock().homes.remember(about, home);
        Ok(services)
    }

    fn at(&self, endpoint: &str, expect: &Expect) -> Result<Services, Failure> {
        let mut state = self.lock();
        if let Some(services) = state.services.get(&key_of(endpoint, expect)) {
            return Ok(services.clone());
        }
        if state.services.len() >= CHANNELS_MAX {
            return Err(Failure::new(Reason::Unavailable, "too many different endpoints"));
        }
        let timing = self.0.options.timing;
        let channel = connect_lazy_over(&self.0.reach, endpoint, expect, timing)
            .map_err(|error| Failure::new(Reason::Unavailable, error.to_string()))?;
        let services = Services::new(channel);
        state.services.insert(key_of(endpoint, expect), services.clone());
        Ok(services)
    }

    /// Moves on from an endpoint, unless another call has done so already.
    fn leave(&self, index: usize) {
        let mut state = self.lock();
        if state.current == index {
            state.current = (index + 1) % self.0.endpoints.len();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
