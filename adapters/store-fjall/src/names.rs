//! The numbers of sessions and logs, and their names: shared by the committer, which gives numbers, and the reader.
//!
//! Invariant: grows with sessions and filters, never with messages.
use crate::key::{LogNumber, SessionNumber};
use mqtt_proto::{ClientId, TopicFilter};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Both directions of both kinds.
#[derive(Default)]
pub(crate) struct Maps {
    sessions: HashMap<ClientId, SessionNumber>,
    clients: HashMap<SessionNumber, ClientId>,
    logs: HashMap<TopicFilter, LogNumber>,
    filters: HashMap<LogNumber, TopicFilter>,
}

#[derive(Clone, Default)]
pub(crate) struct Names(Arc<RwLock<Maps>>);

impl Names {
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.0.read().unwrap_or_else(PoisonError::into_inner) // each change is one step: nobody leaves it half done
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn session(&self, client_id: &ClientId) -> Option<SessionNumber> {
        self.read().sessions.get(client_id).copied()
    }

    pub(crate) fn client(&self, session: SessionNumber) -> Option<ClientId> {
        self.read().clients.get(&session).cloned()
    }

    pub(crate) fn log(&self, filter: &TopicFilter) -> Option<LogNumber> {
        self.read().logs.get(filter).copied()
    }

    pub(crate) fn filter(&self, log: LogNumber) -> Option<TopicFilter> {
        self.read().filters.get(&log).cloned()
    }

    pub(crate) fn add_session(&self, client_id: ClientId, session: SessionNumber) {
        let mut maps = self.write();
        maps.clients.insert(session, client_id.clone());
        maps.sessions.insert(client_id, session);
    }

    pub(crate) fn add_log(&self, filter: TopicFilter, log: LogNumber) {
        let mut maps = self.write();
        maps.filters.insert(log, filter.clone());
        maps.logs.insert(filter, log);
    }

    pub(crate) fn remove_session(&self, client_id: &ClientId) -> Option<SessionNumber> {
        let mut maps = self.write();
        let session = maps.sessions.remove(client_id)?;
        maps.clients.remove(&session);
        Some(session)
    }

    pub(crate) fn remove_log(&self, log: LogNumber) {
        let mut maps = self.write();
        if let Some(filter) = maps.filters.remove(&log) {
            maps.logs.remove(&filter);
        }
    }

    /// All sessions, in the order of their names.
    pub(crate) fn all_sessions(&self) -> Vec<(ClientId, SessionNumber)> {
        let mut all: Vec<_> = self.read().sessions.iter().map(|(name, number)| (name.clone(), *number)).collect();
        all.sort_unstable();
        all
    }

    /// All logs, in the order of their filters.
    pub(crate) fn all_logs(&self) -> Vec<(TopicFilter, LogNumber)> {
        let mut all: Vec<_> = self.read().logs.iter().map(|(name, number)| (name.clone(), *number)).collect();
        all.sort_unstable();
        all
    }
}
