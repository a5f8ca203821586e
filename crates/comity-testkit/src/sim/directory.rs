//! What the simulated gatekeeper stores: users, their published keys, their mailboxes (PROTOCOL §4, §7, §8, §12).

use comity_core::{Jid, PartnerUser, UserNumber};
use comity_xmpp::Node;
use comity_xmpp::stanza::{KeyBundle, KeyUpload, PqPreKeyXml, PreKeyXml, SignedPreKeyXml};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

#[derive(Clone, Default)]
pub(super) struct Db {
    pub(super) users: BTreeMap<Jid, User>,
    /// By place in the order of arrival.
    pub(super) mail: BTreeMap<u64, Rc<Mail>>,
    next_mail: u64,
    /// Who blocks whom.
    pub(super) blocks: BTreeSet<(Jid, Jid)>,
    contacts: BTreeSet<(Jid, Jid)>,
}

#[derive(Clone)]
pub(super) struct User {
    pub(super) visible_id: Option<String>,
    pub(super) noise_key: [u8; 32],
    bundle: Option<Published>,
    one_time: Rc<VecDeque<PreKeyXml>>,
    pq: Rc<VecDeque<PqPreKeyXml>>,
}

#[derive(Clone)]
struct Published {
    registration: u32,
    identity: [u8; 32],
    skey: SignedPreKeyXml,
    pq_last: Option<PqPreKeyXml>,
}

pub(super) struct Mail {
    pub(super) to: Jid,
    pub(super) class: String,
    pub(super) sender: Jid,
    pub(super) id: String,
    /// What tells apart stanzas of one class, sender and id.
    pub(super) kind: String,
    /// As it is delivered.
    pub(super) node: Node,
}

/// The fields of an enlistment.
pub(super) struct Enlistment {
    pub(super) visible_id: String,
    pub(super) noise_key: [u8; 32],
    pub(super) registration: u32,
    pub(super) identity: [u8; 32],
    pub(super) skey: SignedPreKeyXml,
}

impl Db {
    /// Queues a stanza unless it waits already.
    pub(super) fn put(&mut self, mail: Mail) {
        let same = |other: &Rc<Mail>| {
            other.to == mail.to
                && other.class == mail.class
                && other.sender == mail.sender
                && other.id == mail.id
                && other.kind == mail.kind
        };
        if !self.mail.values().any(same) {
            self.next_mail += 1;
            self.mail.insert(self.next_mail, Rc::new(mail));
        }
    }

    pub(super) fn mail_of<'a>(&'a self, to: &'a Jid, after: u64) -> impl Iterator<Item = (u64, &'a Rc<Mail>)> + 'a {
        self.mail.range(after + 1..).filter(move |(_, mail)| mail.to == *to).map(|(seq, mail)| (*seq, mail))
    }

    /// A message was answered: it and its re-encryptions leave.
    pub(super) fn remove_message(&mut self, to: &Jid, sender: &Jid, id: &str) {
        self.mail.retain(|_, m| !(m.to == *to && m.class == "message" && m.sender == *sender && m.id == id));
    }

    /// Another stanza was answered: the first that fits leaves.
    pub(super) fn remove(&mut self, to: &Jid, class: &str, sender: &Jid, id: &str, kind: Option<&str>) {
        let fits = |m: &Mail| {
            let of_kind = kind.is_none_or(|kind| m.kind == kind || m.kind.starts_with(&format!("{kind}#")));
            m.to == *to && m.class == class && m.sender == *sender && m.id == id && of_kind
        };
        let found = self.mail.iter().filter(|(_, m)| fits(m)).min_by_key(|(seq, m)| (!m.kind.is_empty(), **seq));
        if let Some(seq) = found.map(|(seq, _)| *seq) {
            self.mail.remove(&seq);
        }
    }

    pub(super) fn befriend(&mut self, a: &Jid, b: &Jid) {
        self.contacts.insert((a.clone(), b.clone()));
        self.contacts.insert((b.clone(), a.clone()));
    }

    pub(super) fn contacts(&self, of: &Jid) -> Vec<Jid> {
        self.contacts.iter().filter(|(a, _)| a == of).map(|(_, b)| b.clone()).collect()
    }

    /// A native user, or that user's new device.
    pub(super) fn register(&mut self, jid: &Jid, noise_key: [u8; 32]) {
        let user = self.users.entry(jid.clone()).or_insert_with(|| User {
            visible_id: None,
            noise_key,
            bundle: None,
            one_time: Rc::default(),
            pq: Rc::default(),
        });
        user.noise_key = noise_key;
    }

    /// Enlists a partner's user, or that user's new device: the id, and whether the identity is another than before.
    pub(super) fn enlist(
        &mut self,
        e: Enlistment,
        number: UserNumber,
        integrator: comity_core::IntegratorId,
    ) -> (Jid, bool) {
        let known = self.users.iter().find(|(_, user)| user.visible_id.as_ref() == Some(&e.visible_id));
        let jid = known.map_or_else(|| PartnerUser { integrator, number }.jid(), |(jid, _)| jid.clone());
        let user = self.users.entry(jid.clone()).or_insert_with(|| User {
            visible_id: Some(e.visible_id),
            noise_key: e.noise_key,
            bundle: None,
            one_time: Rc::default(),
            pq: Rc::default(),
        });
        user.noise_key = e.noise_key;
        let same = user.bundle.as_ref().is_some_and(|b| b.identity == e.identity);
        let changed = user.bundle.is_some() && !same;
        if !same {
            user.one_time = Rc::default();
            user.pq = Rc::default();
        }
        let pq_last = user.bundle.take().filter(|_| same).and_then(|b| b.pq_last);
        user.bundle = Some(Published { registration: e.registration, identity: e.identity, skey: e.skey, pq_last });
        (jid, changed)
    }

    /// Adds to what is published; whether the identity is another than before.
    pub(super) fn upload(&mut self, of: &Jid, upload: KeyUpload) -> bool {
        let Some(user) = self.users.get_mut(of) else { return false };
        let changed = user.bundle.as_ref().is_some_and(|b| b.identity != upload.identity);
        if changed {
            user.one_time = Rc::default();
            user.pq = Rc::default();
        }
        let before = user.bundle.take().filter(|_| !changed).and_then(|b| b.pq_last);
        user.bundle = Some(Published {
            registration: upload.registration,
            identity: upload.identity,
            skey: upload.skey,
            pq_last: upload.pq_last.or(before),
        });
        Rc::make_mut(&mut user.one_time).extend(upload.keys);
        Rc::make_mut(&mut user.pq).extend(upload.pq_keys);
        changed
    }

    pub(super) fn key_count(&self, of: &Jid) -> u32 {
        self.users.get(of).map_or(0, |user| u32::try_from(user.one_time.len()).unwrap_or(u32::MAX))
    }

    /// Hands a bundle out, with one-time keys that nobody gets again.
    pub(super) fn fetch(&mut self, of: &Jid) -> Option<KeyBundle> {
        let user = self.users.get_mut(of)?;
        let bundle = user.bundle.clone()?;
        let pq = bundle.pq_last.and_then(|last| Rc::make_mut(&mut user.pq).pop_front().or(Some(last)));
        Some(KeyBundle {
            registration: bundle.registration,
            identity: bundle.identity,
            key: Rc::make_mut(&mut user.one_time).pop_front(),
            skey: bundle.skey,
            pqkey: pq,
        })
    }

    /// Strangers fetch keys until so many are left.
    pub(super) fn deplete(&mut self, of: &Jid, left: usize) {
        if let Some(user) = self.users.get_mut(of) {
            let keep = |len: usize| len.saturating_sub(left);
            let (one_time, pq) = (Rc::make_mut(&mut user.one_time), Rc::make_mut(&mut user.pq));
            one_time.drain(..keep(one_time.len()));
            pq.drain(..keep(pq.len()));
        }
    }
}
