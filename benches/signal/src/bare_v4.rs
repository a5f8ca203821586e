//! libsignal-protocol with its own stores in memory; sessions as bytes between operations.

use crate::TEXT;
use futures_util::FutureExt as _;
use libsignal_protocol::*;
use rand_09::TryRngCore as _;
use rand_09::rngs::OsRng;
use std::time::SystemTime;

#[derive(Clone)]
pub struct Pair {
    ends: [InMemSignalProtocolStore; 2],
    addresses: [ProtocolAddress; 2],
    sessions: [Vec<u8>; 2],
    bundle: PreKeyBundle,
}

impl Pair {
    pub fn new() -> Self {
        let mut rng = OsRng.unwrap_err();
        let device = DeviceId::new(1).unwrap();
        let mut ends = [(); 2].map(|()| InMemSignalProtocolStore::new(IdentityKeyPair::generate(&mut rng), 5).unwrap());
        let (one_time, signed) = (KeyPair::generate(&mut rng), KeyPair::generate(&mut rng));
        let pq = kem::KeyPair::generate(kem::KeyType::Kyber1024, &mut rng);
        let bob = &mut ends[1];
        let identity = bob.get_identity_key_pair().now_or_never().unwrap().unwrap();
        let mut sign = |bytes: &[u8]| identity.private_key().calculate_signature(bytes, &mut rng).unwrap();
        let signature = sign(&signed.public_key.serialize());
        let pq_signature = sign(&pq.public_key.serialize());
        let time = Timestamp::from_epoch_millis(0);
        let record = PreKeyRecord::new(1.into(), &one_time);
        bob.save_pre_key(1.into(), &record).now_or_never().unwrap().unwrap();
        let record = SignedPreKeyRecord::new(1.into(), time, &signed, &signature);
        bob.save_signed_pre_key(1.into(), &record).now_or_never().unwrap().unwrap();
        let record = KyberPreKeyRecord::new(1.into(), time, &pq, &pq_signature);
        bob.save_kyber_pre_key(1.into(), &record).now_or_never().unwrap().unwrap();
        let bundle = PreKeyBundle::new(
            5,
            device,
            Some((1.into(), one_time.public_key)),
            1.into(),
            signed.public_key,
            signature.to_vec(),
            1.into(),
            pq.public_key,
            pq_signature.to_vec(),
            *identity.identity_key(),
        );
        let addresses = ["alice", "bob"].map(|name| ProtocolAddress::new(name.to_owned(), device));
        Self { ends, addresses, sessions: Default::default(), bundle: bundle.unwrap() }
    }

    pub fn talking() -> Self {
        let mut pair = Self::new().establish();
        let answer = pair.encrypt(1);
        pair.decrypt(0, &answer);
        pair
    }

    pub fn establish(mut self) -> Self {
        let (alice, peer, now) = (&mut self.ends[0], &self.addresses[1], SystemTime::UNIX_EPOCH);
        let mut rng = OsRng.unwrap_err();
        let (sessions, identities) = (&mut alice.session_store, &mut alice.identity_store);
        process_prekey_bundle(peer, sessions, identities, &self.bundle, now, &mut rng).now_or_never().unwrap().unwrap();
        self.keep(0);
        self.message();
        self
    }

    pub fn message(&mut self) {
        let sealed = self.encrypt(0);
        self.decrypt(1, &sealed);
    }

    /// Takes the session out of the store as bytes.
    fn keep(&mut self, at: usize) {
        let session = self.ends[at].load_session(&self.addresses[1 - at]).now_or_never().unwrap().unwrap();
        self.sessions[at] = session.unwrap().serialize().unwrap();
    }

    /// Puts it back.
    fn load(&mut self, at: usize) {
        if !self.sessions[at].is_empty() {
            let record = SessionRecord::deserialize(&self.sessions[at]).unwrap();
            self.ends[at].store_session(&self.addresses[1 - at], &record).now_or_never().unwrap().unwrap();
        }
    }

    fn encrypt(&mut self, from: usize) -> Vec<u8> {
        self.load(from);
        let (end, peer, now) = (&mut self.ends[from], &self.addresses[1 - from], SystemTime::UNIX_EPOCH);
        let (sessions, identities) = (&mut end.session_store, &mut end.identity_store);
        let mut rng = OsRng.unwrap_err();
        let sealed = message_encrypt(&TEXT, peer, sessions, identities, now, &mut rng);
        let sealed = sealed.now_or_never().unwrap().unwrap();
        self.keep(from);
        let kind = u8::from(matches!(sealed, CiphertextMessage::PreKeySignalMessage(_)));
        [&[kind], sealed.serialize()].concat()
    }

    fn decrypt(&mut self, at: usize, sealed: &[u8]) {
        self.load(at);
        let (kind, body) = sealed.split_first().unwrap();
        let message = match kind {
            1 => CiphertextMessage::PreKeySignalMessage(body.try_into().unwrap()),
            _ => CiphertextMessage::SignalMessage(body.try_into().unwrap()),
        };
        let (end, mut rng) = (&mut self.ends[at], OsRng.unwrap_err());
        let opened = message_decrypt(
            &message,
            &self.addresses[1 - at],
            &mut end.session_store,
            &mut end.identity_store,
            &mut end.pre_key_store,
            &end.signed_pre_key_store,
            &mut end.kyber_pre_key_store,
            &mut rng,
        );
        assert_eq!(opened.now_or_never().unwrap().unwrap(), TEXT);
        self.keep(at);
    }
}
