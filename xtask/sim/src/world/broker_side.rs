//! The machines of the brokers, between the network and their disks.
use super::*;

impl World {
    pub(super) fn start(&mut self, node: usize) {
        let entry = &mut self.nodes[node];
        entry.up_at = None;
        entry.starts += 1;
        let seed = [entry.starts; 32];
        let machine = Broker::restore(
            entry.config.clone(),
            seed,
            self.now,
            entry.wall + (self.now - START),
            entry.disk.contents(),
        );
        entry.machine = Some(machine);
        self.trace.add(self.now, format_args!("broker {node} starts"));
    }

    pub(super) fn serve_node(&mut self, node: usize) -> bool {
        let now = self.now;
        let slow = self.scenario.faults.slow_disk && self.troubled;
        let mut any = false;
        if self.nodes[node].stalled_until.is_some() {
            return false;
        }
        while let Some(output) = self.nodes[node].machine.as_mut().and_then(Broker::poll_output) {
            any = true;
            if let Some(left) = &mut self.nodes[node].doomed {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.crash(node, Some(output)); // with this output not carried out, nor any behind it
                    break;
                }
            }
            let link_of = |conn: &ConnId| self.nodes[node].links.get(conn).copied();
            match output {
                broker::Output::Writable(conn) => {
                    if let Some(key) = link_of(&conn) {
                        self.broker_writes(key);
                    }
                }
                broker::Output::Readable(conn) => {
                    if let Some(key) = link_of(&conn) {
                        self.broker_reads(key);
                    }
                }
                broker::Output::Close(conn) => match link_of(&conn) {
                    Some(key) => {
                        self.broker_writes(key);
                        self.broker_hangs_up(key);
                    }
                    None => {
                        if let Some(machine) = &mut self.nodes[node].machine {
                            machine.handle_closed(now, conn);
                        }
                    }
                },
                broker::Output::Request(Request::Store(batch)) => {
                    self.nodes[node].disk.write(now, batch, slow, &mut self.net);
                }
                broker::Output::Request(Request::Load(request)) => {
                    self.nodes[node].disk.load(now, request, slow, &mut self.disks);
                }
                broker::Output::Request(Request::Authenticate(asked)) => {
                    let grant = Arc::new(Grant::everything().ask());
                    let outcome = AuthOutcome::Accept { identity: None, grant, data: None };
                    self.answer(node, Completion::Authenticated { id: asked.id, outcome });
                }
                broker::Output::Request(Request::Authorize { id, .. }) => {
                    let cache_for = Duration::from_millis(self.net.below(2) * 500);
                    self.answer(node, Completion::Authorized { id, decision: Decision::Allow, cache_for });
                }
                broker::Output::Event(event) => self.note(node, &event),
                other => self.trace.add(now, format_args!("broker {node}: {other:?}")),
            }
        }
        any
    }

    pub(super) fn note(&mut self, node: usize, event: &broker::Event) {
        self.trace.add(self.now, format_args!("broker {node}: {event:?}"));
        let now = self.now;
        match event {
            broker::Event::Disconnected { client_id, reason, .. } => {
                let Some(actor) = self.actors.iter_mut().find(|actor| actor.machine.client_id() == client_id) else {
                    return;
                };
                let lost = *reason != DisconnectReason::Client(ReasonCode::Success);
                let taken_over = matches!(reason, DisconnectReason::Server(ReasonCode::SessionTakenOver, _));
                actor.diary.missed_goodbyes += u32::from(lost && !taken_over);
                let will_at = lost.then(|| now + actor.will_delay.min(actor.session_expiry));
                self.present.remove(&actor.index);
                self.parted.insert(actor.index, Parted { at: now, will_at });
            }
            broker::Event::Connected { client_id, session_present, .. } => {
                let Some(actor) = self.actors.iter_mut().find(|actor| actor.machine.client_id() == client_id) else {
                    return;
                };
                self.present.insert(actor.index);
                if !session_present {
                    actor.diary.renewed.push(now);
                }
                let Some(parted) = self.parted.remove(&actor.index) else { return };
                actor.diary.losses.extend(parted.will_at.filter(|at| *at <= now));
                if *session_present != (now < parted.at + actor.session_expiry) {
                    let away = now - parted.at;
                    let what = format!("after {away:?} away its session is there: {session_present}");
                    actor.diary.misjudged.push(what);
                }
            }
            _ => self.count_dropped(event),
        }
    }

    /// What a broker that crashes would have said, about things that it may have stored.
    pub(super) fn last_words(&mut self, event: &broker::Event) {
        if let broker::Event::Connected { client_id, session_present: false, .. } = event
            && let Some(actor) = self.actors.iter_mut().find(|actor| actor.machine.client_id() == client_id)
        {
            actor.diary.renewed.push(self.now);
        }
        self.count_dropped(event);
    }

    /// Counts what full queues lose, as the broker tells it: of the log of a group at once, of a session when it reads.
    pub(super) fn count_dropped(&mut self, event: &broker::Event) {
        if let broker::Event::Dropped { receiver, reason: DropReason::SlowReceiver, .. } = event {
            self.slow.insert(receiver.to_string());
        }
        if let broker::Event::Dropped { receiver, count, reason } = event
            && *reason == if receiver.starts_with('$') { DropReason::LogFull } else { DropReason::QueueFull }
        {
            *self.dropped.entry(receiver.to_string()).or_default() += count;
            if !self.troubled {
                *self.dropped_late.entry(receiver.to_string()).or_default() += count;
            }
        }
    }

    /// Wills whose time has come by now.
    pub(super) fn fire_wills(&mut self) {
        for (index, parted) in &self.parted {
            self.actors[*index].diary.losses.extend(parted.will_at.filter(|at| *at <= self.now));
        }
    }

    /// An answer from outside, in its time.
    fn answer(&mut self, node: usize, completion: Completion) {
        let most = if self.troubled { 300_000_000 } else { 1_000_000 };
        let at = self.now + Duration::from_nanos(self.net.below(most));
        let node = &mut self.nodes[node];
        node.next_answer += 1;
        node.answers.insert((at, node.next_answer), completion);
    }

    pub(super) fn broker_writes(&mut self, key: u64) {
        let now = self.now;
        loop {
            let delay = self.delay();
            let Some(link) = self.links.get(&key) else { return };
            let (room, broker) = (link.down.room(), link.broker);
            if self.nodes[broker].stalled_until.is_some() {
                return;
            }
            let (Some(conn), Some(machine)) = (link.conn, &self.nodes[broker].machine) else { return };
            let Some(chunk) = machine.transmit(conn).chunks().next().map(<[u8]>::to_vec) else { return };
            let count = self.portion(chunk.len().min(room));
            let Some(link) = self.links.get_mut(&key) else { return };
            link.down.blocked = count == 0;
            if count == 0 {
                return;
            }
            link.down.send(now + delay, &chunk[..count]);
            if let Some(machine) = &mut self.nodes[broker].machine {
                machine.transmitted(now, conn, count);
            }
        }
    }

    pub(super) fn broker_reads(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        let Node { machine: Some(machine), links, stalled_until: None, .. } = &mut self.nodes[link.broker] else {
            return;
        };
        let before = link.up.arrived.len();
        if let Some(greeting) = &mut link.greeting {
            match greeting.handle_input(&mut link.up.arrived) {
                Ok(None) => {}
                Ok(Some(connect)) => {
                    let conn = machine.handle_open(now, Peer::default(), connect);
                    link.greeting = None;
                    link.conn = Some(conn);
                    links.insert(conn, key);
                }
                Err(refusal) => {
                    link.down.send(now, &refusal.reply);
                    return self.broker_hangs_up(key);
                }
            }
        }
        if let Some(conn) = link.conn {
            machine.handle_input(now, conn, &mut link.up.arrived);
        }
        link.up.taken(before);
        if link.up.blocked
            && link.up.room() > 0
            && let Owner::Client(index) = link.owner
            && !self.actors[index].is_frozen(now)
        {
            self.client_writes(index);
        }
    }

    /// The broker's end learns that the connection is gone.
    pub(super) fn broker_loses(&mut self, key: u64) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&key) else { return };
        link.broker_gone = true;
        link.greeting = None;
        if let Some(conn) = link.conn.take() {
            let node = &mut self.nodes[link.broker];
            node.links.remove(&conn);
            if let Some(machine) = &mut node.machine {
                machine.handle_closed(now, conn);
            }
        }
        self.forget(key);
    }

    /// The broker closes: what it wrote still arrives, then the client learns it.
    pub(super) fn broker_hangs_up(&mut self, key: u64) {
        let delay = self.delay();
        let Some(link) = self.links.get_mut(&key) else { return };
        let last = link.down.next_arrival().unwrap_or(self.now).max(self.now);
        link.reset_at = Some(last + delay + Duration::from_millis(1));
        link.up.lose();
        link.up.dead = true;
        self.broker_loses(key);
    }

    pub(super) fn check_budget(&self, node: usize) -> Result<(), Violation> {
        let Node { machine: Some(machine), config, links, .. } = &self.nodes[node] else { return Ok(()) };
        let stats = machine.stats();
        if stats.queued_bytes > config.max_queued_bytes {
            return Err(violation("budget", format!("broker {node} holds {} bytes of messages", stats.queued_bytes)));
        }
        // One message for each connection, and one that is read back, may come on top.
        let largest = 4096 * (links.len() as u64 + 1);
        if stats.memory_bytes > config.max_memory_bytes + largest {
            let what = format!("broker {node} has {} bytes of messages in memory", stats.memory_bytes);
            return Err(violation("budget", what));
        }
        // Acknowledgments and one pull may come on top of the limit.
        let most = config.connection.max_transmit_bytes + 512 * 1024;
        match links.keys().map(|conn| machine.transmit(*conn).len()).max() {
            Some(bytes) if bytes > most => Err(violation("budget", format!("{bytes} bytes wait for one socket"))),
            _ => Ok(()),
        }
    }
}
