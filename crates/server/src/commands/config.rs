//! `tidegate config`: the effective configuration, where each value comes from, secrets masked.

use std::fmt::Write;

use crate::config::{Config, ConfigError, Flags, Inputs, Key, Settings};

/// The table to print, and why the configuration is refused, if it is.
pub(crate) fn run(flags: Flags) -> Result<(String, Result<Config, ConfigError>), ConfigError> {
    let settings = Settings::of(&Inputs::of_process(flags)?)?;
    let config = Config::of(&settings);
    Ok((table(&settings, config.as_ref().ok()), config))
}

fn table(settings: &Settings, config: Option<&Config>) -> String {
    let name_width = Key::ALL.iter().map(|key| key.name().len()).max();
    let name_width = name_width.unwrap_or_default();
    let mut table = String::new();
    for key in Key::ALL.iter().copied() {
        let setting = settings.shown(key);
        let value = match (setting.value.as_str(), key, config) {
            // What follows from another key is shown as it follows.
            ("", Key::Database, Some(config)) => format!("sqlite:{}", config.database.display()),
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
