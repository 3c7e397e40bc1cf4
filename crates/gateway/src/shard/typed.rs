//! The typed channel: who comes and goes, and what clients of one tenant tell each other.
//!
//! Nothing here leaves the tenant. Broadcasts are best effort: a client that is behind, or a shard
//! that has no room for them, goes without.

use bytes::Bytes;
use tidegate_core::TenantId;
use tidegate_protocol::TypedFrame;
use tidegate_protocol::server_frame::typed;

use super::{Shard, ShardInput};
use crate::auth::Principal;
use crate::frame;
use crate::outbox::Owner;
use crate::session::SessionId;

impl Shard {
    /// The name of a connection on the wire. Unique over gateways, too.
    fn connection_id(&self, id: SessionId) -> String {
        format!(
            "{:016x}-{}-{}",
            self.shared.config.gateway_id, self.index, id.serial
        )
    }

    pub(super) fn welcome(&mut self, id: SessionId) {
        let Some(principal) = self.session(id).map(|session| session.principal.clone()) else {
            return;
        };
        let count = self.shared.census.begin_session(&principal.tenant);
        let (name, now) = (self.connection_id(id), self.now_millis());
        self.reply(id, frame::text(&typed::welcome(&name, count, now)));
        if count <= self.limits().announced_sessions_max {
            let joined = typed::user_joined(principal.user.as_str(), &name, now);
            self.tell_others(id, principal.tenant, frame::text(&joined));
        }
    }

    pub(super) fn farewell(&mut self, id: SessionId, principal: &Principal) {
        let left = self.shared.census.end_session(&principal.tenant);
        if !self.is_draining && (1..=self.limits().announced_sessions_max).contains(&left) {
            let (name, now) = (self.connection_id(id), self.now_millis());
            let gone = typed::user_left(principal.user.as_str(), &name, now);
            self.tell_others(id, principal.tenant.clone(), frame::text(&gone));
        }
    }

    fn tell_others(&mut self, id: SessionId, tenant: TenantId, frame: Bytes) {
        let except = Some((self.index, id));
        self.tell_shards(&ShardInput::Broadcast {
            tenant,
            except,
            frame,
        });
    }

    /// Hands a broadcast to every shard, this one included: all get it the same way, after what is
    /// being done now.
    fn tell_shards(&self, input: &ShardInput) {
        let ShardInput::Broadcast {
            tenant,
            except,
            frame,
        } = input
        else {
            return;
        };
        for shard in &self.shared.shards {
            let copy = ShardInput::Broadcast {
                tenant: tenant.clone(),
                except: *except,
                frame: frame.clone(),
            };
            if shard.try_send(copy).is_err() {
                self.metrics.frames_skipped.increment(1);
            }
        }
    }

    pub(super) fn broadcast(
        &mut self,
        tenant: &TenantId,
        except: Option<(usize, SessionId)>,
        frame: &Bytes,
    ) {
        let Some(indexes) = self.by_tenant.get(tenant) else {
            return;
        };
        for (_, index) in indexes {
            let serial = self.sessions[index.0 as usize].serial;
            let id = SessionId {
                index: *index,
                serial,
            };
            if except != Some((self.index, id)) {
                self.outboxes.push(*index, frame.clone(), Owner::BestEffort);
            }
        }
    }

    pub(super) fn on_typed(&mut self, id: SessionId, request: &TypedFrame) {
        let now = self.now_millis();
        let Some(session) = self.open_session(id) else {
            return;
        };
        let payload = match request {
            TypedFrame::Ping => typed::pong(now),
            TypedFrame::Echo(data) => typed::echo_response(data.as_deref(), now),
            TypedFrame::Broadcast(data) => {
                let Principal { tenant, user, .. } = session.principal.clone();
                let payload = typed::broadcast_message(user.as_str(), data.as_deref(), now);
                let frame = frame::text(&payload);
                self.tell_shards(&ShardInput::Broadcast {
                    tenant,
                    except: None,
                    frame,
                });
                return;
            }
            TypedFrame::GetStatus => {
                let tenant = session.principal.tenant.clone();
                let count = self.shared.census.sessions_of(&tenant);
                typed::status(count, count, self.shared.uptime().as_secs_f64(), now)
            }
        };
        self.reply(id, frame::text(&payload));
    }
}
