//! Packets that take their time: the kernel hands them over, and gets them back later.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How exact the delay is.
const TICK: Duration = Duration::from_millis(1);
const QUEUE_LEN_MAX: u32 = 65_536;

/// Runs until dropped; packets that are held then are lost with the queue.
pub struct Delay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Delay {
    /// Holds back what a rule of the namespace sends to `queue`.
    pub(super) fn start(netns: &str, queue: u16, hold: Duration) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (path, over) = (format!("/run/netns/{netns}"), stop.clone());
        let thread = std::thread::spawn(move || {
            let opened = open(&path, queue);
            let (said, queue) = match opened {
                Ok(queue) => (Ok(()), Some(queue)),
                Err(error) => (Err(format!("queue of {path}: {error}")), None),
            };
            // The one who waits for it may be gone already.
            drop(ready.send(said));
            if let Some(queue) = queue {
                hold_back(queue, hold, &over);
            }
        });
        started.recv().map_err(|_| "the queue's thread is gone".to_owned())??;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Only this thread moves: a namespace is a thread's own.
fn open(netns: &str, number: u16) -> io::Result<nfq::Queue> {
    let netns = File::open(netns)?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
    let mut queue = nfq::Queue::open()?;
    queue.bind(number)?;
    queue.set_queue_max_len(number, QUEUE_LEN_MAX)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

fn hold_back(mut queue: nfq::Queue, hold: Duration, stop: &AtomicBool) {
    // The same time for all: they leave in the order in which they came.
    let mut held: VecDeque<(Instant, nfq::Message)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        while let Ok(packet) = queue.recv() {
            held.push_back((Instant::now() + hold, packet));
        }
        let now = Instant::now();
        while held.front().is_some_and(|(due, _)| *due <= now)
            && let Some((_, mut packet)) = held.pop_front()
        {
            packet.set_verdict(nfq::Verdict::Accept);
            // A packet that the kernel has given up is a lost one: TCP knows what to do.
            drop(queue.verdict(packet));
        }
        std::thread::sleep(TICK);
    }
}
