//! A seed as a value: the shape of a league, and what breaks when.

mod draw;

pub use self::draw::EACH;

use std::fmt;
use std::time::Duration;

use hansa_types::seeded::Bug;

use crate::clock::PAR;
pub use crate::provider::Mood;

/// A pause from here on outlasts every timeout of a node.
const LONG: Duration = Duration::from_secs(15);

/// Everything that a run does that is not an answer of the league.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    /// How long things break, from when all nodes were ready.
    pub storm: Duration,
    pub acts: Vec<Act>,
    /// A mistake made on purpose: the run must fail.
    pub bug: Option<Bug>,
}

/// The league and its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Regions of three nodes.
    pub regions: usize,
    pub groups: [u16; 3],
    /// Whose orders groups keep their stock and money books, by region.
    pub joint: [bool; 3],
    /// Entries of a group between its checkpoints.
    pub checkpoint_entries: u64,
    pub quick: bool,
    pub tick: Duration,
    /// Between nodes of one region.
    pub latency_max: Duration,
    /// Between regions.
    pub far: Duration,
    /// A sync takes this long on a healthy disk: what is under way when the power goes is unsynced.
    pub sync: Duration,
    /// Wall clocks are wrong by up to this from the beginning, either way.
    pub skew_ms: u64,
    pub workers: usize,
    pub skus: usize,
    pub pause: Duration,
    /// The first region has a fourth machine, whose node joins when the operator wants it.
    pub spare: bool,
    /// The second region may own what is born in the first: its births change hands.
    pub heir: bool,
}

/// One fault at its time, counted from the storm's beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    pub at: Duration,
    pub fault: Fault,
}

/// Which node a fault is for; who leads is looked up when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Node { region: usize, node: usize },
    Leader { region: usize, group: usize },
    Follower { region: usize, group: usize, nth: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp {
    Write,
    Sync,
    Read,
}

/// What an operator does to the members of all groups of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The spare joins every group.
    Add,
    /// The spare is held back as a learner, and promoted later.
    AddHeld,
    /// This node leaves every group, once the spare is in them.
    Remove { node: usize },
    /// The spare takes this node's places.
    Replace { node: usize },
    /// The same by force, and for good reason: this node's machine has just been lost.
    ReplaceLost { node: usize },
}

/// What an operator does to a region beside its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// This node hands its leaderships over and stops.
    Drain { node: usize },
    /// Its groups are raised to the second version of behaviour.
    Raise,
    /// Its key is replaced, and every data key wrapped anew.
    Rotate,
    /// A policy is loaded, which every region gets to hear sooner or later.
    Law { version: u64 },
}

/// What an operator does with what was born in the first region; each until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Births {
    /// The region takes writes only with a lease this long.
    Lease { ms: u64 },
    /// The heir gets them, planned; not recorded by `patience`, it is given up.
    HandOver { patience: Option<Duration> },
    /// The heir takes them over by force.
    TakeOver,
    /// Home again, once it is decided what becomes of the unshipped tail.
    GoHome,
}

/// What is done for a customer of the first region: one of the many of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// He is forgotten.
    Erase { client: usize, customer: u64 },
    /// He lives in the heir from now on; and `back` again.
    Move { client: usize, customer: u64, back: bool },
}

impl Errand {
    /// Whether it is done however late: regions that stay at different laws do not converge.
    #[must_use]
    pub fn is_owed(self) -> bool {
        matches!(self, Self::Law { .. })
    }
}

/// How a region is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Every machine of it loses power.
    Power,
    /// It reaches no other region; its clients reach it.
    CutOff,
}

/// A file of one kind on a node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Log,
    Checkpoint,
    Archive,
    /// All of it: the volume comes back empty.
    Volume,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The process dies; its disk keeps everything.
    Kill {
        who: Who,
        down: Duration,
    },
    /// The machine loses power after `ops` more changes to its disk.
    PowerCut {
        who: Who,
        ops: u64,
        down: Duration,
    },
    /// Every machine of a region loses power at once.
    Blackout {
        region: usize,
        ops: u64,
        down: Duration,
    },
    /// Stops as an operator stops it, and comes back.
    Restart {
        who: Who,
    },
    /// Operations of one kind fail from the n-th on.
    DiskError {
        who: Who,
        op: DiskOp,
        after: u64,
        times: u64,
        span: Duration,
    },
    /// The disk takes no more bytes than it has and a few.
    Full {
        who: Who,
        room: u64,
        span: Duration,
    },
    SlowSync {
        who: Who,
        each: Duration,
        span: Duration,
    },
    /// A bit of a file turns over while the machine is off; one node of the region at most.
    Flip {
        who: Who,
        kept: Kept,
        at: u64,
        down: Duration,
    },
    /// Cut off from all others, both ways.
    Isolate {
        who: Who,
        span: Duration,
    },
    /// Cut off from its peers and not from its clients: a leader that does not know it is none.
    Secede {
        who: Who,
        span: Duration,
    },
    /// Hears and is not heard, or the other way round.
    OneWay {
        who: Who,
        deaf: bool,
        span: Duration,
    },
    /// The two others cannot talk, each to this one only.
    Bridge {
        who: Who,
        span: Duration,
    },
    /// Cut off and back, again and again.
    Flap {
        who: Who,
        every: Duration,
        times: u32,
    },
    /// Everything to and from it is delivered late, all at once.
    Hold {
        who: Who,
        span: Duration,
    },
    /// A region cut off from all others.
    Split {
        region: usize,
        span: Duration,
    },
    /// A node's gateway out of its clients' reach.
    ClientsCut {
        who: Who,
        span: Duration,
    },
    Jump {
        who: Who,
        by_ms: i64,
        span: Duration,
    },
    /// The process stands still, as by SIGSTOP; its machine does not.
    Pause {
        who: Who,
        span: Duration,
    },
    /// The payment provider of a region is in a mood.
    Provider {
        region: usize,
        mood: Mood,
        span: Duration,
    },
    /// Of the first region.
    Members {
        change: Change,
    },
    Errand {
        region: usize,
        errand: Errand,
    },
    Births {
        step: Births,
    },
    Customer {
        wish: Wish,
    },
    /// The first region is lost until its heir has taken over, and for `after` more.
    Lose {
        how: Lost,
        after: Duration,
    },
    /// # Units
    /// Per mille of true time.
    Drift {
        who: Who,
        monotonic: u32,
        wall: u32,
        span: Duration,
    },
}

impl Fault {
    /// Whether it is a wish of a customer's, and nothing breaks.
    #[must_use]
    pub fn is_of_a_customer(&self) -> bool {
        matches!(self, Self::Customer { .. })
    }

    /// Its class, as the coverage counts it.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "fault kill",
            Self::PowerCut { .. } => "fault power cut",
            Self::Blackout { .. } => "fault blackout",
            Self::Restart { .. } => "fault graceful restart",
            Self::DiskError { op: DiskOp::Write, .. } => "fault write error",
            Self::DiskError { op: DiskOp::Sync, .. } => "fault sync error",
            Self::DiskError { op: DiskOp::Read, .. } => "fault read error",
            Self::Full { .. } => "fault full disk",
            Self::SlowSync { .. } => "fault slow sync",
            Self::Flip { kept: Kept::Volume, .. } => "fault wiped volume",
            Self::Flip { .. } => "fault flipped bit",
            Self::Isolate { .. } => "fault isolate",
            Self::Secede { .. } => "fault cut off with its clients",
            Self::OneWay { .. } => "fault one-way cut",
            Self::Bridge { .. } => "fault bridge",
            Self::Flap { .. } => "fault flapping",
            Self::Hold { .. } => "fault hold",
            Self::Split { .. } => "fault regions split",
            Self::ClientsCut { .. } => "fault clients cut",
            Self::Jump { .. } => "fault clock jump",
            Self::Drift { .. } => "fault clock drift",
            Self::Pause { span, .. } if *span >= LONG => "fault long pause",
            Self::Pause { .. } => "fault pause",
            Self::Provider { mood: Mood::Slow(_), .. } => "fault provider slow",
            Self::Provider { mood: Mood::Mute, .. } => "fault provider mute",
            Self::Provider { .. } => "fault provider away",
            Self::Members { change: Change::ReplaceLost { .. } } => "fault lost machine",
            Self::Members { .. } => "fault membership change",
            Self::Errand { errand: Errand::Drain { .. }, .. } => "fault drain",
            Self::Errand { errand: Errand::Raise, .. } => "fault version raise",
            Self::Errand { errand: Errand::Rotate, .. } => "fault key rotation",
            Self::Errand { errand: Errand::Law { .. }, .. } => "fault policy load",
            Self::Customer { wish: Wish::Erase { .. } } => "fault customer to be erased",
            Self::Customer { wish: Wish::Move { .. } } => "fault customer to be moved",
            Self::Births { step: Births::Lease { .. } } => "fault leases",
            Self::Births { step: Births::HandOver { .. } } => "fault hand-over of births",
            Self::Births { step: Births::TakeOver } => "fault take-over of births",
            Self::Births { step: Births::GoHome } => "fault births sent home",
            Self::Lose { how: Lost::Power, .. } => "fault region lost",
            Self::Lose { how: Lost::CutOff, .. } => "fault region cut off until taken over",
        }
    }
}

impl Plan {
    /// Whether births are taken over by force.
    #[must_use]
    pub fn forced(&self) -> bool {
        let forced = |act: &Act| act.fault == Fault::Births { step: Births::TakeOver };
        self.acts.iter().any(forced)
    }

    /// Whether births that went elsewhere come home.
    #[must_use]
    pub fn brings_home(&self) -> bool {
        let home = |act: &Act| act.fault == Fault::Births { step: Births::GoHome };
        self.acts.iter().any(home)
    }

    /// The fastest that any monotonic clock runs.
    ///
    /// # Units
    /// Per mille of true time.
    #[must_use]
    pub fn fastest(&self) -> u32 {
        let rates = self.acts.iter().filter_map(|act| match act.fault {
            Fault::Drift { monotonic, .. } => Some(monotonic),
            _ => None,
        });
        rates.fold(PAR, u32::max)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?}", self.seed, self.shape)?;
        if let Some(bug) = self.bug {
            writeln!(f, "  mistake on purpose: {}", bug.name())?;
        }
        for act in &self.acts {
            writeln!(f, "  {:>7.3} {:?}", act.at.as_secs_f64(), act.fault)?;
        }
        write!(f, "  {:>7.3} heals", self.storm.as_secs_f64())
    }
}
