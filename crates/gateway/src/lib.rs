//! Sessions, subscriptions and fan-out of diffs over WebSockets.
