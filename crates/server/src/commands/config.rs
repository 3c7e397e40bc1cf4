//! `tidegate config`: the effective configuration, where each value comes from, secrets masked.

use std::fmt::Write;

use crate::commands::say;
use crate::config::{Config, Flags, Inputs, Key, Settings};
use crate::exit::Failure;

/// Prints the table, also when the configuration is refused: whoever must mend it wants to see it.
pub(crate) fn run(flags: Flags) -> Result<(), Failure> {
    let settings = Settings::of(&Inputs::of_process(flags)?)?;
    let config = Config::of(&settings);
    say(&table(&settings, config.as_ref().ok()));
    for warning in &settings.warnings {
        // Not logged: this command logs nothing, and its table is for people.
        say(&format!("warning: {warning}\n"));
    }
    config?;
    Ok(())
}

fn table(settings: &Settings, config: Option<&Config>) -> String {
    let name_width = Key::ALL.iter().map(|key| key.name().len()).max();
    let name_width = name_width.unwrap_or_default();
    let mut table = String::new();
    for key in Key::ALL.iter().copied() {
        let setting = settings.shown(key);
        let value = match (setting.value.as_str(), key, config) {
            // What follows from another key is shown as it follows.
            ("", Key::Database, Some(config)) => config.database_shown.clone(),
            ("cores", Key::Shards, Some(config)) => format!("cores ({})", config.shards),
            ("", _, _) => "-".to_owned(),
            (value, _, _) => value.to_owned(),
        };
        writeln!(
            table,
            "{:name_width$}  {value:30}  {}",
            key.name(),
            setting.origin
        )
        .expect("writing to a string cannot fail");
    }
    table
}
