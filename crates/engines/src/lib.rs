//! A real Redis, PostgreSQL and Kafka for tests: started, killed and started again.
//!
//! Each runs on free ports of 127.0.0.1, in a folder of its own below the target folder, and lives
//! only as long as the [`Services`]: it is stopped when they are dropped, and by the kernel when
//! the process ends in any other way (see [`process`]). One that was killed comes back on the same
//! port over the same data, as a machine does that lost its power.

mod kafka;
mod ports;
mod postgres;
mod process;
pub mod programs;
mod redis;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::Signal;

use self::process::Process;
pub use self::process::bound_to_us;

/// A service that tests may need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// The hot cache.
    Redis,
    /// The database.
    Postgres,
    /// The bus.
    Kafka,
}

/// Services that run until this is dropped.
pub struct Services {
    engines: Vec<Engine>,
    folder: PathBuf,
}

/// One service and how it is started.
struct Engine {
    kind: Kind,
    place: Place,
    launch: Launch,
    /// Nothing while it is down.
    process: Option<Process>,
}

/// How a service that has its data is started, any number of times.
struct Launch {
    /// What its variable says.
    address: String,
    name: &'static str,
    command: Box<dyn Fn() -> Command + Send + Sync>,
    /// What asks it to end in order.
    stop: Signal,
    is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    ready_max: Duration,
}

/// A service's own folder: its data go with it, its logs stay until the next run.
struct Place {
    /// Where what is fetched once is kept for all runs.
    store: PathBuf,
    folder: PathBuf,
}

impl Services {
    /// Starts each kind below the target folder and waits until it answers; what is missing is
    /// installed where we may.
    ///
    /// # Errors
    /// When one does not start; says where its log is.
    pub fn start(target: &Path, kinds: &[Kind]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        programs::ensure("setpriv", "util-linux", || {
            programs::starts("setpriv", "--version")
        })?;
        let store = target.join("services");
        remove_dead_runs(&store)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = store.join(format!("{}-{count}", std::process::id()));
        let mut services = Self {
            engines: Vec::new(),
            folder,
        };
        for &kind in kinds {
            if services.engines.iter().any(|other| other.kind == kind) {
                continue;
            }
            let began = Instant::now();
            let place = Place::create(store.clone(), services.folder.join(kind.to_string()))?;
            let engine = Engine::start(kind, place);
            let engine = engine.with_context(|| format!("{kind} did not start"))?;
            let (seconds, address) = (began.elapsed().as_secs_f64(), &engine.launch.address);
            eprintln!("{kind} runs at {address} after {seconds:.1} s");
            services.engines.push(engine);
        }
        Ok(services)
    }

    /// The variables that tell tests the addresses.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let variable = |engine: &Engine| (engine.kind.variable(), engine.launch.address.clone());
        self.engines.iter().map(variable).collect()
    }

    /// Where a service is that was started.
    ///
    /// # Panics
    /// When it was not.
    #[must_use]
    pub fn address(&self, kind: Kind) -> &str {
        &self.engine(kind).launch.address
    }

    /// The process that a service is, or the first of its processes.
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    pub fn process_id(&self, kind: Kind) -> Option<u32> {
        self.engine(kind).process.as_ref().map(Process::id)
    }

    /// The folder that holds what a service keeps.
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    pub fn data(&self, kind: Kind) -> PathBuf {
        self.engine(kind).place.data()
    }

    /// Ends a service as a power cut does; it writes nothing more.
    ///
    /// # Errors
    /// When it lives on.
    ///
    /// # Panics
    /// When it was not started.
    pub fn kill(&mut self, kind: Kind) -> Result<()> {
        match self.engine_mut(kind).process.take() {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Starts a service that was killed, on the same port over the same data, and waits until it
    /// answers.
    ///
    /// # Errors
    /// When it does not.
    ///
    /// # Panics
    /// When it was not started before.
    pub fn restart(&mut self, kind: Kind) -> Result<()> {
        self.engine_mut(kind).launch()
    }

    /// Puts a new database cluster in the place of one that was killed: another system, on the same
    /// port.
    ///
    /// # Errors
    /// When it cannot be made.
    ///
    /// # Panics
    /// When Postgres was not started before.
    pub fn renew_postgres(&mut self) -> Result<()> {
        let place = &self.engine(Kind::Postgres).place;
        fs::remove_dir_all(place.data())?;
        fs::create_dir_all(place.data())?;
        postgres::make_data(place)
    }

    /// Blocks until one of them ends by itself, which is an error.
    ///
    /// # Errors
    /// Always.
    pub fn stay(&self) -> Result<()> {
        loop {
            let running = self.engines.iter().filter_map(|one| one.process.as_ref());
            for process in running {
                process.still_runs()?;
            }
        }
    }

    fn engine(&self, kind: Kind) -> &Engine {
        let mut engines = self.engines.iter();
        let engine = engines.find(|engine| engine.kind == kind);
        engine.expect("only what was started is asked for")
    }

    fn engine_mut(&mut self, kind: Kind) -> &mut Engine {
        let mut engines = self.engines.iter_mut();
        let engine = engines.find(|engine| engine.kind == kind);
        engine.expect("only what was started is asked for")
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for mut engine in self.engines.drain(..) {
            drop(engine.process.take());
            // A folder that stays costs a little space, and the next run removes it.
            let _ = fs::remove_dir_all(engine.place.data());
        }
    }
}

impl Engine {
    fn start(kind: Kind, place: Place) -> Result<Self> {
        let launch = match kind {
            Kind::Redis => redis::prepare(&place),
            Kind::Postgres => postgres::prepare(&place),
            Kind::Kafka => kafka::prepare(&place),
        }?;
        let mut engine = Self {
            kind,
            place,
            launch,
            process: None,
        };
        engine.launch()?;
        Ok(engine)
    }

    fn launch(&mut self) -> Result<()> {
        let Launch {
            name,
            command,
            stop,
            is_ready,
            ready_max,
            ..
        } = &self.launch;
        let process = Process::start(name, command(), *stop, &self.place.log(name))?;
        process.wait_until(*ready_max, is_ready)?;
        self.process = Some(process);
        Ok(())
    }
}

impl Kind {
    /// The variable that carries its address.
    const fn variable(self) -> &'static str {
        match self {
            Self::Redis => "TIDEGATE_TEST_REDIS",
            Self::Postgres => "TIDEGATE_TEST_POSTGRES",
            Self::Kafka => "TIDEGATE_TEST_KAFKA",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Kafka => "kafka",
        })
    }
}

impl Place {
    fn create(store: PathBuf, folder: PathBuf) -> Result<Self> {
        let place = Self { store, folder };
        let data = place.data();
        fs::create_dir_all(&data).with_context(|| format!("{} cannot be made", data.display()))?;
        Ok(place)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

/// Removes the folders of runs that are over: they are called after the process that made them.
fn remove_dead_runs(all_runs: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(all_runs) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split('-').next());
        let Some(process) = process.and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if Path::new("/proc").join(process.to_string()).exists() {
            continue;
        }
        let path = entry.path();
        match fs::remove_dir_all(&path) {
            // Somebody who started together with us was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => {
                removed.with_context(|| format!("{} cannot be removed", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Runs a command of a preparation, silently, and is an error when it fails.
fn prepare(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("{program} could not be started; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} ended with {}: {}", output.status, said.trim());
    }
    Ok(())
}
