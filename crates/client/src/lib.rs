//! A Rust client: connect, subscribe, apply, resume.
