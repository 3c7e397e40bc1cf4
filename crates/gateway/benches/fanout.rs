//! Fan-out through the whole gateway against a bare sender.

fn main() {}
