//! From a seed to its plan.

mod customers;
mod heirs;
mod more;

pub use self::customers::EACH;

use std::time::Duration;

use hansa_types::seeded::Bug;

use super::{Act, DiskOp, Fault, Kept, Plan, Shape, Who};
use crate::clock::PAR;
use crate::dice::Dice;

const SHAPE: u64 = 1;
const ACTS: u64 = 2;
/// Dice of their own: whether a region is joint moves nothing else of its plan.
const JOINT: u64 = 19;
/// Faults of one run, at most.
const ACTS_MAX: u64 = 14;
pub(super) const NODES: u64 = 3;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Plan {
    /// The plan of a seed: a pure function.
    #[must_use]
    pub fn draw(seed: u64, bug: Option<Bug>) -> Self {
        let shape = Shape::draw(&mut Dice::of(seed, SHAPE));
        let mut dice = Dice::of(seed, ACTS);
        let storm = ms(dice.within(8_000, 22_000));
        let mut draw = Draw { dice, regions: shape.regions as u64, flipped: false };
        let count = draw.dice.within(4, ACTS_MAX);
        let end = storm.as_millis() as u64;
        let acts: Vec<Act> = (0..count)
            .map(|_| Act { at: ms(draw.dice.within(200, end - 500)), fault: draw.fault() })
            .collect();
        let mut plan = Self { seed, shape, storm, acts, bug };
        more::add(&mut plan);
        heirs::add(&mut plan);
        customers::add(&mut plan);
        // A mistake made on purpose is looked for where it was found: but for those that only joint
        // regions can make, without them.
        if bug.is_none_or(Bug::is_near) {
            let mut dice = Dice::of(seed, JOINT);
            plan.shape.joint = [(); 3].map(|()| dice.one_in(2));
        }
        plan.acts.sort_by_key(|act| act.at);
        plan
    }
}

impl Shape {
    fn draw(dice: &mut Dice) -> Self {
        let regions = match dice.below(40) {
            0 => 3,
            1..5 => 2,
            _ => 1,
        };
        let groups = [1, if dice.one_in(4) { 2 } else { 1 }, 1];
        Self {
            regions,
            groups,
            joint: [false; 3],
            checkpoint_entries: dice.within(40, 200),
            quick: dice.one_in(3),
            tick: ms(dice.pick(&[2, 3, 5])),
            latency_max: ms(dice.pick(&[2, 5, 10, 30])),
            far: ms(dice.within(20, 80)),
            sync: ms(dice.pick(&[0, 1, 1, 4])),
            skew_ms: dice.pick(&[0, 50, 1_000, 4_000]),
            workers: dice.within(3, 5) as usize,
            skus: dice.within(3, 6) as usize,
            pause: ms(dice.pick(&[20, 50, 100])),
            spare: false,
            heir: false,
        }
    }
}

struct Draw {
    dice: Dice,
    regions: u64,
    /// A region has one damaged disk at most: the two others still are a majority.
    flipped: bool,
}

impl Draw {
    fn who(&mut self) -> Who {
        let region = self.dice.below(self.regions) as usize;
        let group = self.dice.below(4) as usize;
        match self.dice.below(10) {
            0..5 => Who::Leader { region, group },
            5..7 => Who::Follower { region, group, nth: self.dice.below(2) as usize },
            _ => Who::Node { region, node: self.dice.below(NODES) as usize },
        }
    }

    fn region(&mut self) -> usize {
        self.dice.below(self.regions) as usize
    }

    fn down(&mut self) -> Duration {
        ms(self.dice.pick(&[50, 300, 1_000, 3_000, 6_000]))
    }

    fn span(&mut self) -> Duration {
        ms(self.dice.pick(&[300, 1_000, 2_500, 5_000, 8_000]))
    }

    fn fault(&mut self) -> Fault {
        match self.dice.below(100) {
            0..14 => Fault::Kill { who: self.who(), down: self.down() },
            14..28 => {
                let ops = self.dice.pick(&[0, 0, 1, 2, 3, 7, 20]);
                Fault::PowerCut { who: self.who(), ops, down: self.down() }
            }
            28..33 => {
                let ops = self.dice.pick(&[0, 0, 1, 3, 9]);
                Fault::Blackout { region: self.region(), ops, down: self.down() }
            }
            33..38 => Fault::Restart { who: self.who() },
            38..56 => self.disk(),
            56..86 => self.network(),
            _ => self.time(),
        }
    }

    fn disk(&mut self) -> Fault {
        let who = self.who();
        match self.dice.below(18) {
            0..4 => self.disk_error(who, DiskOp::Write),
            4..8 => self.disk_error(who, DiskOp::Sync),
            8..11 => {
                let room = self.dice.pick(&[0, 64 << 10, 1 << 20, 3 << 20]);
                Fault::Full { who, room, span: self.span() }
            }
            11..14 if !self.flipped => {
                self.flipped = true;
                let kept = [Kept::Log, Kept::Log, Kept::Checkpoint, Kept::Archive, Kept::Volume];
                let kept = self.dice.pick(&kept);
                Fault::Flip { who, kept, at: self.dice.number(), down: self.down() }
            }
            _ => {
                let each = ms(self.dice.pick(&[5, 30, 150, 600, 2_000]));
                Fault::SlowSync { who, each, span: self.span() }
            }
        }
    }

    fn disk_error(&mut self, who: Who, op: DiskOp) -> Fault {
        let after = self.dice.pick(&[0, 1, 2, 5, 20]);
        let times = if self.dice.one_in(2) { 1 } else { u64::MAX };
        Fault::DiskError { who, op, after, times, span: self.span() }
    }

    fn network(&mut self) -> Fault {
        let (who, span) = (self.who(), self.span());
        match self.dice.below(30) {
            0..5 => Fault::Isolate { who, span },
            5..9 => Fault::Secede { who, span },
            9..15 => Fault::OneWay { who, deaf: self.dice.one_in(2), span },
            15..18 => Fault::Bridge { who, span },
            18..21 => {
                let every = ms(self.dice.pick(&[100, 400, 900]));
                Fault::Flap { who, every, times: self.dice.within(2, 6) as u32 }
            }
            21..25 => Fault::Hold { who, span },
            25..27 if self.regions > 1 => Fault::Split { region: self.region(), span },
            _ => Fault::ClientsCut { who, span },
        }
    }

    fn time(&mut self) -> Fault {
        let (who, span) = (self.who(), self.span());
        match self.dice.one_in(2) {
            true => {
                let by = self.dice.pick(&[500, 9_000, 60_000, 300_000]);
                let by_ms = if self.dice.one_in(2) { by } else { -by };
                Fault::Jump { who, by_ms, span }
            }
            false => {
                let [monotonic, wall] = [(); 2].map(|()| self.dice.within(500, 1_500) as u32);
                // What a wall clock does is the rule; a monotonic one that drifts is broken.
                let monotonic = if monotonic % 4 == 0 { monotonic } else { PAR };
                Fault::Drift {
                    who,
                    monotonic,
                    wall: if wall % 3 == 0 { 1_500 } else { wall },
                    span,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan() {
        for seed in 0..200 {
            let plan = Plan::draw(seed, None);
            assert_eq!(plan, Plan::draw(seed, None));
            assert!(plan.acts.iter().all(|act| act.at < plan.storm), "{plan}");
            let flips = plan.acts.iter().filter(|act| matches!(act.fault, Fault::Flip { .. }));
            assert!(flips.count() <= 1, "{plan}");
        }
        assert_ne!(Plan::draw(1, None), Plan::draw(2, None));
    }

    #[test]
    fn most_leagues_are_one_region_and_some_are_more() {
        let shapes = (0..1_000).map(|seed| Plan::draw(seed, None).shape);
        // An heir makes one region two, or three.
        let regions = shapes.map(|shape| if shape.heir { 1 } else { shape.regions });
        let counts = regions.fold([0; 4], |mut counts, regions| {
            counts[regions] += 1;
            counts
        });
        assert!(counts[1] > 800 && counts[2] > 50 && counts[3] > 5, "{counts:?}");
    }

    #[test]
    fn half_of_the_regions_keep_their_books_in_their_orders_group_whatever_else_they_are() {
        let shapes: Vec<Shape> = (0..1_000).map(|seed| Plan::draw(seed, None).shape).collect();
        let joint = shapes.iter().filter(|shape| shape.joint[0]).count();
        assert!((400..600).contains(&joint), "{joint}");
        for joint in [true, false] {
            let alike = |of: &&Shape| of.joint[0] == joint;
            assert!(shapes.iter().filter(alike).any(|of| of.groups[1] == 2), "{joint}");
            assert!(shapes.iter().filter(alike).any(|of| of.spare), "{joint}");
            let heir = |of: &Shape, of_heir: bool| of.heir && of.joint[1] == of_heir;
            for of_heir in [true, false] {
                assert!(shapes.iter().filter(alike).any(|of| heir(of, of_heir)), "{joint}");
            }
        }
    }
}
