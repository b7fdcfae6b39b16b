//! `hansactl customer …`

mod erase;
mod export;
mod r#move;

use clap::Subcommand;

use crate::connect::Session;
use crate::error::Problem;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Forgets a customer in every region where his data may lie: drops the key that opens it. What
    /// was sold stays sold, without him. Refused while an order of his is under way.
    Erase(erase::Args),
    /// Writes what every lawful region knows of a customer, as JSON lines.
    Export(export::Args),
    /// Has a customer live in another region: his new orders go there, and what he leaves is
    /// deleted once the window is over. Repeated, it goes on or tells where it stands.
    Move(r#move::Args),
}

/// Who is meant.
#[derive(Debug, clap::Args)]
pub struct Who {
    /// The customer's id.
    #[arg(required_unless_present = "order")]
    customer: Option<String>,
    /// Where he lives; ISO 3166-1 alpha-2. His home answers first.
    #[arg(long, required_unless_present = "order")]
    country: Option<String>,
    /// Of a guest: the order's name, regions/<region>/orders/<uuid>.
    #[arg(long, conflicts_with_all = ["customer", "country"])]
    order: Option<String>,
}

impl Who {
    fn customer(&self) -> String {
        self.customer.clone().unwrap_or_default()
    }

    fn country(&self) -> String {
        self.country.clone().unwrap_or_default()
    }

    fn order(&self) -> String {
        self.order.clone().unwrap_or_default()
    }
}

pub async fn run(session: &Session, verb: Verb) -> Result<(), Problem> {
    match verb {
        Verb::Erase(args) => erase::run(session, args).await,
        Verb::Export(args) => export::run(session, args).await,
        Verb::Move(args) => r#move::run(session, args).await,
    }
}
