//! wacore-libsignal over the least of stores; sessions as bytes between operations.

use crate::TEXT;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use wacore_libsignal::protocol::error::Result;
use wacore_libsignal::protocol::*;

#[derive(Clone)]
struct End {
    identity: IdentityKeyPair,
    one_time: KeyPair,
    signed: KeyPair,
}

#[derive(Clone, Default)]
struct Sessions(Option<SessionRecord>);

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, _: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.clone())
    }

    async fn has_session(&self, _: &ProtocolAddress) -> Result<bool> {
        Ok(self.0.is_some())
    }

    async fn store_session(&mut self, _: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        self.0 = Some(record);
        Ok(())
    }
}

#[async_trait]
impl IdentityKeyStore for End {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.identity.clone())
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(5)
    }

    async fn save_identity(&mut self, _: &ProtocolAddress, _: &IdentityKey) -> Result<IdentityChange> {
        Ok(IdentityChange::NewOrUnchanged)
    }

    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, _: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(None)
    }
}

#[async_trait]
impl PreKeyStore for End {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        Ok(PreKeyRecord::new(id, &self.one_time))
    }

    async fn save_pre_key(&mut self, _: PreKeyId, _: &PreKeyRecord) -> Result<()> {
        Ok(())
    }

    async fn remove_pre_key(&mut self, _: PreKeyId) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl SignedPreKeyStore for End {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        Ok(SignedPreKeyRecord::new(id, Timestamp::from_epoch_millis(0), &self.signed, &[0; 64]))
    }

    async fn save_signed_pre_key(&mut self, _: SignedPreKeyId, _: &SignedPreKeyRecord) -> Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
pub struct Pair {
    ends: [End; 2],
    addresses: [ProtocolAddress; 2],
    sessions: [Vec<u8>; 2],
    bundle: PreKeyBundle,
}

impl Pair {
    pub fn new() -> Self {
        let mut rng = rand::rng();
        let ends = [(); 2].map(|()| End {
            identity: IdentityKeyPair::generate(&mut rng),
            one_time: KeyPair::generate(&mut rng),
            signed: KeyPair::generate(&mut rng),
        });
        let bob = &ends[1];
        let signature =
            bob.identity.private_key().calculate_signature(&bob.signed.public_key.serialize(), &mut rng).unwrap();
        let bundle = PreKeyBundle::new(
            5,
            0.into(),
            Some((1.into(), bob.one_time.public_key)),
            1.into(),
            bob.signed.public_key,
            signature.to_vec(),
            *bob.identity.identity_key(),
        );
        let addresses = ["alice", "bob"].map(|name| ProtocolAddress::new(name, 0.into()));
        Self { ends, addresses, sessions: Default::default(), bundle: bundle.unwrap() }
    }

    pub fn talking() -> Self {
        let mut pair = Self::new().establish();
        let answer = pair.encrypt(1);
        pair.decrypt(0, &answer);
        pair
    }

    pub fn establish(mut self) -> Self {
        let mut sessions = Sessions::default();
        let (end, peer, mut rng) = (&mut self.ends[0], &self.addresses[1], rand::rng());
        process_prekey_bundle(peer, &mut sessions, end, &self.bundle, &mut rng, UsePQRatchet::No)
            .now_or_never()
            .unwrap()
            .unwrap();
        self.sessions[0] = sessions.0.unwrap().serialize().unwrap();
        self.message();
        self
    }

    pub fn message(&mut self) {
        let sealed = self.encrypt(0);
        self.decrypt(1, &sealed);
    }

    fn load(&self, at: usize) -> Sessions {
        let bytes = &self.sessions[at];
        Sessions((!bytes.is_empty()).then(|| {
            let mut record = SessionRecord::deserialize(bytes).unwrap();
            record.waive_counter_lease(); // or each load skips counters
            record
        }))
    }

    fn encrypt(&mut self, from: usize) -> Vec<u8> {
        let mut sessions = self.load(from);
        let (end, peer) = (&mut self.ends[from], &self.addresses[1 - from]);
        let sealed = message_encrypt(&TEXT, peer, &mut sessions, end).now_or_never().unwrap().unwrap();
        self.sessions[from] = sessions.0.unwrap().serialize().unwrap();
        let kind = u8::from(matches!(sealed, CiphertextMessage::PreKeySignalMessage(_)));
        [&[kind], sealed.serialize()].concat()
    }

    fn decrypt(&mut self, at: usize, sealed: &[u8]) {
        let mut sessions = self.load(at);
        let (kind, body) = sealed.split_first().unwrap();
        let message = match kind {
            1 => CiphertextMessage::PreKeySignalMessage(body.try_into().unwrap()),
            _ => CiphertextMessage::SignalMessage(body.try_into().unwrap()),
        };
        let (mut identities, mut pre_keys, signed) = (self.ends[at].clone(), self.ends[at].clone(), &self.ends[at]);
        let mut rng = rand::rng();
        let opened = message_decrypt(
            &message,
            &self.addresses[1 - at],
            &mut sessions,
            &mut identities,
            &mut pre_keys,
            signed,
            &mut rng,
            UsePQRatchet::No,
        );
        assert_eq!(opened.now_or_never().unwrap().unwrap().plaintext, TEXT);
        self.sessions[at] = sessions.0.unwrap().serialize().unwrap();
    }
}
