use hansa_api::pb::order::{
    OrderState, WatchOrderRequest, WatchOrderResponse, watch_order_response::Item,
};

use super::show;
use crate::connect::{Role, Session};
use crate::error::Problem;
use crate::output::{self, Rows};
use crate::values::{short, time};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// regions/<region>/orders/<uuid>
    order: String,
    /// Go on after this cursor; it is printed on stderr when the watch ends.
    #[arg(long, default_value = "")]
    cursor: String,
    /// Stay after the order is rejected, cancelled or completed.
    #[arg(long)]
    follow: bool,
}

pub async fn run(session: &Session, args: Args) -> Result<(), Problem> {
    let mut orders = session.services(Role::Storefront).await?.orders;
    let request = WatchOrderRequest { order: args.order, cursor: args.cursor };
    // A watch has no deadline: it ends with the order, or with Ctrl-C.
    let mut stream = orders.watch_order(request).await?.into_inner();
    let mut cursor = String::new();
    loop {
        let item = tokio::select! {
            item = stream.message() => item,
            _ = tokio::signal::ctrl_c() => break,
        };
        let item = match item {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(status) => {
                say(&cursor);
                return Err(status.into());
            }
        };
        cursor.clone_from(&item.cursor);
        let closed = closes(&item);
        output::print(session.format, "hansa.order.v1.WatchOrderResponse", &item, rows)?;
        if closed && !args.follow {
            break;
        }
    }
    say(&cursor);
    Ok(())
}

fn say(cursor: &str) {
    if !cursor.is_empty() {
        eprintln!("go on with --cursor {cursor}");
    }
}

fn closes(item: &WatchOrderResponse) -> bool {
    let order = match &item.item {
        Some(Item::Event(event)) => event.order.as_ref(),
        Some(Item::Compacted(compacted)) => compacted.order.as_ref(),
        Some(Item::Bookmark(_)) | None => None,
    };
    order.is_some_and(|order| {
        let closed = [OrderState::Rejected, OrderState::Cancelled, OrderState::Completed];
        closed.contains(&order.state())
    })
}

fn rows(item: &WatchOrderResponse) -> Rows {
    let mut rows = Rows::new(&[], "");
    match &item.item {
        Some(Item::Event(event)) => {
            let kind = short(event.kind().as_str_name(), "ORDER_EVENT_KIND_");
            let state = event.order.as_ref().map_or_else(String::new, show::state);
            let at = time(event.event_time.as_ref());
            rows.add([event.sequence.to_string(), at, kind, state]);
        }
        Some(Item::Compacted(compacted)) => {
            let state = compacted.order.as_ref().map_or_else(String::new, show::state);
            let what = "earlier events are archived".to_owned();
            rows.add([compacted.sequence.to_string(), "-".to_owned(), what, state]);
        }
        // A sign of life, and nothing to look at.
        Some(Item::Bookmark(_)) | None => {}
    }
    rows
}
