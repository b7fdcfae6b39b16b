//! `google.type.Money` at the edge, whole minor units inside.

use hansa_types::money::{Money, MoneyError};

use super::Checks;
use crate::pb;
use crate::status::Reason;

impl From<Money> for pb::Money {
    fn from(money: Money) -> Self {
        let (units, nanos) = money.to_units_nanos();
        Self { currency_code: money.currency.as_str().to_owned(), units, nanos }
    }
}

impl TryFrom<&pb::Money> for Money {
    type Error = MoneyError;
    fn try_from(money: &pb::Money) -> Result<Self, MoneyError> {
        Self::from_units_nanos(money.units, money.nanos, money.currency_code.parse()?)
    }
}

impl Checks {
    /// An amount that must be there.
    pub fn money(&mut self, field: &str, money: Option<&pb::Money>) -> Option<Money> {
        match money {
            Some(money) => self.take(field.to_owned(), money.try_into()),
            None => {
                self.refuse(Reason::FieldEmpty, field.to_owned(), "required");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hansa_types::money::Currency;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_amount_survives_the_edge(minor in any::<i64>(), n in 0_usize..4) {
            let kwd = "KWD".parse().unwrap();
            let currency = [Currency::EUR, Currency::JPY, Currency::USD, kwd][n];
            let money = Money::new(minor, currency);
            prop_assert_eq!(Money::try_from(&pb::Money::from(money)), Ok(money));
        }

        #[test]
        fn no_amount_at_the_edge_panics(units in any::<i64>(), nanos in any::<i32>()) {
            let money = pb::Money { currency_code: "EUR".into(), units, nanos };
            if let Ok(exact) = Money::try_from(&money) {
                prop_assert_eq!(pb::Money::from(exact), money);
            }
        }
    }
}
