//! The page of a live query as a pure state machine.
