use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use hansa_node::env::test::seeded;
use hansa_types::time::WallTime;

use super::*;
use crate::writer::Writer;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Work that keeps its loop until somebody says so, and says when it begins.
fn held() -> (impl FnOnce() + Send, Receiver<()>, Sender<()>) {
    let ((began, begun), (go, wait)) = (channel(), channel());
    let work = move || {
        began.send(()).unwrap();
        wait.recv().unwrap();
    };
    (work, begun, go)
}

#[tokio::test]
async fn a_writer_that_is_busy_delays_no_read() {
    let env = Env::real("test");
    let (writer, reader) = (Writer::start(&env), Reader::start(&env));
    let (work, begun, go) = held();
    let reading = async {
        while begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let read = reader.run(soon(), || 7).await;
        go.send(()).unwrap();
        read
    };
    let (written, read) = tokio::join!(writer.run(work), reading);
    assert_eq!((written.ok(), read), (Some(()), Ok(7)));
    writer.close();
    reader.close();
}

#[tokio::test]
async fn neither_the_queue_nor_a_wait_is_without_bound_and_nobodys_read_is_not_run() {
    let env = Env::real("test");
    let reader = Reader::start(&env);
    let (work, begun, go) = held();
    let holding = reader.run(soon(), work);
    let read = Arc::new(AtomicU32::new(0));
    let others = async {
        while begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let count = || {
            let read = read.clone();
            move || read.fetch_add(1, Ordering::Relaxed)
        };
        let past = Instant::now();
        let waiting = (0..WAITING_MAX).map(|_| reader.run(past, count()));
        let gave_up = futures::future::join_all(waiting).await;
        assert!(gave_up.iter().all(|of| *of == Err(ReadError::Deadline)));
        let full = ReadError::Overloaded { retry_after: RETRY_AFTER };
        assert_eq!(reader.run(soon(), count()).await, Err(full));
        go.send(()).unwrap();
    };
    tokio::join!(async { holding.await.unwrap() }, others);
    while reader.run(soon(), || ()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(read.load(Ordering::Relaxed), 0);
    reader.close();
}

#[tokio::test(start_paused = true)]
async fn closed_it_ends_though_somebody_holds_it() {
    let (env, _) = seeded("a", 1, WallTime(0));
    let reader = Reader::start(&env);
    assert_eq!(reader.run(soon(), || 1).await, Ok(1));
    env.tasks.stop_token().cancel();
    assert_eq!(reader.run(soon(), || 2).await, Ok(2), "groups may still answer");
    reader.close();
    let late = env.tasks.drain(Duration::from_secs(10)).await;
    assert_eq!(late, Vec::<String>::new());
    assert_eq!(reader.run(soon(), || 3).await, Err(ReadError::Stopped));
}
