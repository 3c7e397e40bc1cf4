//! `tidegate watch`: a live page in the terminal, or as JSON lines in a pipe.
//!
//! The page itself is the client's. Here it is shown: the pictures are pure functions, and this
//! file draws them when something changed, when a mark fades, and when the window gets another
//! size.

mod lines;
mod screen;
mod text;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tidegate_client::{
    Client, ConnectionState, Fault, Format, Payload, Subscribe, Subscription, TableShape, Update,
    parse_condition, parse_order,
};
use tidegate_core::{FilterSpec, Group, QuerySpec};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use crate::commands::target::{TargetArgs, block_on, failure};
use crate::exit::{Exit, Failure};
use screen::{Header, Link, Screen, Size};

/// How often the picture is drawn when nothing happens: the age of the last change is shown in
/// seconds, and a mark fades within one.
const REDRAW_EVERY: Duration = Duration::from_millis(500);

/// Shows a page of a table and keeps it up to date
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    /// The table
    table: String,
    /// A condition: COLUMN = VALUE, also != < <= > >= ~ (contains) ^= (starts with) $= (ends with)
    /// in A,B / between A..B / is null / is not null. Several are AND-ed
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<String>,
    /// The order: COLUMN [asc|desc], ...
    #[arg(long)]
    order: Option<String>,
    /// How many rows, 50 if not given
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
    /// How changes are delivered
    #[arg(long, value_enum, default_value_t = DiffFormat::Json)]
    format: DiffFormat,
    /// Prints the page once and ends
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DiffFormat {
    Json,
    Binary,
}

pub(crate) fn run(args: &WatchArgs) -> Result<(), Failure> {
    block_on(async {
        let client = args.target.connect().await?;
        let table = find_table(&client, &args.table).await?;
        let subscribe = Subscribe::new(&args.table, &query(args, &table)?);
        let subscribe = subscribe.format(match args.format {
            DiffFormat::Json => Format::Json,
            DiffFormat::Binary => Format::Binary,
        });
        let subscription = client.subscribe(subscribe).await;
        let subscription =
            subscription.map_err(|closed| Failure::new(Exit::Unavailable, closed.to_string()))?;
        let is_terminal = io::stdout().is_terminal();
        match (args.once, is_terminal) {
            (true, true) => print_table(subscription, &table).await,
            (true, false) => print_lines(&client, subscription, Until::FirstPage).await,
            (false, false) => print_lines(&client, subscription, Until::End).await,
            (false, true) => {
                let title = format!("{}  {}", args.table, args.target.url());
                let painted = paint(&client, subscription, &table, title).await;
                client.close().await;
                painted
            }
        }
    })
}

async fn find_table(client: &Client, name: &str) -> Result<TableShape, Failure> {
    let reply = client.rpc("LIST_TABLES", None, Payload::none()).await;
    let reply = reply.map_err(|fault| failure(&fault))?;
    let tables: Vec<TableShape> = reply.read().map_err(|error| {
        let why = format!("the gateway's list of tables cannot be read: {error}");
        Failure::new(Exit::Failed, why)
    })?;
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let found = tables.into_iter().find(|table| table.name == name);
    let table = found.ok_or_else(|| {
        let known = match names.as_slice() {
            [] => "there are no tables".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        Failure::new(Exit::NoSuchTable, format!("no table {name:?}; {known}"))
    })?;
    match &table.refusal {
        Some(why) => Err(Failure::new(Exit::Refused, format!("{name}: {why}"))),
        None => Ok(table),
    }
}

fn query(args: &WatchArgs, table: &TableShape) -> Result<QuerySpec, Failure> {
    let bad =
        |error: tidegate_client::ConditionError| Failure::new(Exit::Config, error.to_string());
    let tests = args
        .conditions
        .iter()
        .map(|text| parse_condition(text, table));
    let tests: Vec<FilterSpec> = tests.collect::<Result<_, _>>().map_err(bad)?;
    let order = match &args.order {
        Some(text) => parse_order(text, table).map_err(bad)?,
        None => Vec::new(),
    };
    Ok(QuerySpec {
        filter: (!tests.is_empty()).then_some(FilterSpec::Group(Group::And, tests)),
        order,
        limit: args.limit,
        ..QuerySpec::default()
    })
}

fn lost_fault() -> Fault {
    Fault {
        code: "disconnected".to_owned(),
        message: "the connection was closed".to_owned(),
        retry: true,
    }
}

/// Writes to standard output. That whoever reads has stopped is no failure: it ends the program.
fn write_out(text: &str) -> Result<Flow, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Flow::GoOn),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Stop),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("standard output: {error}"),
        )),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    FirstPage,
    End,
}

async fn print_table(mut subscription: Subscription, table: &TableShape) -> Result<(), Failure> {
    let page = subscription
        .ready()
        .await
        .map_err(|fault| failure(&fault))?;
    let mut screen = Screen::new(table);
    screen.show(page.rows(), Duration::ZERO);
    let size = window_size();
    write_out(&screen.table(size.columns))?;
    Ok(())
}

async fn print_lines(
    client: &Client,
    mut subscription: Subscription,
    until: Until,
) -> Result<(), Failure> {
    let mut connection = client.connection();
    loop {
        tokio::select! {
            update = subscription.next() => {
                let update = match update {
                    Some(Update::Error(fault)) => return Err(failure(&fault)),
                    Some(update) => update,
                    None => return Err(failure(&lost_fault())),
                };
                if write_out(&lines::line(&update))? == Flow::Stop || until == Until::FirstPage {
                    return Ok(());
                }
            }
            Ok(()) = connection.changed() => report(&connection.borrow_and_update()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// Standard output is for rows; what becomes of the connection goes beside it.
fn report(state: &ConnectionState) {
    match state {
        ConnectionState::Connected => eprintln!("tidegate: connected again"),
        ConnectionState::Reconnecting { attempt: 1, reason } => {
            eprintln!("tidegate: {reason}; reconnecting");
        }
        // Once is enough; and a closed client ends the loop with its own sentence.
        ConnectionState::Reconnecting { .. } | ConnectionState::Closed { .. } => {}
    }
}

/// Draws until Ctrl-C or the end of the subscription. However it ends, the terminal is as it was,
/// with the last picture above the prompt.
async fn paint(
    client: &Client,
    subscription: Subscription,
    table: &TableShape,
    title: String,
) -> Result<(), Failure> {
    let painter = Painter {
        screen: Screen::new(table),
        connection: client.connection(),
        begun: Instant::now(),
        changed: None,
        title,
    };
    if write_out(screen::ENTER)? == Flow::Stop {
        return Ok(());
    }
    let painted = painter.run(subscription).await;
    write_out(screen::LEAVE)?;
    painted
}

struct Painter {
    screen: Screen,
    connection: watch::Receiver<ConnectionState>,
    begun: Instant,
    changed: Option<Instant>,
    title: String,
}

impl Painter {
    async fn run(mut self, mut subscription: Subscription) -> Result<(), Failure> {
        let mut ticks = interval(REDRAW_EVERY);
        let resized = signal(SignalKind::window_change());
        let mut resized = resized.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        loop {
            let text = self.picture(&subscription);
            if write_out(&text)? == Flow::Stop {
                return Ok(());
            }
            tokio::select! {
                update = subscription.next() => {
                    // What is there already is shown in the same picture: a terminal is slower than
                    // a table.
                    let mut next = update;
                    loop {
                        match next {
                            Some(Update::Error(fault)) => return Err(failure(&fault)),
                            Some(Update::Snapshot(_) | Update::Diff(_)) => {
                                self.changed = Some(Instant::now());
                            }
                            Some(Update::Resumed { .. }) => {}
                            None => return Err(failure(&lost_fault())),
                        }
                        match subscription.try_next() {
                            Some(update) => next = Some(update),
                            None => break,
                        }
                    }
                    self.screen.show(subscription.page().rows(), self.begun.elapsed());
                }
                Ok(()) = self.connection.changed() => {}
                _ = ticks.tick() => {}
                Some(()) = resized.recv() => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }

    fn picture(&mut self, subscription: &Subscription) -> String {
        let link = match &*self.connection.borrow_and_update() {
            ConnectionState::Connected if subscription.page().position().is_none() => Link::Loading,
            ConnectionState::Connected => Link::Live,
            ConnectionState::Reconnecting { attempt, reason } => {
                Link::Lost(format!("reconnecting, try {attempt}: {reason}"))
            }
            ConnectionState::Closed { .. } => Link::Lost("closed".to_owned()),
        };
        let header = Header {
            title: &self.title,
            link,
            position: subscription.page().position().map(|at| at.as_str()),
            since_change: self.changed.map(|at| at.elapsed()),
        };
        self.screen
            .picture(&header, window_size(), self.begun.elapsed())
    }
}

fn window_size() -> Size {
    match terminal_size::terminal_size() {
        Some((width, height)) => Size {
            columns: usize::from(width.0),
            rows: usize::from(height.0),
        },
        None => Size {
            columns: 80,
            rows: 24,
        },
    }
}
