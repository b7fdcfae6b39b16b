//! 3: nothing is sold that is not there: no account is beyond its limit.

use super::Broken;
use crate::core::kernel::Books;

pub const NAME: &str = "no-oversell";

pub fn check(books: &Books) -> Vec<Broken> {
    books
        .accounts()
        .filter(|(_, account)| !account.within_limit())
        .map(|(id, account)| Broken {
            invariant: 3,
            name: NAME,
            what: format!("account {id} is beyond its limit: {account:?}"),
        })
        .collect()
}
