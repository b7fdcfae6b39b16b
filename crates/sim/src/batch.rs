//! Many seeds: several processes, one simulation each at a time, and what all of it came to.
