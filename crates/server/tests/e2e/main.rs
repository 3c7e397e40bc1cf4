//! The whole program, as its users start it.

mod configuration;
mod demo;
mod harness;
mod life;
