//! What the adapter promises, on real files, with other programs writing to them.

mod harness;

mod capture;
mod commands;
