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
    /// An engine of the cluster is there and refuses: it is not set up for this.
    Rejected = 78,
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

/// An error with all that caused it, as one sentence.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors repeat their cause in their own text.
        let text = error.to_string();
        if !sentence.contains(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        cause = error.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    //! Shows that a sentence holds every cause, and none twice.

    use super::causes;

    #[test]
    fn causes_are_said_once() {
        let inner = std::io::Error::other("the disk is gone");
        let outer = tidegate_ports::PortError::unavailable("the bus", inner);
        assert_eq!(causes(&outer), "the bus is unavailable: the disk is gone");
        let plain = std::io::Error::other("the disk is gone");
        assert_eq!(causes(&plain), "the disk is gone");
    }
}
