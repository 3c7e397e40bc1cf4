//! Why a configuration is refused: one sentence that says which key, from where, and what is
//! allowed.

use std::fmt;

use super::keys::{Key, VARIABLE_PREFIX};

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere: it is the table's default.
    Default,
    /// A flag of the command line, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of `.env`.
    DotEnv { variable: String, line: usize },
    /// A line of the configuration file.
    File { path: String, line: usize },
}

impl Origin {
    /// The variable that said it, if one did.
    pub(crate) fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(variable) | Self::DotEnv { variable, .. } => Some(variable),
            Self::Default | Self::Flag(_) | Self::File { .. } => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(variable) => write!(f, "variable {variable}"),
            Self::DotEnv { variable, line } => write!(f, ".env:{line}, {variable}"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
        }
    }
}

/// Why a configuration is refused. Its text is for whoever wrote the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A value that its key does not take.
    #[error("{} is \"{value}\" ({origin}); allowed is {allowed}", .key.name())]
    Value {
        key: Key,
        value: String,
        origin: Origin,
        allowed: String,
    },
    /// A value that is right in itself but not beside the others, or not in this version.
    #[error("{} is \"{value}\" ({origin}), {why}", .key.name())]
    Conflict {
        key: Key,
        value: String,
        origin: Origin,
        why: String,
    },
    /// A name that is no key's.
    #[error("{origin} names \"{name}\", which is no key{}", hint(.name))]
    UnknownKey { name: String, origin: Origin },
    /// A file that cannot be read or makes no sense.
    #[error("{path}: {why}")]
    File { path: String, why: String },
}

fn hint(name: &str) -> String {
    let is_variable = name.starts_with(VARIABLE_PREFIX);
    let bare = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    match Key::nearest(bare) {
        Some(key) if is_variable => format!("; is {} meant?", key.variable()),
        Some(key) => format!("; is {} meant?", key.name()),
        None => "; `tidegate config` lists them all".to_owned(),
    }
}

/// A value as it may be shown: the password of an address is masked.
pub(crate) fn masked(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    // The last `@` ends the password, whatever came before it: an unescaped `@` or `/` may be part
    // of it.
    let authority = rest.find('?').unwrap_or(rest.len());
    let shown = match rest[..authority].rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split_once(':').map_or(login, |(user, _)| user);
            let mask = if login.contains(':') { ":***" } else { "" };
            format!("{user}{mask}@{host}")
        }
        None => rest[..authority].to_owned(),
    };
    format!("{scheme}://{shown}{}", masked_options(&rest[authority..]))
}

/// What follows the host: values of options whose names say that they are secret are masked.
fn masked_options(rest: &str) -> String {
    let Some((path, options)) = rest.split_once('?') else {
        return rest.to_owned();
    };
    let mask = |option: &str| match option.split_once('=') {
        Some((name, _)) if name.to_lowercase().contains("password") => format!("{name}=***"),
        _ => option.to_owned(),
    };
    let options: Vec<String> = options.split('&').map(mask).collect();
    format!("{path}?{}", options.join("&"))
}

/// Settings of a driver as they may be shown: any of their values may be a secret.
pub(crate) fn masked_properties(value: &str) -> String {
    let name = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=***"),
        // Not even a name: it may be the rest of a password with a comma in it.
        None => "***".to_owned(),
    };
    match value {
        "" => String::new(),
        pairs => pairs.split(',').map(name).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    //! Shows that no password of an address is shown, however it is written.

    use super::{masked, masked_properties};

    #[test]
    fn passwords_are_masked() {
        let check = |value: &str, shown: &str| assert_eq!(masked(value), shown);
        check("memory:", "memory:");
        check("sqlite:a@b:c.db", "sqlite:a@b:c.db");
        check("postgres://h/db", "postgres://h/db");
        check("postgres://me@h/db", "postgres://me@h/db");
        check("postgres://me:secret@h/db", "postgres://me:***@h/db");
        check("redis://:s@cr@t@h:6379", "redis://:***@h:6379");
        check(
            "postgres://h/db?user=me&password=x",
            "postgres://h/db?user=me&password=***",
        );
        check("postgres://me:a/b@h/db", "postgres://me:***@h/db");
    }

    #[test]
    fn values_of_properties_are_masked() {
        let check = |value: &str, shown: &str| assert_eq!(masked_properties(value), shown);
        check("", "");
        check("a.b=c,sasl.password=x,y", "a.b=***,sasl.password=***,***");
    }
}
