//! The whole program, as its users start it.

mod configuration;
mod crash;
mod demo;
mod harness;
mod hostile;
mod life;
mod oracle;
