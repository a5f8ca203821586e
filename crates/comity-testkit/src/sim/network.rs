//! Connections: bytes in order with a delay, until somebody or something cuts them (PROTOCOL §5.1).

use super::gatekeeper::Session;
use super::world::{Event, World};
use bytes::{Bytes, BytesMut};
use comity_engine::Input;
use comity_noise::frame::FrameDecoder;
use comity_noise::{AwaitFinish, Opener};
use comity_xmpp::{Limits, Node};

pub(super) type ConnId = u64;

/// One direction.
#[derive(Default)]
pub(super) struct Way {
    /// When the last of what is under way arrives.
    last: u64,
    /// What would arrive from then on does not.
    pub(super) cut: Option<u64>,
}

impl Way {
    /// When something sent now arrives, if it does.
    fn arrival(&mut self, at: u64) -> Option<u64> {
        self.last = self.last.max(at);
        self.cut.is_none_or(|cut| self.last < cut).then_some(self.last)
    }
}

/// A connection between a device's process and the gatekeeper's.
pub(super) struct Conn {
    pub(super) device: usize,
    /// The client's end is open.
    pub(super) client: bool,
    /// The gatekeeper's end is open.
    pub(super) server: bool,
    pub(super) up: Way,
    pub(super) down: Way,
    buffer: BytesMut,
    pub(super) decoder: FrameDecoder,
    pub(super) finish: Option<AwaitFinish>,
    /// Opens what the client seals, also when nobody acts on it any more: the wire is always looked at.
    pub(super) opener: Option<Opener>,
    pub(super) session: Option<Session>,
}

impl World<'_> {
    pub(super) fn conn(&mut self, id: ConnId) -> &mut Conn {
        self.conns.get_mut(&id).expect("connections stay known")
    }

    fn delay(&mut self, device: usize) -> u64 {
        let delay = self.between(2, 60);
        (self.now + delay).max(self.devices[device].cut_off_until.saturating_add(delay))
    }

    pub(super) fn open(&mut self, device: usize) {
        let id = self.conns.len() as ConnId;
        self.note(format_args!("{device} connects: {id}"));
        let conn = Conn {
            device,
            client: true,
            server: false,
            up: Way::default(),
            down: Way::default(),
            buffer: BytesMut::new(),
            decoder: FrameDecoder::with_prologue(),
            finish: None,
            opener: None,
            session: None,
        };
        self.conns.insert(id, conn);
        self.devices[device].link = Some(id);
        let at = self.delay(device);
        let refused = !self.gatekeeper.up || self.fault(30);
        self.at(at, if refused { Event::GoneAtClient(id) } else { Event::Opened(id) });
    }

    pub(super) fn on_opened(&mut self, id: ConnId) -> bool {
        let up = self.gatekeeper.up;
        let conn = self.conn(id);
        if !conn.client {
            return false;
        }
        let device = conn.device;
        if !up {
            return self.on_gone_at_client(id);
        }
        conn.server = true;
        self.note(format_args!("{device} connected: {id}"));
        self.feed(device, Input::Connected);
        true
    }

    /// The client writes: each time whole frames.
    pub(super) fn transmit(&mut self, id: ConnId, bytes: Bytes) {
        let at = {
            let device = self.conn(id).device;
            self.delay(device)
        };
        let conn = self.conn(id);
        let arrival = conn.up.arrival(at);
        let event = if conn.opener.is_some() {
            let nodes = self.frames(id, &bytes).into_iter().map(|frame| self.look(id, frame)).collect();
            Event::Stanzas(id, nodes)
        } else {
            Event::Hello(id, bytes)
        };
        if let Some(at) = arrival {
            self.at(at, event);
        }
    }

    pub(super) fn frames(&mut self, id: ConnId, bytes: &[u8]) -> Vec<BytesMut> {
        let conn = self.conn(id);
        conn.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = conn.decoder.decode(&mut conn.buffer).expect("frames of our own client") {
            frames.push(frame);
        }
        frames
    }

    /// The stanza in a frame, held against what is durable at this moment.
    fn look(&mut self, id: ConnId, mut frame: BytesMut) -> Node {
        let conn = self.conn(id);
        let device = conn.device;
        conn.opener.as_mut().expect("after the handshake").open(&mut frame).expect("our own client's seal");
        let node = comity_xmpp::decode(&frame, &Limits::default()).expect("our own client's stanza");
        self.check_wire(device, &node);
        node
    }

    /// The gatekeeper writes.
    pub(super) fn deliver(&mut self, id: ConnId, bytes: Bytes) {
        let device = self.conn(id).device;
        let at = self.delay(device);
        let split = (bytes.len() > 1 && self.fault(50)).then(|| self.between(1, bytes.len() as u64 - 1) as usize);
        let mut parts = vec![bytes];
        if let Some(split) = split {
            let rest = parts[0].split_off(split);
            parts.push(rest);
        }
        for part in parts {
            if let Some(at) = self.conn(id).down.arrival(at) {
                self.at(at, Event::Bytes(id, part));
            }
        }
    }

    pub(super) fn on_bytes(&mut self, id: ConnId, bytes: Bytes) -> bool {
        let now = self.now;
        let conn = self.conn(id);
        if !conn.client || conn.down.cut.is_some_and(|cut| now >= cut) {
            return false;
        }
        let device = conn.device;
        self.note(format_args!("{device} < {id}: {}", super::trace::short(&bytes)));
        self.feed(device, Input::Received(bytes));
        true
    }

    /// The client's end is gone: the gatekeeper hears of it behind what is under way, if it does.
    pub(super) fn drop_client(&mut self, id: ConnId) {
        let device = self.conn(id).device;
        let at = self.delay(device);
        let conn = self.conn(id);
        conn.client = false;
        if self.devices[device].link == Some(id) {
            self.devices[device].link = None;
        }
        if let Some(at) = self.conn(id).up.arrival(at) {
            self.at(at, Event::GoneAtGatekeeper(id));
        }
    }

    /// The gatekeeper's end is gone.
    pub(super) fn drop_server(&mut self, id: ConnId) {
        let device = self.conn(id).device;
        let at = self.delay(device);
        let conn = self.conn(id);
        conn.server = false;
        conn.session = None;
        if let Some(at) = conn.down.arrival(at) {
            self.at(at, Event::GoneAtClient(id));
        }
    }

    pub(super) fn on_gone_at_client(&mut self, id: ConnId) -> bool {
        let conn = self.conn(id);
        if !std::mem::take(&mut conn.client) {
            return false;
        }
        let device = conn.device;
        self.devices[device].link = None;
        self.note(format_args!("{device} lost {id}"));
        self.feed(device, Input::Disconnected);
        true
    }

    pub(super) fn on_gone_at_gatekeeper(&mut self, id: ConnId) -> bool {
        let conn = self.conn(id);
        conn.session = None;
        std::mem::take(&mut conn.server)
    }

    /// Breaks a connection with what is under way; both ends hear of it, each in its time, or neither does.
    pub(super) fn cut(&mut self, id: ConnId, heard: bool) {
        let (up, down) = (self.now + self.between(0, 100), self.now + self.between(0, 100));
        let conn = self.conn(id);
        let (up, down) = if heard { (up, down) } else { (conn.up.last.max(1), conn.down.last.max(1)) };
        conn.up.cut.get_or_insert(up);
        conn.down.cut.get_or_insert(down);
        if heard {
            self.at(up, Event::GoneAtGatekeeper(id));
            self.at(down, Event::GoneAtClient(id));
        }
    }
}
