//! Actions plus homes to a plan: starting stock, what must wait for what, and what must come of it.
//!
//! Stock is cut short for a seeded share of SKUs, so that some run out. Steps that touch one short
//! SKU of a region keep their file order, and so do a buyer's own steps; everything else may run at
//! once. That makes every refusal predictable at any concurrency: a plan says which orders are
//! rejected, and a run that differs has found a bug.

use std::collections::BTreeMap;

use hansa_types::region::RegionName;

use super::action::{Action, Adjust, Buyer, Order, Return};
use super::code::Code;
use super::matching::Purchases;
use super::synthetic::{self, Shares};

/// Starting stock of a SKU in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub region: RegionName,
    pub sku: String,
    /// At least 1.
    pub quantity: u64,
    /// Units that the file asks for.
    pub demand: u64,
}

impl Load {
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.quantity < self.demand
    }
}

/// What must come of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Confirmed, then shipped.
    Shipped,
    /// Confirmed, then cancelled: a synthetic share.
    Cancelled,
    /// The card is declined: a synthetic share.
    Declined,
    /// One of these SKUs is short, with the units that are left of it.
    OutOfStock(BTreeMap<String, i64>),
}

/// What must come of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Order(Expect),
    /// Rows with an earlier purchase, and without.
    Return {
        matched: u64,
        unmatched: u64,
    },
    /// False when fewer units are left than are written off.
    Adjust {
        taken: bool,
    },
}

/// One action with its place in the order of things.
#[derive(Clone, Debug)]
pub struct Step {
    pub action: Action,
    pub region: RegionName,
    /// Steps that must be done first, by index; all smaller than this one's.
    pub after: Vec<usize>,
    pub expect: Outcome,
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub loads: Vec<Load>,
    pub steps: Vec<Step>,
}

/// Plans the actions; `homes` must know every country among them.
///
/// # Errors
/// The countries without a home region, each once.
pub fn plan(
    actions: Vec<Action>,
    homes: &BTreeMap<&'static str, RegionName>,
    shares: &Shares,
) -> Result<Plan, Vec<&'static str>> {
    let mut homeless: Vec<_> = actions
        .iter()
        .map(Action::country)
        .filter(|country| !homes.contains_key(country))
        .collect();
    homeless.sort_unstable();
    homeless.dedup();
    if !homeless.is_empty() {
        return Err(homeless);
    }
    let placed: Vec<(RegionName, Action)> =
        actions.into_iter().map(|action| (homes[action.country()].clone(), action)).collect();
    let loads = loads(&placed, shares);
    let mut books = Books::new(&loads);
    let steps = placed
        .into_iter()
        .enumerate()
        .map(|(index, (region, action))| books.step(index, region, action, shares))
        .collect();
    Ok(Plan { loads, steps })
}

type Shelf = (RegionName, String);

fn loads(placed: &[(RegionName, Action)], shares: &Shares) -> Vec<Load> {
    let mut demand: BTreeMap<Shelf, (u64, u32)> = BTreeMap::new();
    for (region, action) in placed {
        for (sku, units) in action.takes() {
            let at = demand.entry((region.clone(), sku.to_owned())).or_default();
            at.0 += units;
            at.1 += u32::from(units > 0);
        }
    }
    let load = |((region, sku), (demand, takers)): (Shelf, (u64, u32))| {
        let subject = format!("{region}/{sku}");
        // A SKU that one order wants can only refuse that one: nothing would ever run out.
        let short = takers > 1 && synthetic::draw(shares.seed, "scarce", &subject) < shares.scarce;
        let per_mille = 500 + u64::from(synthetic::draw(shares.seed, "left", &subject)) * 2 / 5;
        // One unit of what is only ever found: stock that nobody knows cannot be corrected.
        let quantity = if short { demand * per_mille / 1_000 } else { demand }.max(1);
        Load { region, sku, quantity, demand }
    };
    demand.into_iter().map(load).collect()
}

/// The model of what the league does, one step at a time.
struct Books {
    /// Units left of the SKUs that can run out; all others are loaded to demand.
    left: BTreeMap<Shelf, i64>,
    purchases: Purchases<usize>,
    last_at_shelf: BTreeMap<Shelf, usize>,
    last_of_buyer: BTreeMap<Buyer, usize>,
}

impl Books {
    fn new(loads: &[Load]) -> Self {
        let short = loads.iter().filter(|load| load.is_short()).map(|load| {
            let units = i64::try_from(load.quantity).unwrap_or(i64::MAX);
            ((load.region.clone(), load.sku.clone()), units)
        });
        Self {
            left: short.collect(),
            purchases: Purchases::default(),
            last_at_shelf: BTreeMap::new(),
            last_of_buyer: BTreeMap::new(),
        }
    }

    fn step(&mut self, index: usize, region: RegionName, action: Action, shares: &Shares) -> Step {
        let mut after = self.shelves_before(index, &region, &action);
        let expect = match &action {
            Action::Order(order) => {
                after.extend(self.buyer_before(index, &order.buyer));
                Outcome::Order(self.order(index, &region, order, shares))
            }
            Action::Return(back) => {
                after.extend(self.buyer_before(index, &back.buyer));
                let matched = self.purchases.take(back);
                Outcome::Return { matched: matched.rows_matched, unmatched: matched.rows_unmatched }
            }
            Action::Adjust(adjust) => Outcome::Adjust { taken: self.adjust(&region, adjust) },
        };
        after.sort_unstable();
        after.dedup();
        Step { action, region, after, expect }
    }

    fn shelves_before(&mut self, index: usize, region: &RegionName, action: &Action) -> Vec<usize> {
        let mut before = Vec::new();
        for sku in action.skus() {
            let shelf = (region.clone(), sku.to_owned());
            if self.left.contains_key(&shelf) {
                before.extend(self.last_at_shelf.insert(shelf, index));
            }
        }
        // An action may name a SKU twice.
        before.retain(|earlier| *earlier != index);
        before
    }

    fn buyer_before(&mut self, index: usize, buyer: &Buyer) -> Option<usize> {
        // Guests never come back, so they wait for nobody.
        buyer.customer.as_ref()?;
        self.last_of_buyer.insert(buyer.clone(), index)
    }

    fn order(
        &mut self,
        index: usize,
        region: &RegionName,
        order: &Order,
        shares: &Shares,
    ) -> Expect {
        let shelf = |sku: &str| (region.clone(), sku.to_owned());
        let demand = order.demand();
        let short: BTreeMap<String, i64> = demand
            .iter()
            .filter_map(|(sku, units)| {
                let left = *self.left.get(&shelf(sku))?;
                (i128::from(left) < i128::from(*units)).then(|| ((*sku).to_owned(), left))
            })
            .collect();
        if !short.is_empty() {
            return Expect::OutOfStock(short);
        }
        // Nothing is charged for an order of samples, so no card can be declined.
        let charged = order.total_minor() > 0;
        if charged && synthetic::draw(shares.seed, "decline", &order.invoice) < shares.declined {
            return Expect::Declined;
        }
        if synthetic::draw(shares.seed, "cancel", &order.invoice) < shares.cancelled {
            return Expect::Cancelled;
        }
        for (sku, units) in demand {
            if let Some(left) = self.left.get_mut(&shelf(sku)) {
                *left -= i64::try_from(units).unwrap_or(i64::MAX);
            }
        }
        self.purchases.shipped(index, order);
        Expect::Shipped
    }

    fn adjust(&mut self, region: &RegionName, adjust: &Adjust) -> bool {
        let Some(left) = self.left.get_mut(&(region.clone(), adjust.sku.clone())) else {
            return true;
        };
        let taken = *left + adjust.delta >= 0;
        if taken {
            *left += adjust.delta;
        }
        taken
    }
}

impl Action {
    /// Whose home does it.
    #[must_use]
    pub fn country(&self) -> &'static str {
        match self {
            Self::Order(Order { buyer, .. }) | Self::Return(Return { buyer, .. }) => buyer.country,
            Self::Adjust(adjust) => adjust.country,
        }
    }

    /// Units that it takes off the shelf, by SKU; 0 for what it finds there.
    #[must_use]
    pub fn takes(&self) -> Vec<(&str, u64)> {
        match self {
            Self::Order(order) => order.demand().into_iter().collect(),
            Self::Adjust(adjust) => {
                vec![(adjust.sku.as_str(), adjust.delta.min(0).unsigned_abs())]
            }
            // What comes back is inspected first: it is not for sale.
            Self::Return(_) => Vec::new(),
        }
    }

    /// SKUs whose sellable units it changes.
    fn skus(&self) -> Vec<&str> {
        match self {
            Self::Order(order) => order
                .lines
                .iter()
                .filter(|line| matches!(line.code, Code::Stock(_)))
                .map(|line| line.code.text())
                .collect(),
            Self::Adjust(adjust) => vec![adjust.sku.as_str()],
            Self::Return(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
