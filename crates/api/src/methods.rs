//! Every RPC there is, so that a policy or a server that forgets one can be found out.

/// One RPC of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// `/hansa.order.v1.OrderService/PlaceOrder`
    pub path: &'static str,
    pub package: &'static str,
    /// Either side streams.
    pub streaming: bool,
}

/// All of them, in order of path; generated from `proto/`.
pub static METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// Packages on the public port; all others are for nodes only.
pub const PUBLIC_PACKAGES: [&str; 6] = [
    "hansa.admin.v1",
    "hansa.customer.v1",
    "hansa.inventory.v1",
    "hansa.order.v1",
    "hansa.payment.v1",
    "hansa.region.v1",
];

/// Whether a method is a stream that goes on until its reader leaves, at his pace.
#[must_use]
pub fn is_watch(path: &str) -> bool {
    path == "/hansa.order.v1.OrderService/WatchOrder"
}

impl Method {
    /// Whether clients may see it at all; which of them may call it is the policy file's business.
    pub fn is_public(&self) -> bool {
        PUBLIC_PACKAGES.contains(&self.package)
    }

    /// The method at a request's path, `None` for one that is not ours.
    pub fn at(path: &str) -> Option<&'static Self> {
        let found = METHODS.binary_search_by(|method| method.path.cmp(path)).ok()?;
        METHODS.get(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_path() {
        let place = Method::at("/hansa.order.v1.OrderService/PlaceOrder").unwrap();
        assert!(place.is_public() && !place.streaming);
        let raft = Method::at("/hansa.raft.v1.RaftPeerService/Exchange").unwrap();
        assert!(!raft.is_public() && raft.streaming);
        assert_eq!(Method::at("/hansa.order.v1.OrderService/DropAll"), None);
        assert_eq!(METHODS.iter().filter(|method| method.is_public()).count(), 66);
    }
}
