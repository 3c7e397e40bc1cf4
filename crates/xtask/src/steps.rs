//! Steps: one thing a task does, with its outcome and its seconds.
//!
//! A task runs all its steps even when one fails, because one look should show everything that is
//! wrong; the table at the end is what a reader of a long log needs.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The steps of one task, in the order they ran.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
}

impl Steps {
    /// Runs one step, prints when it begins and ends, and keeps its outcome.
    pub(crate) fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        println!("==> {name}");
        let began = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Outcome::Failed
            }
        };
        let took = began.elapsed();
        println!(
            "<== {name}: {} in {:.1} s",
            outcome.word(),
            took.as_secs_f64()
        );
        self.done.push(Step {
            name,
            took,
            outcome,
        });
    }

    /// Prints the table, and is an error that names the failed steps when there are any.
    pub(crate) fn finish(self) -> Result<()> {
        print!("{}", self.table());
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|s| s.outcome == Outcome::Failed)
            .map(|s| s.name)
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "))
    }

    fn table(&self) -> String {
        let width = self
            .done
            .iter()
            .map(|step| step.name.len())
            .max()
            .unwrap_or(0)
            .max(5);
        let mut table = format!("\n{:<width$}  {:>9}  outcome\n", "step", "seconds");
        for step in &self.done {
            let seconds = step.took.as_secs_f64();
            let word = step.outcome.word();
            table += &format!("{:<width$}  {seconds:>9.1}  {word}\n", step.name);
        }
        let total: Duration = self.done.iter().map(|step| step.took).sum();
        table += &format!("{:<width$}  {:>9.1}\n", "total", total.as_secs_f64());
        table
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
        }
    }
}

/// Runs a command with our own output, and is an error when it cannot start or does not succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("{program} could not be started; is it installed?"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Shows that one failed step fails the task by name and does not stop the ones after it.

    use anyhow::bail;

    use super::Steps;

    #[test]
    fn later_steps_run_and_the_failed_one_is_named() {
        let mut steps = Steps::default();
        let mut ran_last = false;
        steps.run("first", || Ok(()));
        steps.run("second", || bail!("on purpose"));
        steps.run("third", || {
            ran_last = true;
            Ok(())
        });
        let table = steps.table();
        assert!(ran_last);
        assert_eq!(table.matches("passed").count(), 2, "{table}");
        assert!(table.contains("second"), "{table}");
        let error = steps.finish().unwrap_err().to_string();
        assert_eq!(error, "failed: second");
    }

    #[test]
    fn all_passed_is_success() {
        let mut steps = Steps::default();
        steps.run("only", || Ok(()));
        assert!(steps.finish().is_ok());
    }
}
