//! The codes the program ends with. They are stable: scripts and service managers act on them.

use std::fmt;
use std::process::ExitCode;

/// How the program ends. A bad command line (2) is clap's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A part failed while running.
    Failed = 1,
    /// The configuration is wrong.
    Config = 64,
    /// The database file is no database, or not one that can be used.
    BadData = 65,
    /// There is no such table.
    NoSuchTable = 66,
    /// The address is taken, or a neighbour cannot be reached.
    Unavailable = 69,
    /// A file or folder cannot be made or written.
    CannotCreate = 73,
    /// The gateway does not allow it.
    Refused = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends early: the code, and one sentence for a person.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) sentence: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { exit, sentence }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}
