//! The command line. Every configuration key is a flag of `serve` and `config`, made from the
//! table.

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};

use crate::commands::doctor::DoctorArgs;
use crate::commands::mock_worker::MockWorkerArgs;
use crate::commands::produce::ProduceArgs;
use crate::commands::rpc::RpcArgs;
use crate::commands::tap::TapArgs;
use crate::commands::watch::WatchArgs;
use crate::config::{Allowed, Flags, Key};

/// Live pages of SQL data over WebSockets.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the server: everything in one process over a SQLite file, or some parts of a cluster
    Serve(SettingFlags),
    /// Prints the effective configuration and where each value comes from
    Config(SettingFlags),
    /// Asks bus, cache and database whether they can be used
    Doctor(DoctorArgs),
    /// Shows a page of a table and keeps it up to date
    Watch(WatchArgs),
    /// Calls a SQL procedure and prints what it gave
    Rpc(RpcArgs),
    /// Prints what passes on topics of Kafka, read
    Tap(TapArgs),
    /// Answers SQL calls over Kafka with rows that were said, without a database
    MockWorker(MockWorkerArgs),
    /// Sends one message to a topic of Kafka
    Produce(ProduceArgs),
}

/// The flags of all configuration keys, as text; what they mean is read with the other layers.
#[derive(Debug)]
pub(crate) struct SettingFlags(pub(crate) Flags);

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(Key::ALL.iter().copied().map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn argument(key: Key) -> Arg {
    let definition = key.definition();
    let mut help = format!("{} [{}]", definition.about, definition.allowed);
    if !definition.default.is_empty() {
        help.push_str(&format!(" (default {})", definition.default));
    }
    let argument = Arg::new(definition.name)
        .long(key.flag())
        .value_name("VALUE")
        .action(ArgAction::Set)
        .help(help);
    match definition.allowed {
        // `--demo` alone says yes.
        Allowed::YesNo => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Allowed::Address
        | Allowed::OptionalAddress
        | Allowed::Path
        | Allowed::OptionalPath
        | Allowed::OneOf(_)
        | Allowed::Whole { .. }
        | Allowed::Cores { .. }
        | Allowed::Bytes { .. }
        | Allowed::Text(_) => argument,
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |&key: &Key| {
            let value = matches.get_one::<String>(key.name())?;
            Some((key, value.clone()))
        };
        Ok(Self(Key::ALL.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Shows that the flags made from the table are a command line that clap accepts and reads.

    use clap::{CommandFactory, Parser};

    use super::{Command, CommandLine};
    use crate::config::Key;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn flags_are_read_by_key() {
        let line = [
            "tidegate",
            "serve",
            "--demo",
            "--jwt-key-file",
            "k",
            "--shards=2",
        ];
        let CommandLine { command } = CommandLine::try_parse_from(line).expect("valid");
        let Command::Serve(flags) = command else {
            panic!("serve was asked for");
        };
        let read: Vec<_> = flags
            .0
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let expect = [
            (Key::JwtKeyFile, "k"),
            (Key::Shards, "2"),
            (Key::Demo, "true"),
        ];
        assert_eq!(read, expect);
    }
}
