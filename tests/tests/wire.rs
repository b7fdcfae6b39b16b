//! A league in this process, called over mTLS like any other.

mod wire {
    mod foreign;
    mod identity;
    mod race;
    mod refusals;
    mod residency;
    mod stream;
    mod tap;
    mod watchers;
}
