//! What a peer's copy may say of an order: nothing that this group's own rules would refuse.

use super::adopt::{Facts, Moved, Stepped};
use crate::core::contents::Contents;

/// Movements and refunds of one order, each; as the verbs allow.
const LIST_MAX: usize = 1_000;
/// No order changes so often.
pub const VERSION_MAX: u64 = 1 << 48;

impl Facts {
    /// Whether sums of what it says stay within what was ordered and paid.
    pub fn sound(&self, contents: &Contents) -> bool {
        let lists = [self.refunds.len(), self.shipments.len(), self.returns.len()];
        let money = [self.authorized_minor, self.captured_minor, self.refunded_minor];
        lists.iter().all(|len| *len <= LIST_MAX)
            && money.iter().all(|minor| (0..=contents.total_minor).contains(minor))
            && self.refunded_minor <= self.captured_minor
            && self.refunds_fit()
            && moved_fit(&self.shipments, contents)
            && moved_fit(&self.returns, contents)
    }

    fn refunds_fit(&self) -> bool {
        let mut left = self.captured_minor;
        self.refunds.iter().all(|refund| {
            if refund.state != Stepped::Refused {
                left = left.saturating_sub(refund.amount_minor);
            }
            refund.amount_minor >= 0 && refund.amount_minor <= self.captured_minor && left >= 0
        })
    }
}

fn moved_fit(moved: &[Moved], contents: &Contents) -> bool {
    let mut left: Vec<u32> = contents.lines.iter().map(|line| line.quantity).collect();
    moved.iter().all(|movement| {
        movement.lines.len() <= contents.lines.len()
            && within(&movement.elsewhere, &movement.lines)
            && movement.lines.iter().all(|(place, units)| {
                let Some(left) = left.get_mut(usize::from(*place)) else { return false };
                match movement.state {
                    Stepped::Refused => {
                        let ordered = contents.lines[usize::from(*place)].quantity;
                        *units <= ordered
                    }
                    Stepped::Done | Stepped::UnderWay => match left.checked_sub(*units) {
                        Some(rest) => {
                            *left = rest;
                            true
                        }
                        None => false,
                    },
                }
            })
    })
}

/// Whether these are units of those lines, each named once.
fn within(part: &[(u16, u32)], lines: &[(u16, u32)]) -> bool {
    let named = |place: u16| lines.iter().find(|(line, _)| *line == place).map(|(_, units)| *units);
    part.len() <= lines.len()
        && part.iter().all(|(place, units)| named(*place).is_some_and(|all| *units <= all))
}
