//! Where tasks run: any thread of a runtime, or one thread's `LocalSet`.

use std::future::Future;
use std::pin::Pin;

use futures::future::{self, AbortHandle as LocalAbort};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone)]
pub enum Place {
    Runtime(Handle),
    /// Work for the `LocalSet`, in order. Handed over, as not all who start tasks run on it: a
    /// library's tasks may be the runtime's.
    Local(mpsc::UnboundedSender<Work>),
}

/// Ends a task early.
#[derive(Clone)]
pub enum Abort {
    Runtime(AbortHandle),
    Local(LocalAbort),
}

impl Abort {
    pub fn abort(&self) {
        match self {
            Self::Runtime(task) => task.abort(),
            Self::Local(task) => task.abort(),
        }
    }
}

impl Place {
    /// The runtime this is called in.
    pub fn runtime() -> Self {
        Self::Runtime(Handle::current())
    }

    /// The `LocalSet` this is called in.
    #[expect(clippy::disallowed_methods, reason = "this is where tasks get their names")]
    pub fn local() -> Self {
        let (give, mut given) = mpsc::unbounded_channel::<Work>();
        tokio::task::spawn_local(async move {
            while let Some(work) = given.recv().await {
                drop(tokio::task::spawn_local(work));
            }
        });
        Self::Local(give)
    }

    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Abort {
        match self {
            Self::Runtime(runtime) => Abort::Runtime(runtime.spawn(work).abort_handle()),
            Self::Local(give) => {
                let (work, abort) = future::abortable(work);
                // A set that is gone runs nothing any more: the work is dropped, as its own was.
                let _ = give.send(Box::pin(async move {
                    let _ended_or_aborted = work.await;
                }));
                Abort::Local(abort)
            }
        }
    }
}
