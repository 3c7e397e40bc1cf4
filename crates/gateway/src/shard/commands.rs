//! What clients ask of a shard, frame by frame.

use std::sync::Arc;

use tidegate_core::{LimitRule, Query, QueryHash, RoutingKey, TableName, TableSchema, TenantId};
use tidegate_protocol::server_frame::{self, ErrorSubject};
use tidegate_protocol::{
    ClientFrame, ErrorCode, ErrorReply, ForeignKey, FrameError, HashId, QueryName, RpcCall,
    Subscribe, WireError, write_query,
};

use super::Shard;
use crate::channel::{Begin, Listener};
use crate::config::Pages;
use crate::frame;
use crate::interest::Wanted;
use crate::loader::{Call, Job, LookUp, Waiting};
use crate::metrics;
use crate::outbox::{Owner, SubscriptionId};
use crate::outboxes::SessionIndex;
use crate::session::{Held, Place, SessionId};
use crate::ws::Flow;

impl Shard {
    pub(super) fn on_frame(
        &mut self,
        id: SessionId,
        parsed: Result<ClientFrame, FrameError>,
    ) -> Flow {
        if self.open_session(id).is_none() {
            return Flow::Stop;
        }
        match parsed {
            Ok(ClientFrame::Subscribe(subscribe)) => self.on_subscribe(id, subscribe),
            Ok(ClientFrame::Unsubscribe { hash_id, table: _ }) => self.unsubscribe(id, &hash_id),
            Ok(ClientFrame::Sync { hash_id, lsn }) => self.on_sync(id, &hash_id, lsn),
            Ok(ClientFrame::Rpc(call)) => self.on_call(id, *call),
            Ok(ClientFrame::Ping) => {
                self.reply(id, frame::text(&server_frame::pong()));
            }
            Ok(ClientFrame::Typed(request)) => self.on_typed(id, &request),
            Err(refused) => self.on_refused(id, refused),
        }
        Flow::Continue
    }

    /// Answers a frame that could not be taken.
    fn on_refused(&mut self, id: SessionId, FrameError { error, reply }: FrameError) {
        metrics::count_refusal(error.code);
        tracing::debug!(code = error.code.as_str(), "a frame was refused");
        let subject = match &reply {
            ErrorReply::Typed => {
                let payload = server_frame::typed::error(&error.message, self.now_millis());
                self.reply(id, frame::text(&payload));
                return;
            }
            ErrorReply::Session => ErrorSubject::Session,
            ErrorReply::Call(correlation_id) => ErrorSubject::Call(correlation_id),
            // A `sync` that cannot be read leaves its subscription as it is.
            ErrorReply::Subscription(label) if error.code == ErrorCode::BadLsn => {
                ErrorSubject::Subscription(label)
            }
            ErrorReply::Subscription(label) => {
                self.unsubscribe(id, label);
                ErrorSubject::Subscription(label)
            }
        };
        let payload = server_frame::error(error.code, &error.message, subject);
        self.reply(id, frame::text(&payload));
    }

    fn on_subscribe(&mut self, id: SessionId, frame: Box<Subscribe>) {
        let subscriptions_max = self.limits().session_subscriptions_max;
        self.unsubscribe(id, &frame.hash_id);
        let Some(session) = self.open_session(id) else {
            return;
        };
        if session.subscriptions.len() >= subscriptions_max {
            let why = format!("a session has at most {subscriptions_max} subscriptions");
            let error = WireError::new(ErrorCode::TooManySubscriptions, why);
            self.refuse(id, &frame.hash_id, &error);
            return;
        }
        let subscription = SubscriptionId(session.next_subscription);
        // After four thousand million of them the first are long gone.
        session.next_subscription = session.next_subscription.wrapping_add(1);
        let held = Held {
            label: frame.hash_id.clone(),
            id: subscription,
            place: Place::Describing,
        };
        if let Err(at) = session.find(&frame.hash_id) {
            // Most sessions have one; room for more of them is made when they come.
            if session.subscriptions.is_empty() {
                session.subscriptions.reserve_exact(1);
            }
            session.subscriptions.insert(at, held);
        }
        let tenant = session.principal.tenant.clone();
        self.subscription_count += 1;
        let waiting = Waiting {
            session: id,
            id: subscription,
            frame,
        };
        match self.shared.config.pages {
            Pages::Processor => self.look_up(tenant, waiting),
            Pages::Foreign => {
                let routed = route_by_name(&tenant, &waiting.frame);
                self.place(waiting, routed);
            }
        }
    }

    fn look_up(&mut self, tenant: TenantId, waiting: Waiting) {
        let table = waiting.frame.table.clone();
        match self.schemas.look_up(&tenant, waiting, self.now) {
            LookUp::Found(schema, waiting) => self.place_described(&tenant, waiting, &schema),
            LookUp::StartRead => self.jobs.push(Job::Describe { tenant, table }),
            LookUp::Queued => {}
        }
    }

    /// A table's schema has been read, or cannot be.
    pub(crate) fn on_described(
        &mut self,
        key: (TenantId, TableName),
        described: Result<Arc<TableSchema>, WireError>,
    ) {
        let tenant = key.0.clone();
        let schema = described.as_ref().ok().cloned();
        for waiting in self.schemas.loaded(key, schema, self.now) {
            match &described {
                Ok(schema) => self.place_described(&tenant, waiting, schema),
                Err(error) => self.end_waiting(&waiting, error),
            }
        }
    }

    /// Refuses a subscribe that was on its way, unless its client has given it up meanwhile.
    fn end_waiting(&mut self, waiting: &Waiting, error: &WireError) {
        if self.is_wanted(waiting) {
            self.unsubscribe(waiting.session, &waiting.frame.hash_id);
            self.refuse(waiting.session, &waiting.frame.hash_id, error);
        }
    }

    fn is_wanted(&mut self, waiting: &Waiting) -> bool {
        self.open_session(waiting.session)
            .is_some_and(|session| session.by_id(waiting.id).is_some())
    }

    fn refuse(&mut self, id: SessionId, label: &HashId, error: &WireError) {
        metrics::count_refusal(error.code);
        let subject = ErrorSubject::Subscription(label);
        let payload = server_frame::error(error.code, &error.message, subject);
        self.reply(id, frame::text(&payload));
    }

    fn place_described(&mut self, tenant: &TenantId, waiting: Waiting, schema: &Arc<TableSchema>) {
        let rule = self.shared.config.subscription_limit;
        let routed = route_by_content(tenant, &waiting.frame, schema, rule);
        self.place(waiting, routed);
    }

    /// Makes a subscribe a listener of its channel.
    fn place(&mut self, waiting: Waiting, routed: Result<(RoutingKey, Wanted), WireError>) {
        if !self.is_wanted(&waiting) {
            return;
        }
        let (key, wanted) = match routed {
            Ok(routed) => routed,
            Err(error) => {
                self.end_waiting(&waiting, &error);
                return;
            }
        };
        let Some(channel) = self.channel_of(key, wanted) else {
            let error = WireError::new(ErrorCode::Overloaded, "there are too many live queries");
            self.end_waiting(&waiting, &error);
            return;
        };
        let Waiting { session, id, frame } = waiting;
        let ack = frame::text(&server_frame::ack(&frame.hash_id));
        self.outboxes.push(session.index, ack, Owner::Session);
        let begin = match (frame.resume, frame.resume_from_version) {
            (Some(position), _) => Begin::After(position),
            (None, Some(version)) => Begin::AfterVersion(version),
            (None, None) => Begin::Fresh,
        };
        let label = frame.hash_id.clone();
        let listener = Listener {
            session: session.index,
            id,
            label: frame.hash_id,
            format: frame.format,
            slow: frame.slow,
        };
        let place = self.listen(channel, listener, begin);
        if let Some(session) = self.session(session)
            && let Ok(at) = session.find(&label)
        {
            session.subscriptions[at].place = Place::Listening { channel, place };
        }
    }

    /// Ends a subscription, if there is one of this label. Frames of it that have not gone out do
    /// not.
    pub(super) fn unsubscribe(&mut self, id: SessionId, label: &HashId) {
        let Some(session) = self.session(id) else {
            return;
        };
        let Ok(at) = session.find(label) else {
            return;
        };
        let held = session.subscriptions.remove(at);
        self.outboxes.drop_subscription(id.index, held.id);
        self.leave(&held);
    }

    /// Ends all subscriptions of a session.
    pub(super) fn leave_all(&mut self, index: SessionIndex) {
        let session = &mut self.sessions[index.0 as usize];
        for held in std::mem::take(&mut session.subscriptions) {
            self.leave(&held);
        }
    }

    fn leave(&mut self, held: &Held) {
        self.subscription_count -= 1;
        match held.place {
            Place::Describing => {}
            Place::Listening { channel, place } => self.stop_listening(channel, place),
        }
    }

    fn on_call(&mut self, id: SessionId, call: RpcCall) {
        let calls_max = self.limits().session_calls_max;
        let Some(session) = self.open_session(id) else {
            return;
        };
        let tenant = session.principal.tenant.clone();
        let calls_running = session.calls_running;
        let RpcCall {
            method,
            company_id,
            correlation_id,
            command,
        } = call;
        let is_foreign = company_id.is_some_and(|company| !self.is_own(&company, &tenant));
        let refusal = match command {
            _ if is_foreign => {
                WireError::new(ErrorCode::Forbidden, "companyId names another tenant")
            }
            Err(error) => error,
            Ok(_) if calls_running >= calls_max => {
                WireError::new(ErrorCode::Overloaded, "too many calls are running already")
            }
            Ok(command) => {
                if let Some(session) = self.open_session(id) {
                    session.calls_running += 1;
                }
                self.metrics.calls.increment(1);
                self.jobs.push(Job::Call(Box::new(Call {
                    session: id,
                    tenant,
                    method,
                    correlation_id,
                    command,
                })));
                return;
            }
        };
        metrics::count_refusal(refusal.code);
        let payload = server_frame::rpc_error(&method, correlation_id.as_ref(), &refusal);
        self.reply(id, frame::text(&payload));
    }

    /// Whether a tenant that a client names is its own. It decides nothing else: the tenant of a
    /// call is always the principal's.
    fn is_own(&self, company: &str, tenant: &TenantId) -> bool {
        TenantId::parse(company)
            .and_then(|company| self.shared.config.tenancy.admit(&company))
            .is_ok_and(|company| company == *tenant)
    }

    pub(crate) fn on_call_done(&mut self, id: SessionId, frame: bytes::Bytes) {
        if let Some(session) = self.session(id) {
            session.calls_running -= 1;
            self.reply(id, frame);
        }
    }
}

/// Where a query goes that is known by its content: in canonical form, whatever a client calls it.
fn route_by_content(
    tenant: &TenantId,
    frame: &Subscribe,
    schema: &Arc<TableSchema>,
    rule: LimitRule,
) -> Result<(RoutingKey, Wanted), WireError> {
    let query = Query::live_from_spec(&frame.query, schema, rule)?;
    let key = RoutingKey {
        tenant: tenant.clone(),
        table: frame.table.clone(),
        query: query.hash(),
    };
    // A lease names its limit. The page's owner has no default that would be this gateway's, and
    // another limit is another query.
    let mut spec = frame.query.clone();
    spec.limit = Some(u64::from(query.limit()));
    let wanted = Wanted {
        query: spec,
        name: None,
    };
    Ok((key, wanted))
}

/// Where a query goes that is known by its name: as it was written. Two queries of one name go to
/// different places, so that neither gets the other's page; their owner takes one of them.
fn route_by_name(tenant: &TenantId, frame: &Subscribe) -> Result<(RoutingKey, Wanted), WireError> {
    if ForeignKey::new(tenant, &frame.table, &frame.hash_id).is_none() {
        let why = format!(
            "a table called {} cannot be subscribed to here",
            frame.table
        );
        return Err(WireError::new(ErrorCode::UnsupportedTable, why));
    }
    let key = RoutingKey {
        tenant: tenant.clone(),
        table: frame.table.clone(),
        query: QueryHash::of_labelled(frame.hash_id.as_str(), &write_query(&frame.query)),
    };
    let name = QueryName {
        label: frame.hash_id.clone(),
        words: frame.words.clone(),
    };
    let wanted = Wanted {
        query: frame.query.clone(),
        name: Some(name),
    };
    Ok((key, wanted))
}
