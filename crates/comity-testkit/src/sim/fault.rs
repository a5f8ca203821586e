//! What goes wrong, and the end of it.

use super::world::{Event, World};
use comity_xmpp::stanza::StreamError;
use rand::RngExt as _;

impl World<'_> {
    pub(super) fn on_fault(&mut self) {
        let device = self.rng.random_range(0..self.devices.len());
        let link = self.devices[device].link;
        match self.rng.random_range(0..100_u32) {
            0..26 => {
                self.note(format_args!("fault: {device} is killed"));
                self.crash(device);
            }
            26..36 if self.gatekeeper.up => {
                self.note(format_args!("fault: the gatekeeper is killed"));
                self.kill_gatekeeper();
                let wait = self.between(50, 4_000);
                self.later(wait, Event::GatekeeperStart);
            }
            36..46 => {
                self.note(format_args!("fault: {device} is cut off"));
                self.counts.partitions += 1;
                let wait = self.between(200, 12_000);
                self.devices[device].cut_off_until = self.now + wait;
            }
            46..58 => {
                if let Some(link) = link {
                    self.note(format_args!("fault: {link} breaks"));
                    self.counts.breaks += 1;
                    self.cut(link, true);
                }
            }
            58..62 => {
                if let Some(link) = link {
                    self.note(format_args!("fault: {link} is half open"));
                    self.counts.half_open += 1;
                    self.cut(link, false);
                }
            }
            62..70 => {
                self.note(format_args!("fault: the store of {device} is full"));
                self.devices[device].store.full_until = self.now + self.rng.random_range(20..3_000);
            }
            70..73 => {
                self.note(format_args!("fault: the store of {device} cannot be read"));
                self.devices[device].store.unreadable_until = self.now + self.rng.random_range(20..1_000);
            }
            73..82 => self.replay(),
            82..88 => {
                self.note(format_args!("fault: strangers take the keys of {device}"));
                if let Some(jid) = self.devices[device].jid.clone() {
                    let left = self.rng.random_range(0..12);
                    self.gatekeeper.db.deplete(&jid, left);
                    self.low_water(&jid);
                }
            }
            88..92 => {
                let jid = self.devices[device].jid.as_ref();
                let live = jid.and_then(|jid| self.gatekeeper.live.get(jid)).copied();
                if let Some(conn) = live {
                    self.note(format_args!("fault: {device} is replaced"));
                    self.counts.replaced += 1;
                    self.end(conn, &StreamError::replaced());
                }
            }
            92..96 if self.devices[device].jid.is_some() && self.devices[device].installation < 2 => {
                self.note(format_args!("fault: {device} is installed anew"));
                self.counts.identity_changes += 1;
                self.crash(device);
                let it = &mut self.devices[device];
                it.installation += 1;
                it.store.wipe();
                it.app.forget();
                it.given = Default::default();
            }
            _ => {}
        }
    }

    fn crash(&mut self, device: usize) {
        if self.devices[device].engine.is_some() {
            self.counts.client_crashes += 1;
            self.kill(device);
            let wait = if self.rng.random_ratio(3, 4) { self.between(10, 500) } else { self.between(500, 8_000) };
            self.later(wait, Event::Restart(device));
        }
    }

    /// From now on nothing goes wrong any more; what is broken is repaired.
    pub(super) fn calm_down(&mut self) {
        self.note(format_args!("no faults any more"));
        self.calm = true;
        if !self.gatekeeper.up {
            self.later(100, Event::GatekeeperStart);
        }
        for device in 0..self.devices.len() {
            let it = &mut self.devices[device];
            it.cut_off_until = 0;
            it.store.full_until = 0;
            it.store.unreadable_until = 0;
            self.later(100, Event::Restart(device));
        }
    }
}
