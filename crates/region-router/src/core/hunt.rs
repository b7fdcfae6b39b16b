//! The search for a group's leader: which node to try next, and how long to wait before.

use std::collections::BTreeSet;
use std::time::Duration;

use hansa_types::id::NodeId;

/// Tries at most; with the pauses between them about eight seconds, several elections' worth.
const TRIES_MAX: u32 = 44;
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Pauses without a majority's answer until this node takes itself for the one that is cut off: its
/// client is better off at another gateway.
const LONELY_MAX: Duration = Duration::from_secs(1);

/// Why a try provably did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Miss {
    /// The node does not lead; it says who does, if it knows.
    NotLeader(Option<NodeId>),
    /// The call never left.
    Unreachable,
}

/// One call's search.
#[derive(Clone, Debug)]
pub struct Hunt<'a> {
    members: &'a [NodeId],
    at: usize,
    tries: u32,
    /// Tries since the last pause: after one round of the members, wait for something to change.
    straight: usize,
    pause: Duration,
    /// Members that answered since the last whole round, and tries since then.
    answered: BTreeSet<NodeId>,
    asked: usize,
    /// Members that could not be reached since the last pause.
    away: BTreeSet<NodeId>,
    /// Pauses since a majority answered in one round.
    lonely: Duration,
}

impl<'a> Hunt<'a> {
    /// Starts at the node that led last, or anywhere; `None` for a group without members.
    pub fn start(members: &'a [NodeId], led_last: Option<NodeId>) -> Option<Self> {
        let at = members.iter().position(|node| Some(*node) == led_last).unwrap_or(0);
        let fresh = Self {
            members,
            at,
            tries: 1,
            straight: 1,
            pause: PAUSE_FIRST,
            answered: BTreeSet::new(),
            asked: 0,
            away: BTreeSet::new(),
            lonely: Duration::ZERO,
        };
        (!members.is_empty()).then_some(fresh)
    }

    /// The node to try now.
    pub fn node(&self) -> NodeId {
        self.members[self.at]
    }

    /// Somebody else has found the leader meanwhile.
    pub fn found(&mut self, leader: NodeId) {
        if let Some(at) = self.members.iter().position(|node| *node == leader) {
            self.at = at;
        }
    }

    /// Moves on to the next node; how long to wait before it, `None` to give up.
    pub fn missed(&mut self, miss: Miss) -> Option<Duration> {
        self.note(miss);
        if self.tries >= TRIES_MAX || self.lonely >= LONELY_MAX {
            return None;
        }
        self.tries += 1;
        let hint = match miss {
            Miss::NotLeader(hint) => hint,
            Miss::Unreachable => None,
        };
        // A hint outside the members comes from another membership: it is no use here. Nor is one
        // at a node that is gone: its followers name it until they elect another.
        let hint_here = hint.filter(|hint| !self.away.contains(hint));
        let hinted = hint_here.and_then(|hint| self.members.iter().position(|node| *node == hint));
        let next = (self.at + 1) % self.members.len();
        let led = hinted.filter(|&at| at != self.at);
        self.at = led.unwrap_or(next);
        let nobody_knows = miss == Miss::NotLeader(None) || (hint.is_some() && led.is_none());
        if nobody_knows || self.straight >= self.members.len() {
            self.straight = 1;
            self.away.clear();
            let pause = self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.lonely += pause;
            return Some(pause);
        }
        self.straight += 1;
        Some(Duration::ZERO)
    }

    /// Counts who answers, round by round of the members.
    fn note(&mut self, miss: Miss) {
        match miss {
            Miss::Unreachable => self.away.insert(self.node()),
            Miss::NotLeader(_) => self.answered.insert(self.node()),
        };
        self.asked += 1;
        if self.asked < self.members.len() {
            return;
        }
        if self.answered.len() > self.members.len() / 2 {
            self.lonely = Duration::ZERO;
        }
        (self.asked, self.answered) = (0, BTreeSet::new());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THREE: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn hunt() -> Hunt<'static> {
        Hunt::start(&THREE, Some(NodeId(2))).unwrap()
    }

    #[test]
    fn it_starts_where_the_leader_was() {
        assert_eq!(hunt().node(), NodeId(2));
        assert_eq!(Hunt::start(&THREE, Some(NodeId(9))).unwrap().node(), NodeId(1));
        assert!(Hunt::start(&[], None).is_none());
    }

    #[test]
    fn a_hint_is_followed_at_once() {
        let mut hunt = hunt();
        assert_eq!(hunt.missed(Miss::NotLeader(Some(NodeId(1)))), Some(Duration::ZERO));
        assert_eq!(hunt.node(), NodeId(1));
    }

    #[test]
    fn two_nodes_that_point_at_each_other_do_not_spin() {
        let mut hunt = hunt();
        let mut waited = Duration::ZERO;
        let mut tries = 0;
        while let Some(pause) = hunt.missed(Miss::NotLeader(Some(NodeId(3 - hunt.node().0.min(2)))))
        {
            waited += pause;
            tries += 1;
        }
        assert!(tries < TRIES_MAX && waited > Duration::from_secs(2), "{tries} tries, {waited:?}");
    }

    #[test]
    fn an_unreachable_node_is_passed_over() {
        let mut hunt = hunt();
        assert_eq!(hunt.missed(Miss::Unreachable), Some(Duration::ZERO));
        assert_eq!(hunt.missed(Miss::Unreachable), Some(Duration::ZERO));
        assert_eq!(hunt.node(), NodeId(1));
        assert_eq!(hunt.missed(Miss::Unreachable), Some(PAUSE_FIRST), "a round without anybody");
    }

    #[test]
    fn a_node_that_is_cut_off_says_so_soon() {
        let mut hunt = hunt();
        let mut waited = Duration::ZERO;
        let answer = |node| match node {
            NodeId(1) => Miss::NotLeader(None),
            _ => Miss::Unreachable,
        };
        while let Some(pause) = hunt.missed(answer(hunt.node())) {
            waited += pause;
        }
        let bounds = Duration::from_millis(700)..Duration::from_millis(2_500);
        assert!(bounds.contains(&waited), "{waited:?}");
    }

    #[test]
    fn with_one_member_away_an_election_is_waited_for() {
        let mut hunt = hunt();
        let mut waited = Duration::ZERO;
        let answer = |node| match node {
            NodeId(2) => Miss::Unreachable,
            _ => Miss::NotLeader(None),
        };
        while let Some(pause) = hunt.missed(answer(hunt.node())) {
            waited += pause;
        }
        assert!(waited > Duration::from_secs(4), "{waited:?}");
    }

    /// Found by the suite of faults: it went to and fro between the dead leader and one of its
    /// followers, never asked the other, and took this node for one that is cut off.
    #[test]
    fn a_dead_leader_that_its_followers_still_name_is_outwaited() {
        let mut hunt = hunt();
        let (mut waited, mut asked) = (Duration::ZERO, BTreeSet::new());
        let answer = |node| match node {
            NodeId(2) => Miss::Unreachable,
            _ => Miss::NotLeader(Some(NodeId(2))),
        };
        while let Some(pause) = hunt.missed(answer(hunt.node())) {
            waited += pause;
            asked.insert(hunt.node());
        }
        // Longer than an election takes.
        assert!(waited > Duration::from_secs(2), "{waited:?}");
        assert_eq!(asked.len(), THREE.len());
    }

    #[test]
    fn what_others_found_is_tried_next() {
        let mut hunt = hunt();
        hunt.missed(Miss::NotLeader(None));
        hunt.found(NodeId(1));
        assert_eq!(hunt.node(), NodeId(1));
        hunt.found(NodeId(9));
        assert_eq!(hunt.node(), NodeId(1), "a stranger is nobody");
    }

    #[test]
    fn an_election_is_waited_for() {
        let mut hunt = hunt();
        assert_eq!(hunt.missed(Miss::NotLeader(None)), Some(PAUSE_FIRST));
        assert_eq!(hunt.missed(Miss::NotLeader(None)), Some(PAUSE_FIRST * 2));
        let stale = Miss::NotLeader(Some(NodeId(9)));
        assert_eq!(hunt.missed(stale), Some(PAUSE_FIRST * 4), "a stranger is nobody");
    }

    proptest! {
        #[test]
        fn every_search_ends(misses in proptest::collection::vec(0u64..6, 64)) {
            let mut hunt = hunt();
            let mut tries = 0;
            for miss in misses {
                let miss = match miss {
                    0 => Miss::Unreachable,
                    1 => Miss::NotLeader(None),
                    n => Miss::NotLeader(Some(NodeId(n - 1))),
                };
                if hunt.missed(miss).is_none() {
                    break;
                }
                tries += 1;
                prop_assert!(THREE.contains(&hunt.node()));
            }
            // Sooner only for one that a majority does not answer.
            prop_assert!(tries == TRIES_MAX - 1 || hunt.lonely >= LONELY_MAX);
        }
    }
}
