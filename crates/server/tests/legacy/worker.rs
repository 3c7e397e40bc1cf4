//! An old SQL worker: it takes calls from the topic and answers in the old shapes, byte by byte,
//! with what the test tells it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};
use tidegate_ports::{Broker, BrokerEvent, Keep, Message, Start, TopicName};
use tidegate_protocol::SqlRequest;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What a worker says to a call.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// `RowsWithCursor`: JSON texts of rows, and the cursor.
    Page {
        rows: Vec<String>,
        cursor: Vec<(String, String)>,
    },
    /// `BoolRes`.
    Bool(bool),
    /// A failure, with the number of its code.
    Failure(u8, String),
    /// None at all.
    Silence,
    /// This, once there is a permit.
    Held(Arc<Semaphore>, Box<Answer>),
}

/// Decides what to say; calls that came are kept.
pub(crate) type Script = Arc<dyn Fn(&SqlRequest) -> Answer + Send + Sync>;
pub(crate) type Calls = Arc<Mutex<Vec<SqlRequest>>>;

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

/// Answers calls until it is dropped with the set it runs in.
pub(crate) async fn work(broker: Arc<dyn Broker>, script: Script, calls: Calls) {
    let requests = topic("sql.rpc.requests");
    broker
        .create(&requests, 1, Keep::Millis(60_000))
        .await
        .unwrap();
    let topics = [requests];
    let mut reader = broker
        .share("workers", &topics, Start::Earliest)
        .await
        .unwrap();
    let mut answers = JoinSet::new();
    loop {
        let Ok(BrokerEvent::Messages(messages)) = reader.poll().await else {
            tokio::task::yield_now().await;
            continue;
        };
        for received in messages {
            let request = SqlRequest::decode(&received.message.value.unwrap()).unwrap();
            let answer = script(&request);
            calls.lock().unwrap().push(request.clone());
            answers.spawn(say(Arc::clone(&broker), request, answer));
        }
        while answers.try_join_next().is_some() {}
    }
}

async fn say(broker: Arc<dyn Broker>, request: SqlRequest, mut answer: Answer) {
    while let Answer::Held(permits, then) = answer {
        permits.acquire().await.unwrap().forget();
        answer = *then;
    }
    let Some(bytes) = encode(&request.correlation_id, &answer) else {
        return;
    };
    let message = Message {
        key: Some(Bytes::from(request.correlation_id)),
        value: Some(bytes),
        headers: Vec::new(),
    };
    // Whoever asked may be gone, and its topic with it.
    let _ = broker
        .send(&topic(&request.reply_topic), vec![message])
        .await;
}

/// Where the fields of a table are found, in the order of the schema.
const fn slot(field: u16) -> u16 {
    4 + 2 * field
}

fn encode(correlation_id: &str, answer: &Answer) -> Option<Bytes> {
    let mut builder = FlatBufferBuilder::new();
    let b = &mut builder;
    let id = b.create_string(correlation_id);
    let (kind, data, failure) = match answer {
        Answer::Page { rows, cursor } => (5_u8, Some(page(b, rows, cursor)), None),
        Answer::Bool(value) => {
            let table = b.start_table();
            b.push_slot::<bool>(slot(0), *value, false);
            (3, Some(WIPOffset::new(b.end_table(table).value())), None)
        }
        Answer::Failure(code, message) => (0, None, Some((*code, b.create_string(message)))),
        Answer::Silence | Answer::Held(..) => return None,
    };
    let table = b.start_table();
    b.push_slot_always(slot(0), id);
    b.push_slot::<bool>(slot(1), failure.is_none(), true);
    if let Some((code, message)) = failure {
        b.push_slot::<u8>(slot(2), code, 0);
        b.push_slot_always(slot(3), message);
    }
    if let Some(data) = data {
        b.push_slot::<u8>(slot(4), kind, 0);
        b.push_slot_always(slot(5), data);
    }
    let root = b.end_table(table);
    b.finish_minimal(WIPOffset::<()>::new(root.value()));
    Some(Bytes::copy_from_slice(builder.finished_data()))
}

fn page(
    b: &mut FlatBufferBuilder<'_>,
    rows: &[String],
    cursor: &[(String, String)],
) -> WIPOffset<()> {
    let rows: Vec<_> = rows.iter().map(|row| b.create_string(row)).collect();
    let rows = b.create_vector(&rows);
    let entry = |(field, text): &(String, String)| {
        let (field, text) = (b.create_string(field), b.create_string(text));
        let table = b.start_table();
        b.push_slot_always(slot(0), text);
        let value = b.end_table(table);
        let table = b.start_table();
        b.push_slot_always(slot(0), field);
        b.push_slot::<u8>(slot(1), 1, 0);
        b.push_slot_always(slot(2), value);
        WIPOffset::<()>::new(b.end_table(table).value())
    };
    let entries: Vec<_> = cursor.iter().map(entry).collect();
    let entries: Vec<_> = entries
        .into_iter()
        .map(|entry| entry.as_union_value())
        .collect();
    let cursor = b.create_vector(&entries);
    let table = b.start_table();
    b.push_slot_always(slot(0), rows);
    b.push_slot_always(slot(1), cursor);
    WIPOffset::new(b.end_table(table).value())
}
