//! The program in processes of its own, all of them over the same engines.

use crate::engines::unique;
use crate::harness::{Folder, Served};

/// What every process is told.
pub(crate) struct Program {
    arguments: Vec<String>,
}

impl Program {
    /// Over these engines, where it keeps apart from other tests.
    pub(crate) fn over(kafka: &str, redis: &str, database: &str) -> Self {
        let name = unique("split");
        let said = [
            ("bus", format!("kafka://{kafka}")),
            ("cache", redis.to_owned()),
            ("database", database.to_owned()),
            ("kafka-topic-prefix", format!("{name}.")),
            ("redis-key-prefix", format!("{name}:")),
            ("rpc-request-topic", format!("{name}.calls")),
            ("partitions", "4".to_owned()),
            ("admin", "127.0.0.1:0".to_owned()),
        ];
        Self {
            arguments: said.map(|(key, value)| format!("--{key}={value}")).to_vec(),
        }
    }

    /// Told this as well.
    pub(crate) fn with(mut self, arguments: &[String]) -> Self {
        self.arguments.extend_from_slice(arguments);
        self
    }

    /// A process with these roles, once it is ready.
    pub(crate) fn start(&self, roles: &str) -> Served {
        self.start_with(roles, &[])
    }

    /// Another command of the program, with the same settings.
    pub(crate) fn run(&self, command: &[&str]) -> std::process::Output {
        let settings = self.arguments.iter().map(String::as_str);
        let arguments: Vec<&str> = command.iter().copied().chain(settings).collect();
        crate::harness::run(Folder::new().path(), &arguments)
    }

    /// The same, told something else than the others.
    pub(crate) fn start_with(&self, roles: &str, said: &[(&str, &str)]) -> Served {
        let is_other = |argument: &&String| {
            let is_about = |(key, _): &(&str, &str)| argument.starts_with(&format!("--{key}="));
            !said.iter().any(is_about)
        };
        let mut arguments: Vec<String> = self.arguments.iter().filter(is_other).cloned().collect();
        arguments.push(format!("--roles={roles}"));
        arguments.extend(said.iter().map(|(key, value)| format!("--{key}={value}")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Served::start_in(Folder::new(), &arguments)
    }
}
