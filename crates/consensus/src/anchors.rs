//! Heads of other regions' chains, kept on this node: who rewrites a history cannot rewrite these.
//!
//! A file of its own beside the log, not replicated: each node that heard a head keeps it, and an
//! audit asks all of them. Of each group and epoch it holds the newest heads, and the fewer the
//! older they are: all that came before a head follows from it, but a history that was rewritten
//! shows only against a head from behind the first changed entry that was heard before the rewrite.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use hansa_types::id::GroupId;
use hansa_wal::fs::{self, Fs};
use parking_lot::Mutex;

use crate::audit::Mark;
use crate::host::Host;
use crate::raft::codec::{self, BadBytes};

const MAGIC: &[u8; 8] = b"HANSAANC";
/// The format that is written and read.
const FORMAT: u32 = 1;
const FILE: &str = "anchors";
/// Heads kept of one group in one epoch, from its beginning on.
const KEPT: usize = 64;
/// Groups and epochs of which heads are kept; the oldest epochs go first.
const GROUPS_MAX: usize = 4_096;
const NAME_MAX: usize = 64;
/// Between two heads of one group that are kept.
const EVERY: Duration = Duration::from_secs(10);

/// Whose heads they are: region, epoch, group.
type Origin = (String, u64, u32);

/// The anchors on this node.
pub(crate) struct Anchors {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// In the order of their indexes.
    heads: BTreeMap<Origin, Vec<Mark>>,
    /// When heads of a region and its group were last kept.
    noted: BTreeMap<Origin, Duration>,
}

impl Anchors {
    /// Reads what is kept below `dir`. A damaged file is set aside: it is evidence, and nothing
    /// that this node serves rests on it.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let heads = match fs::read_start(fs.as_ref(), &path, u64::MAX)?.map(|bytes| decode(&bytes))
        {
            None => BTreeMap::new(),
            Some(Ok(heads)) => in_order(heads),
            // Not damaged: another release wrote it, and is to read it again.
            Some(Err(error @ BadBytes::Format { .. })) => {
                return Err(io::Error::other(format!("{}: {error}", path.display())));
            }
            Some(Err(error)) => {
                tracing::error!(file = %path.display(), %error, "anchors damaged, set aside");
                fs.rename(&path, &dir.join("anchors.damaged"))?;
                fs.sync_dir(dir)?;
                BTreeMap::new()
            }
        };
        let kept = Mutex::new(Kept { heads, noted: BTreeMap::new() });
        Ok(Self { fs, dir: dir.to_owned(), kept })
    }

    /// Takes heads in; `true` when they are to be saved.
    fn note(&self, region: &str, epoch: u64, heads: &[(GroupId, Mark)], now: Duration) -> bool {
        if region.len() > NAME_MAX {
            return false;
        }
        let mut kept = self.kept.lock();
        let mut grown = false;
        for (group, mark) in heads {
            let origin = (region.to_owned(), epoch, group.number());
            let noted = kept.noted.get(&origin);
            if noted.is_some_and(|at| now.saturating_sub(*at) < EVERY) {
                continue;
            }
            let heads = kept.heads.entry(origin.clone()).or_default();
            if !heads.contains(mark) {
                // A head that goes back or sideways is kept too: it is what an audit looks for.
                heads.insert(heads.partition_point(|kept| kept.index <= mark.index), *mark);
                thin(heads);
                grown = true;
            }
            kept.noted.insert(origin, now);
        }
        while kept.heads.len() > GROUPS_MAX {
            let oldest = kept.heads.keys().min_by_key(|(_, epoch, _)| *epoch).cloned();
            oldest.map(|origin| kept.heads.remove(&origin));
        }
        grown
    }

    fn save(&self) -> io::Result<()> {
        let bytes = encode(&self.kept.lock().heads);
        fs::replace(self.fs.as_ref(), &self.dir, FILE, &bytes)
    }

    fn of(&self, region: &str) -> Vec<(u32, u64, Mark)> {
        let kept = self.kept.lock();
        let of_region = kept.heads.iter().filter(|((name, ..), _)| name == region);
        let marks = of_region.flat_map(|((_, epoch, group), heads)| {
            heads.iter().map(move |mark| (*group, *epoch, *mark))
        });
        marks.collect()
    }
}

/// A former program wrote them as they came.
fn in_order(mut heads: BTreeMap<Origin, Vec<Mark>>) -> BTreeMap<Origin, Vec<Mark>> {
    for marks in heads.values_mut() {
        marks.sort_by_key(|mark| mark.index);
        marks.dedup();
    }
    heads
}

/// Takes one away where there are too many: the one between neighbours that are nearest to each
/// other for their age, as counted in entries. So of `n` entries some `KEPT / log2(n)` heads are
/// left for each doubling of their age, whoever waits how long before he looks; not the oldest or
/// the newest, nor one of two that say different things of one entry, while there is another.
fn thin(heads: &mut Vec<Mark>) {
    let (Some(newest), true) = (heads.last().map(|mark| mark.index), heads.len() > KEPT) else {
        return;
    };
    let gap = |at: &usize| {
        let (before, of, after) = (heads[at - 1].index, heads[*at].index, heads[at + 1].index);
        (before != of && of != after).then(|| (after - before, newest - before))
    };
    let inner = (1..heads.len() - 1).filter_map(|at| Some((at, gap(&at)?)));
    let nearest = inner.min_by(|(_, (gap, age)), (_, (other, its_age))| {
        let scaled = |gap: u64, age: u64| u128::from(gap) * u128::from(age);
        scaled(*gap, *its_age).cmp(&scaled(*other, *age))
    });
    heads.remove(nearest.map_or(0, |(at, _)| at));
}

impl Host {
    /// The heads of this node's groups, for other regions to keep.
    pub fn heads(&self) -> Vec<(GroupId, Mark)> {
        let statuses = self.statuses().into_iter().filter(|status| status.stopped.is_none());
        let heads = statuses
            .map(|status| (status.group, Mark { index: status.applied, head: status.chain_head }));
        heads.filter(|(_, mark)| mark.head != [0; 32]).collect()
    }

    /// Keeps heads of another region, one of each group every few seconds.
    pub async fn keep_anchors(&self, region: &str, epoch: u64, heads: &[(GroupId, Mark)]) {
        let (anchors, env) = (self.anchors().clone(), self.env());
        if !anchors.note(region, epoch, heads, env.clock.monotonic()) {
            return;
        }
        let saved = self.writer().run(move || anchors.save()).await.and_then(|saved| saved);
        if let Err(error) = saved {
            // A copy beside the books: the next one is written anew, nothing acknowledged rests
            // on this one.
            tracing::error!(%error, "anchors not saved");
        }
    }

    /// The heads that this node keeps of `region`: group, epoch and head.
    pub fn kept_anchors(&self, region: &str) -> Vec<(u32, u64, Mark)> {
        self.anchors().of(region)
    }
}

/// The regions of whose chains heads are kept in these bytes.
pub(crate) fn regions_in(bytes: &[u8]) -> Result<Vec<String>, BadBytes> {
    let heads = decode(bytes)?;
    match encode(&heads) == bytes {
        true => Ok(heads.into_keys().map(|(region, ..)| region).collect()),
        false => Err(BadBytes::Unknown("order")),
    }
}

fn encode(heads: &BTreeMap<Origin, Vec<Mark>>) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT);
    for ((region, epoch, group), marks) in heads {
        out.put_u8(region.len() as u8);
        out.put_slice(region.as_bytes());
        out.put_u64_le(*epoch);
        out.put_u32_le(*group);
        out.put_u8(marks.len() as u8);
        for mark in marks {
            out.put_u64_le(mark.index);
            out.put_slice(&mark.head);
        }
    }
    let sum = crc32c::crc32c(&out);
    out.put_u32_le(sum);
    out
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<Origin, Vec<Mark>>, BadBytes> {
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or(BadBytes::Short)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*sum) {
        return Err(BadBytes::Unknown("checksum"));
    }
    let mut from = covered.strip_prefix(MAGIC).ok_or(BadBytes::Unknown("magic"))?;
    let format = codec::u32_of(&mut from)?;
    if format != FORMAT {
        return Err(BadBytes::Format { found: format, reads: FORMAT });
    }
    let mut heads = BTreeMap::new();
    while !from.is_empty() {
        let length = usize::from(codec::u8_of(&mut from)?);
        let (name, rest) = from.split_at_checked(length).ok_or(BadBytes::Short)?;
        from = rest;
        let name = std::str::from_utf8(name).map_err(|_| BadBytes::Unknown("region"))?.to_owned();
        let (epoch, group) = (codec::u64_of(&mut from)?, codec::u32_of(&mut from)?);
        let mut marks = Vec::new();
        for _ in 0..codec::u8_of(&mut from)? {
            let index = codec::u64_of(&mut from)?;
            marks.push(Mark { index, head: codec::array_of(&mut from)? });
        }
        heads.insert((name, epoch, group), marks);
    }
    Ok(heads)
}

#[cfg(test)]
mod tests {
    use hansa_types::id::GroupKind;
    use hansa_wal::fs::SimFs;

    use super::*;

    fn head(index: u64) -> (GroupId, Mark) {
        (GroupId::new(GroupKind::Orders, 1), Mark { index, head: [index as u8; 32] })
    }

    fn open(disk: &SimFs) -> Anchors {
        Anchors::open(Arc::new(disk.clone()), Path::new("/data")).unwrap()
    }

    fn disk() -> SimFs {
        let disk = SimFs::new(1);
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk
    }

    #[test]
    fn anchors_survive_a_power_cut_and_the_newest_is_kept() {
        let disk = disk();
        let anchors = open(&disk);
        for n in 0..100 {
            let now = Duration::from_secs(10 * n);
            assert!(anchors.note("us-east", 1, &[head(n)], now));
            assert!(!anchors.note("us-east", 1, &[head(n + 1)], now), "too soon");
            anchors.save().unwrap();
        }
        disk.crash();
        let again = open(&disk).of("us-east");
        assert_eq!(again.len(), KEPT);
        assert_eq!(again.last().map(|(_, epoch, mark)| (*epoch, mark.index)), Some((1, 99)));
        assert_eq!(open(&disk).of("eu-west"), []);
    }

    /// Who changes what is old, on all disks of a region, has to change it behind every head that
    /// was heard since; and goes on as if nothing were.
    #[test]
    fn a_rewrite_shows_long_after_it() {
        let mark = |index| Mark { index, head: [0; 32] };
        let mut heads = Vec::new();
        for now in 1..100_000_u64 {
            heads.push(mark(17 * now));
            thin(&mut heads);
        }
        assert_eq!((heads.len(), heads[0]), (KEPT, mark(17)));
        let newest = heads[KEPT - 1].index;
        // From any age to the half of it a head is left: what was changed then, and reached back
        // as far again, shows.
        let mut age = 17 * 16;
        while age < newest {
            let left = heads.iter().any(|kept| (age / 2..age).contains(&(newest - kept.index)));
            assert!(left, "none is {age} entries old: {heads:?}");
            age += age / 7;
        }
    }

    #[test]
    fn heads_that_contradict_each_other_stay() {
        let mark = |index, head| Mark { index, head: [head; 32] };
        let disk = disk();
        let anchors = open(&disk);
        let group = head(0).0;
        let tell =
            |n: u64, mark| _ = anchors.note("us-east", 1, &[(group, mark)], EVERY * n as u32);
        let kept = || anchors.of("us-east").into_iter().map(|(.., mark)| mark).collect::<Vec<_>>();
        (0..700).for_each(|n| tell(n, mark(n, 1)));
        let back = kept()[KEPT / 2].index;
        tell(700, mark(back, 2));
        (701..2_000).for_each(|n| tell(n, mark(n, 1)));
        let kept = kept();
        assert_eq!((kept.len(), kept.is_sorted_by_key(|mark| mark.index)), (KEPT, true));
        assert!(kept.contains(&mark(back, 1)) && kept.contains(&mark(back, 2)), "{kept:?}");
    }

    #[test]
    fn a_flipped_bit_sets_the_file_aside() {
        let disk = disk();
        let anchors = open(&disk);
        anchors.note("us-east", 1, &[head(7)], Duration::ZERO);
        anchors.save().unwrap();
        let path = Path::new("/data").join(FILE);
        for at in 0..disk.bytes(&path).unwrap().len() as u64 {
            let fork = disk.fork(at);
            fork.flip(&path, at, 1).unwrap();
            assert_eq!(open(&fork).of("us-east"), [], "byte {at}");
        }
    }
}
