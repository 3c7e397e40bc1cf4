//! The layers of the configuration, and which of them wins.
//!
//! Flags over environment over `.env` over the file over defaults. What is read here is text and
//! where it stood; what the text means is read in `config.rs`, once, after the layers are laid over
//! one another.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::keys::{Key, VARIABLE_PREFIX};
use super::old::{OLD_VARIABLES, is_odd};
use super::{dotenv, foreign};

/// Flags as the command line gave them.
pub(crate) type Flags = BTreeMap<Key, String>;

/// Everything a configuration is made from, as plain text, so that tests need no process around
/// them.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pub(crate) flags: Flags,
    pub(crate) environment: BTreeMap<String, String>,
    /// The text of `.env`; empty when there is none.
    pub(crate) dotenv: String,
    pub(crate) file: Option<FileText>,
}

/// A configuration file.
#[derive(Debug)]
pub(crate) struct FileText {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Inputs {
    /// Reads the environment, `.env` in the working folder, and the file that one of the layers
    /// names.
    pub(crate) fn of_process(flags: Flags) -> Result<Self, ConfigError> {
        let mut inputs = Self {
            flags,
            environment: process_environment(),
            dotenv: match fs::read_to_string(".env") {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                Err(error) => return Err(unreadable(".env", &error)),
            },
            file: None,
        };
        let path = Settings::of(&inputs)?.get(Key::ConfigFile).value.clone();
        if !path.is_empty() {
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            inputs.file = Some(FileText { path, text });
        }
        Ok(inputs)
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> ConfigError {
    ConfigError::File {
        path: path.to_owned(),
        why: format!("it cannot be read: {error}"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn process_environment() -> BTreeMap<String, String> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

/// The value of every key, after the layers are laid over one another.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    settings: BTreeMap<Key, Setting>,
    /// The variables of the layers laid so far.
    variables: Variables,
    /// What is odd but no reason to refuse.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Lays the layers over one another.
    pub(crate) fn of(inputs: &Inputs) -> Result<Self, ConfigError> {
        let default = |key: Key| Setting {
            value: key.definition().default.to_owned(),
            origin: Origin::Default,
        };
        let mut settings = Self {
            settings: Key::ALL.iter().map(|&key| (key, default(key))).collect(),
            variables: Variables::new(),
            warnings: Vec::new(),
        };
        if let Some(file) = &inputs.file {
            settings.lay_file(file)?;
        }
        settings.lay_dotenv(&inputs.dotenv)?;
        settings.lay_environment(&inputs.environment)?;
        for (key, value) in &inputs.flags {
            settings.set(
                *key,
                value.clone(),
                Origin::Flag(format!("--{}", key.flag())),
            );
        }
        foreign::follow(&mut settings);
        Ok(settings)
    }

    /// A key's value and where it was said.
    pub(crate) fn get(&self, key: Key) -> &Setting {
        &self.settings[&key]
    }

    /// What a variable says in the highest of the layers laid so far.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let (value, _) = self.variables.get(name)?;
        Some(value.trim())
    }

    pub(super) fn set(&mut self, key: Key, value: String, origin: Origin) {
        self.settings.insert(key, Setting { value, origin });
    }

    fn lay_file(&mut self, file: &FileText) -> Result<(), ConfigError> {
        let line_of = |at: usize| 1 + file.text[..at.min(file.text.len())].matches('\n').count();
        let place = |at: usize| Origin::File {
            path: file.path.clone(),
            line: line_of(at),
        };
        let table = DeTable::parse(&file.text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(span.start));
            ConfigError::File {
                path: format!("{}:{line}", file.path),
                why: error.message().to_owned(),
            }
        })?;
        for (name, value) in table.get_ref() {
            let origin = place(name.span().start);
            let key = Key::of_name(name.get_ref()).filter(|key| *key != Key::ConfigFile);
            let Some(key) = key else {
                let name = name.get_ref().to_string();
                return Err(ConfigError::UnknownKey { name, origin });
            };
            let Some(text) = scalar(value.get_ref()) else {
                return Err(ConfigError::Value {
                    key,
                    value: value.get_ref().type_str().to_owned(),
                    origin,
                    allowed: key.definition().allowed.to_string(),
                });
            };
            self.set(key, text, origin);
        }
        Ok(())
    }

    fn lay_dotenv(&mut self, text: &str) -> Result<(), ConfigError> {
        let assignments = dotenv::parse(text).map_err(|(line, why)| ConfigError::File {
            path: format!(".env:{line}"),
            why: format!("this line {why}"),
        })?;
        let mut variables = BTreeMap::new();
        for one in assignments {
            let origin = Origin::DotEnv {
                variable: one.name.clone(),
                line: one.line,
            };
            variables.insert(one.name, (one.value, origin));
        }
        if let Some((name, (_, origin))) = variables.iter().find(|(name, _)| is_unknown(name)) {
            return Err(ConfigError::UnknownKey {
                name: name.clone(),
                origin: origin.clone(),
            });
        }
        self.lay_variables(&variables)
    }

    fn lay_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let origin = Origin::Variable(name.clone());
            // Only a warning: Kubernetes sets TIDEGATE_PORT and its like by itself in every
            // container beside a service of our name.
            if is_unknown(name) {
                let name = name.clone();
                let warning = ConfigError::UnknownKey { name, origin };
                self.warnings.push(warning.to_string());
            } else {
                variables.insert(name.clone(), (value.clone(), origin));
            }
        }
        self.lay_variables(&variables)
    }

    fn lay_variables(&mut self, variables: &Variables) -> Result<(), ConfigError> {
        // What belongs together may be said in two layers: the host in `.env`, the password in the
        // environment.
        self.variables.extend(variables.clone());
        let odd = variables.iter().filter(|(name, _)| is_odd(name));
        let odd = odd.map(|(name, (_, origin))| {
            format!("{name} ({origin}) is no variable that the old gateway knew; it means nothing")
        });
        self.warnings.extend(odd);
        // Our own names after the old ones, so that within a layer they win.
        for old in OLD_VARIABLES {
            let is_said = |name: &&str| variables.contains_key(*name);
            if !is_said(&old.name) && !old.beside.iter().any(is_said) {
                continue;
            }
            if let Some((value, origin)) = self.variables.get(old.name) {
                let (value, origin) = (value.clone(), origin.clone());
                let read = (old.read)(self, &value).map_err(|allowed| ConfigError::Value {
                    key: old.key,
                    value,
                    origin: origin.clone(),
                    allowed: allowed.to_owned(),
                })?;
                self.set(old.key, read, origin);
            }
        }
        for (name, (value, origin)) in variables {
            if let Some(key) = Key::of_variable(name) {
                self.set(key, value.clone(), origin.clone());
            }
        }
        Ok(())
    }
}

fn is_unknown(variable: &str) -> bool {
    variable.starts_with(VARIABLE_PREFIX) && Key::of_variable(variable).is_none()
}

/// A value of the file as text. A list of words is written with commas in the other forms.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Array(items) => {
            let words: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(word) => Some(word.to_string()),
                    _ => None,
                })
                .collect();
            Some(words?.join(","))
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Variables by name.
type Variables = BTreeMap<String, (String, Origin)>;
