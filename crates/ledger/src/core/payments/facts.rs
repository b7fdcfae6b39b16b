//! The money books as reconciliation reads them: pointers to pages, taken in one moment.

use hansa_pages::FrozenTable;
use hansa_types::id::{AccountId, TransferId};

use super::{Payment, PaymentKey, Payments};
use crate::core::kernel::{Account, Hold};

/// Money at one moment.
pub struct MoneyFrozen {
    pub payments: FrozenTable<PaymentKey, Payment>,
    pub accounts: FrozenTable<AccountId, Account>,
    pub holds: FrozenTable<TransferId, Hold>,
}

impl Payments {
    pub fn freeze_money(&self) -> MoneyFrozen {
        let books = self.kernel.books();
        MoneyFrozen {
            payments: self.payments.freeze(),
            accounts: books.freeze_accounts(),
            holds: books.freeze_holds(),
        }
    }
}
