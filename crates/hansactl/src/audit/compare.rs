//! Heads side by side: those of a group's replicas, and those that others keep.

use std::collections::BTreeMap;

/// What one replica's walk told.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Told {
    pub node: String,
    pub upto: u64,
    /// The chain's head after an entry.
    pub heads: BTreeMap<u64, Vec<u8>>,
    /// A hash over all archived records before a number.
    pub records: BTreeMap<u64, Vec<u8>>,
}

/// A head that another region keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub keeper: String,
    pub index: u64,
    pub head: Vec<u8>,
}

/// What of a comparison is worth saying.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub differences: Vec<String>,
    pub open: Vec<String>,
    /// Heads that were equal.
    pub equal: usize,
    pub anchors: usize,
}

/// Compares every pair of replicas wherever both told a head.
pub fn replicas(told: &[Told]) -> Compared {
    let mut compared = Compared::default();
    for (n, one) in told.iter().enumerate() {
        for other in &told[n + 1..] {
            let before = compared.equal;
            pair(&mut compared, "entry", (one, &one.heads), (other, &other.heads));
            if compared.equal == before && compared.differences.is_empty() {
                let (one, other) = (&one.node, &other.node);
                compared.open.push(format!("{one} and {other} told no head of one entry"));
            }
            pair(&mut compared, "record", (one, &one.records), (other, &other.records));
        }
    }
    compared
}

type Heads<'a> = (&'a Told, &'a BTreeMap<u64, Vec<u8>>);

fn pair(compared: &mut Compared, what: &str, one: Heads<'_>, other: Heads<'_>) {
    let both = one.1.iter().filter_map(|(at, head)| Some((at, head, other.1.get(at)?)));
    let mut differs = None;
    for (at, head, theirs) in both {
        if head == theirs {
            compared.equal += 1;
        } else {
            differs.get_or_insert(*at);
        }
    }
    if let Some(at) = differs {
        let (one, other) = (&one.0.node, &other.0.node);
        compared.differences.push(format!("{one} and {other} differ at {what} {at} or before"));
    }
}

/// Compares a replica with what other regions keep of its group. `all`: it tells the longest
/// history of all replicas, so what is kept beyond its end was cut off, not merely not heard yet.
pub fn anchors(told: &Told, anchors: &[Anchor], all: bool) -> Compared {
    let mut compared = Compared::default();
    for Anchor { keeper, index, head } in anchors {
        match told.heads.get(index) {
            Some(ours) if ours == head => compared.anchors += 1,
            Some(_) => {
                let node = &told.node;
                let what =
                    format!("{node} is not the history of which {keeper} keeps entry {index}");
                compared.differences.push(what);
            }
            None => {
                let (node, upto) = (&told.node, told.upto);
                let what = format!("{keeper} keeps entry {index}, {node} ends at {upto}");
                match all {
                    true => compared.differences.push(what),
                    false => compared.open.push(what),
                }
            }
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(node: &str, heads: &[(u64, u8)]) -> Told {
        let heads: BTreeMap<u64, Vec<u8>> = heads.iter().map(|(at, h)| (*at, vec![*h])).collect();
        let upto = heads.keys().next_back().copied().unwrap_or(0);
        Told { node: node.to_owned(), upto, heads, records: BTreeMap::new() }
    }

    #[test]
    fn replicas_are_compared_wherever_both_told_a_head() {
        let all = [told("a", &[(5, 1), (9, 2)]), told("b", &[(5, 1)]), told("c", &[(5, 7)])];
        let compared = replicas(&all);
        assert_eq!(compared.equal, 1);
        assert_eq!(compared.differences.len(), 2, "{:?}", compared.differences);
        let nothing = replicas(&[told("a", &[(5, 1)]), told("b", &[(6, 1)])]);
        assert_eq!((nothing.open.len(), nothing.differences.len()), (1, 0));
    }

    #[test]
    fn a_rewritten_history_fails_against_an_anchor_and_a_short_one_where_all_were_asked() {
        let anchor = |index, head| Anchor { keeper: "us-east".to_owned(), index, head: vec![head] };
        let ours = told("a", &[(5, 1), (9, 2)]);
        assert_eq!(anchors(&ours, &[anchor(5, 1)], false).anchors, 1);
        assert_eq!(anchors(&ours, &[anchor(9, 3)], false).differences.len(), 1);
        assert_eq!(anchors(&ours, &[anchor(12, 3)], false).open.len(), 1, "it may lag");
        assert_eq!(anchors(&ours, &[anchor(12, 3)], true).differences.len(), 1, "all were asked");
    }
}
