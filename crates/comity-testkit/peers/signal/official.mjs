// Line-delimited JSON peer around the official @signalapp/libsignal-client.
// Protocol: see README.md. Test use only.
//
// PEER_ROOT is the directory whose node_modules holds the library; call shapes
// are chosen from the functions' parameter names, so that one script fits all versions.
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { randomInt } from 'node:crypto';

for (const m of ['log', 'info', 'warn', 'debug']) console[m] = (...a) => console.error(...a);

const libPath = resolve(process.env.PEER_ROOT, 'node_modules/@signalapp/libsignal-client/dist/index.js');
const loaded = await import(pathToFileURL(libPath).href);
const S = loaded.PrivateKey ? loaded : loaded.default;
const LIB_VERSION = JSON.parse(
  readFileSync(resolve(dirname(libPath), '..', 'package.json'), 'utf8'),
).version;

const b64 = (u8) => Buffer.from(u8).toString('base64');
// Older versions demand Buffer, newer ones Uint8Array; a Buffer is both.
const un64 = (s) => Buffer.from(s, 'base64');
const addrKey = (a) => `${a.name()}.${a.deviceId()}`;
const toAddr = (a) => S.ProtocolAddress.new(a.name, a.device_id);

class PeerError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

class Sessions extends S.SessionStore {
  map = new Map();
  async saveSession(a, r) { this.map.set(addrKey(a), Buffer.from(r.serialize())); }
  async getSession(a) {
    const r = this.map.get(addrKey(a));
    return r ? S.SessionRecord.deserialize(r) : null;
  }
  async getExistingSessions(addrs) {
    return addrs.map((a) => {
      const r = this.map.get(addrKey(a));
      if (!r) throw new Error(`no session for ${addrKey(a)}`);
      return S.SessionRecord.deserialize(r);
    });
  }
}

const CHANGE = S.IdentityChange ?? { NewOrUnchanged: false, ReplacedExisting: true };
class Identities extends S.IdentityKeyStore {
  map = new Map();
  constructor(key, registrationId) { super(); this.key = key; this.registrationId = registrationId; }
  async getIdentityKey() { return this.key; }
  async getLocalRegistrationId() { return this.registrationId; }
  async saveIdentity(a, k) {
    const old = this.map.get(addrKey(a));
    const now = Buffer.from(k.serialize());
    this.map.set(addrKey(a), now);
    return old && !old.equals(now) ? CHANGE.ReplacedExisting : CHANGE.NewOrUnchanged;
  }
  async isTrustedIdentity(a, k) {
    const old = this.map.get(addrKey(a));
    return !old || old.equals(Buffer.from(k.serialize()));
  }
  async getIdentity(a) {
    const k = this.map.get(addrKey(a));
    return k ? S.PublicKey.deserialize(k) : null;
  }
}

function recordStore(Base, cls, label) {
  return class extends Base {
    map = new Map();
    put(id, r) { this.map.set(id, Buffer.from(r.serialize())); }
    get(id) {
      const r = this.map.get(id);
      if (!r) throw new Error(`no ${label} ${id}`);
      return cls.deserialize(r);
    }
  };
}
class PreKeys extends recordStore(S.PreKeyStore, S.PreKeyRecord, 'pre key') {
  async savePreKey(id, r) { this.put(id, r); }
  async getPreKey(id) { return this.get(id); }
  async removePreKey(id) { this.map.delete(id); }
}
class SignedPreKeys extends recordStore(S.SignedPreKeyStore, S.SignedPreKeyRecord, 'signed pre key') {
  async saveSignedPreKey(id, r) { this.put(id, r); }
  async getSignedPreKey(id) { return this.get(id); }
}
// Versions before 0.24 know nothing of Kyber.
const HAS_KYBER = S.KyberPreKeyStore !== undefined;
class KyberPreKeys extends recordStore(S.KyberPreKeyStore ?? class {}, S.KyberPreKeyRecord, 'kyber pre key') {
  used = new Set();
  async saveKyberPreKey(id, r) { this.put(id, r); }
  async getKyberPreKey(id) { return this.get(id); }
  async markKyberPreKeyUsed(id) { this.used.add(id); }
}
class SenderKeys extends S.SenderKeyStore {
  map = new Map();
  async saveSenderKey(sender, dist, r) { this.map.set(`${addrKey(sender)}/${dist}`, Buffer.from(r.serialize())); }
  async getSenderKey(sender, dist) {
    const r = this.map.get(`${addrKey(sender)}/${dist}`);
    return r ? S.SenderKeyRecord.deserialize(r) : null;
  }
}

// Arity of each call tells which shape this version of the library has.
const NEEDS_LOCAL = {
  process: /\blocalAddress\b/.test(S.processPreKeyBundle.toString().split('{')[0]),
  encrypt: /\blocalAddress\b/.test(S.signalEncrypt.toString().split('{')[0]),
  decrypt: /\blocalAddress\b/.test(S.signalDecrypt.toString().split('{')[0]),
  decryptPre: /\blocalAddress\b/.test(S.signalDecryptPreKey.toString().split('{')[0]),
};
// X3DH (3) was dropped in 0.75, PQXDH (4) arrived in 0.24.
const MINOR = Number(LIB_VERSION.split('.')[1]);
const PROTOCOLS = [...(MINOR < 75 ? [3] : []), ...(MINOR >= 24 ? [4] : [])];
const NEEDS_PQ_FLAG = /usePqRatchet/i.test(S.processPreKeyBundle.toString().split('{')[0]);
const PQ_ON = S.UsePQRatchet ? S.UsePQRatchet.Yes : true;
const local = (flag, me) => (flag ? [me.address] : []);
const pq = () => (NEEDS_PQ_FLAG ? [PQ_ON] : []);

function makeParty({ name, device_id, registration_id, identity_private }) {
  const key = identity_private
    ? S.PrivateKey.deserialize(un64(identity_private))
    : S.PrivateKey.generate();
  const registrationId = registration_id ?? randomInt(1, 16380);
  return {
    address: S.ProtocolAddress.new(name, device_id),
    name, device_id, registrationId, key,
    sessions: new Sessions(),
    identities: new Identities(key, registrationId),
    preKeys: new PreKeys(), signedPreKeys: new SignedPreKeys(), kyberPreKeys: new KyberPreKeys(),
    senderKeys: new SenderKeys(),
    nextId: 1,
  };
}

async function makeBundle(me, oneTime, kyber = HAS_KYBER) {
  const id = me.nextId++;
  const signed = S.PrivateKey.generate();
  const signedPub = signed.getPublicKey();
  const signedSig = me.key.sign(signedPub.serialize());
  await me.signedPreKeys.saveSignedPreKey(
    id, S.SignedPreKeyRecord.new(id, Date.now(), signedPub, signed, signedSig));
  let pre_key = null;
  if (oneTime) {
    const k = S.PrivateKey.generate();
    await me.preKeys.savePreKey(id, S.PreKeyRecord.new(id, k.getPublicKey(), k));
    pre_key = { id, key: b64(k.getPublicKey().serialize()) };
  }
  let kyber_pre_key = null;
  if (kyber) {
    const kem = S.KEMKeyPair.generate();
    const kemPub = kem.getPublicKey();
    const kemSig = me.key.sign(kemPub.serialize());
    await me.kyberPreKeys.saveKyberPreKey(id, S.KyberPreKeyRecord.new(id, Date.now(), kem, kemSig));
    kyber_pre_key = { id, key: b64(kemPub.serialize()), signature: b64(kemSig) };
  }
  return {
    registration_id: me.registrationId,
    device_id: me.device_id,
    identity_key: b64(me.key.getPublicKey().serialize()),
    signed_pre_key: { id, key: b64(signedPub.serialize()), signature: b64(signedSig) },
    pre_key,
    kyber_pre_key,
  };
}

function parseBundle(b) {
  const kyber = b.kyber_pre_key
    ? [b.kyber_pre_key.id, S.KEMPublicKey.deserialize(un64(b.kyber_pre_key.key)), un64(b.kyber_pre_key.signature)]
    : HAS_KYBER ? [null, null, null] : [];
  return S.PreKeyBundle.new(
    b.registration_id, b.device_id,
    b.pre_key ? b.pre_key.id : null,
    b.pre_key ? S.PublicKey.deserialize(un64(b.pre_key.key)) : null,
    b.signed_pre_key.id,
    S.PublicKey.deserialize(un64(b.signed_pre_key.key)),
    un64(b.signed_pre_key.signature),
    S.PublicKey.deserialize(un64(b.identity_key)),
    ...kyber);
}

const processBundle = (me, remote, bundle) =>
  S.processPreKeyBundle(bundle, remote, ...local(NEEDS_LOCAL.process, me), me.sessions, me.identities, ...pq());
const encrypt = (me, remote, data) =>
  S.signalEncrypt(data, remote, ...local(NEEDS_LOCAL.encrypt, me), me.sessions, me.identities);
const decryptSignal = (me, remote, body) =>
  S.signalDecrypt(S.SignalMessage.deserialize(body), remote, ...local(NEEDS_LOCAL.decrypt, me), me.sessions, me.identities);
const decryptPre = (me, remote, body) =>
  S.signalDecryptPreKey(
    S.PreKeySignalMessage.deserialize(body), remote, ...local(NEEDS_LOCAL.decryptPre, me),
    me.sessions, me.identities, me.preKeys, me.signedPreKeys, ...(HAS_KYBER ? [me.kyberPreKeys] : []), ...pq());

let me = null;
const needMe = () => { if (!me) throw new PeerError('not_initialised', 'send init first'); return me; };

const commands = {
  hello: async () => ({
    impl: 'official', version: LIB_VERSION, protocol: PROTOCOLS,
    caps: ['session', 'group', 'fingerprint'],
  }),
  init: async (q) => {
    me = makeParty(q);
    return {
      name: me.name, device_id: me.device_id, registration_id: me.registrationId,
      identity_key: b64(me.key.getPublicKey().serialize()),
    };
  },
  bundle: async (q) => ({ bundle: await makeBundle(needMe(), q.one_time ?? true, q.kyber ?? HAS_KYBER) }),
  process_bundle: async (q) => { await processBundle(needMe(), toAddr(q.remote), parseBundle(q.bundle)); return {}; },
  encrypt: async (q) => {
    const m = await encrypt(needMe(), toAddr(q.remote), un64(q.plaintext));
    return { type: m.type() === S.CiphertextMessageType.PreKey ? 'prekey' : 'signal', body: b64(m.serialize()) };
  },
  decrypt: async (q) => {
    const f = q.type === 'prekey' ? decryptPre : decryptSignal;
    return { plaintext: b64(await f(needMe(), toAddr(q.remote), un64(q.body))) };
  },
  inspect: async (q) => {
    if (q.type === 'prekey') {
      const m = S.PreKeySignalMessage.deserialize(un64(q.body));
      return { version: m.version(), registration_id: m.registrationId(), pre_key_id: m.preKeyId(), signed_pre_key_id: m.signedPreKeyId() };
    }
    const m = S.SignalMessage.deserialize(un64(q.body));
    return { version: m.messageVersion(), counter: m.counter(), pq_ratchet_len: m.pqRatchet?.().length ?? 0 };
  },
  session: async (q) => {
    const r = await needMe().sessions.getSession(toAddr(q.remote));
    return r
      ? { exists: true, usable: r.hasCurrentState(), record_len: r.serialize().length, remote_registration_id: r.hasCurrentState() ? r.remoteRegistrationId() : null }
      : { exists: false, usable: false, record_len: 0 };
  },
  session_archive: async (q) => {
    const r = await needMe().sessions.getSession(toAddr(q.remote));
    if (!r) throw new PeerError('no_session', 'no session');
    r.archiveCurrentState();
    await me.sessions.saveSession(toAddr(q.remote), r);
    return {};
  },
  group_create: async (q) => {
    const m = await S.SenderKeyDistributionMessage.create(needMe().address, q.group, me.senderKeys);
    return { skdm: b64(m.serialize()) };
  },
  group_process: async (q) => {
    await S.processSenderKeyDistributionMessage(
      toAddr(q.sender), S.SenderKeyDistributionMessage.deserialize(un64(q.skdm)), needMe().senderKeys);
    return {};
  },
  group_encrypt: async (q) => {
    const m = await S.groupEncrypt(needMe().address, q.group, me.senderKeys, un64(q.plaintext));
    return { body: b64(m.serialize()) };
  },
  group_decrypt: async (q) => ({
    plaintext: b64(await S.groupDecrypt(toAddr(q.sender), needMe().senderKeys, un64(q.body))),
  }),
  fingerprint: async (q) => {
    const f = S.Fingerprint.new(
      q.iterations ?? 5200, q.version ?? 2, Buffer.from(q.local_id), needMe().key.getPublicKey(),
      Buffer.from(q.remote_id), S.PublicKey.deserialize(un64(q.remote_key)));
    return {
      display: f.displayableFingerprint().toString(),
      scannable: b64(f.scannableFingerprint().toBuffer()),
    };
  },
  quit: async () => { setImmediate(() => process.exit(0)); return {}; },
};

const rl = createInterface({ input: process.stdin, crlfDelay: Infinity });
for await (const line of rl) {
  if (!line.trim()) continue;
  let id = null;
  let reply;
  try {
    const q = JSON.parse(line);
    id = q.id ?? null;
    const f = Object.hasOwn(commands, q.cmd) ? commands[q.cmd] : null;
    if (!f) throw new PeerError('unknown_command', String(q.cmd));
    reply = { id, ok: true, ...(await f(q)) };
  } catch (e) {
    const code = e.code !== undefined && S.ErrorCode ? (S.ErrorCode[e.code] ?? e.code) : (e.code ?? e.name);
    reply = { id, ok: false, error: { code: String(code), message: String(e.message ?? e) } };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
