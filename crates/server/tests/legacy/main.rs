//! Our gateway in the old one's place: the same frames, topics and cache keys, without its defects.
//!
//! Gateway, keeper, recorder and the client of SQL workers are those of the program; broker and
//! cache are in memory, and an old worker is played by the test. That the same holds on real
//! engines is shown in `cluster`.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod defects;
mod hostile;
mod storm;
mod transcripts;
mod worker;
mod world;
