// Line-delimited JSON peer around the JavaScript v3 (X3DH) library `libsignal`
// and the WhatsApp-style group cipher of `baileys`. Protocol: see README.md.
// Test use only. PEER_ROOT is the directory whose node_modules holds both packages.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { randomInt } from 'node:crypto';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

// The library logs whole session objects (private keys included) with
// console.info; keep them off stdout, which carries replies only.
const quiet = process.env.PEER_VERBOSE ? (...a) => console.error(...a) : () => {};
for (const m of ['log', 'info', 'warn', 'debug']) console[m] = quiet;
if (!process.env.PEER_VERBOSE) console.error = () => {};

const ROOT = resolve(process.env.PEER_ROOT);
const require = createRequire(`${ROOT}/node_modules/`);
const baileys = (path) => import(pathToFileURL(`${ROOT}/node_modules/baileys/lib/${path}`).href);
const L = require('libsignal');
const LIB_VERSION = require('libsignal/package.json').version;
const protobufs = require('libsignal/src/protobufs.js');
const G = await baileys('Signal/Group/index.js');
const { SenderKeyName } = await baileys('Signal/Group/sender-key-name.js');
const { SenderKeyRecord } = await baileys('Signal/Group/sender-key-record.js');
const { BufferJSON } = await baileys('Utils/generics.js');

const b64 = (u8) => Buffer.from(u8).toString('base64');
const un64 = (s) => Buffer.from(s, 'base64');
const toAddr = (a) => new L.ProtocolAddress(a.name, a.device_id);

class PeerError extends Error {
  constructor(code, message) { super(message); this.code = code; }
}

// The identity callbacks receive a bare user id from some call sites and
// "id.device" from others; key on the bare id for both.
const bareId = (s) => String(s).replace(/\.\d+$/, '');

class Store {
  sessions = new Map(); preKeys = new Map(); signedPreKeys = new Map();
  identities = new Map(); senderKeys = new Map();
  constructor(identity, registrationId) { this.identity = identity; this.registrationId = registrationId; }
  getOurIdentity() { return this.identity; }
  getOurRegistrationId() { return this.registrationId; }
  async loadSession(addr) {
    const s = this.sessions.get(addr);
    return s ? L.SessionRecord.deserialize(JSON.parse(s)) : undefined;
  }
  async storeSession(addr, record) { this.sessions.set(addr, JSON.stringify(record.serialize())); }
  isTrustedIdentity(id, key) {
    const old = this.identities.get(bareId(id));
    if (!old) { this.identities.set(bareId(id), Buffer.from(key)); return true; }
    return old.equals(Buffer.from(key));
  }
  async loadPreKey(id) { return this.preKeys.get(id); }
  async removePreKey(id) { this.preKeys.delete(id); }
  async loadSignedPreKey(id) { return this.signedPreKeys.get(id); }
  async loadSenderKey(name) {
    const s = this.senderKeys.get(name.toString());
    return s ? SenderKeyRecord.deserialize(Buffer.from(s)) : new SenderKeyRecord();
  }
  async storeSenderKey(name, record) {
    // Without the replacer a skipped key's seed comes back as a plain object and
    // any out-of-order message fails (baileys 7.0.0-rc14 stores it that way).
    const plain = process.env.PEER_BAILEYS_STORE ? undefined : BufferJSON.replacer;
    this.senderKeys.set(name.toString(), JSON.stringify(record.serialize(), plain));
  }
}

function makeParty({ name, device_id, registration_id, identity_private }) {
  const identity = identity_private
    ? { privKey: un64(identity_private), pubKey: L.curve.getPublicFromPrivateKey(un64(identity_private)) }
    : L.keyhelper.generateIdentityKeyPair();
  const registrationId = registration_id ?? randomInt(1, 16380);
  return { name, device_id, registrationId, identity, store: new Store(identity, registrationId), nextId: 1 };
}

function makeBundle(me, oneTime) {
  const id = me.nextId++;
  const signed = L.keyhelper.generateSignedPreKey(me.identity, id);
  me.store.signedPreKeys.set(id, signed.keyPair);
  let pre_key = null;
  if (oneTime) {
    const pk = L.keyhelper.generatePreKey(id);
    me.store.preKeys.set(id, pk.keyPair);
    pre_key = { id, key: b64(pk.keyPair.pubKey) };
  }
  return {
    registration_id: me.registrationId,
    device_id: me.device_id,
    identity_key: b64(me.identity.pubKey),
    signed_pre_key: { id, key: b64(signed.keyPair.pubKey), signature: b64(signed.signature) },
    pre_key,
    kyber_pre_key: null,
  };
}

const processBundle = (me, remote, b) =>
  new L.SessionBuilder(me.store, toAddr(remote)).initOutgoing({
    registrationId: b.registration_id,
    identityKey: un64(b.identity_key),
    signedPreKey: {
      keyId: b.signed_pre_key.id, publicKey: un64(b.signed_pre_key.key), signature: un64(b.signed_pre_key.signature),
    },
    preKey: b.pre_key ? { keyId: b.pre_key.id, publicKey: un64(b.pre_key.key) } : undefined,
  });
const encrypt = (me, remote, data) => new L.SessionCipher(me.store, toAddr(remote)).encrypt(data);
const decrypt = (me, remote, type, body) => {
  const c = new L.SessionCipher(me.store, toAddr(remote));
  return type === 'prekey' ? c.decryptPreKeyWhisperMessage(body) : c.decryptWhisperMessage(body);
};

const senderName = (group, a) => new SenderKeyName(group, { id: a.name, deviceId: a.device_id, toString: () => `${a.name}.${a.device_id}` });

let me = null;
const needMe = () => { if (!me) throw new PeerError('not_initialised', 'send init first'); return me; };
const addrStr = (a) => toAddr(a).toString();

const commands = {
  hello: async () => ({ impl: 'v3-js', version: LIB_VERSION, protocol: [3], caps: ['session', 'group'] }),
  init: async (q) => {
    me = makeParty(q);
    return { name: me.name, device_id: me.device_id, registration_id: me.registrationId, identity_key: b64(me.identity.pubKey) };
  },
  bundle: async (q) => ({ bundle: makeBundle(needMe(), q.one_time ?? true) }),
  process_bundle: async (q) => { await processBundle(needMe(), q.remote, q.bundle); return {}; },
  encrypt: async (q) => {
    const m = await encrypt(needMe(), q.remote, un64(q.plaintext));
    return { type: m.type === 3 ? 'prekey' : 'signal', body: b64(m.body) };
  },
  decrypt: async (q) => ({ plaintext: b64(await decrypt(needMe(), q.remote, q.type, un64(q.body))) }),
  inspect: async (q) => {
    const raw = un64(q.body);
    const version = raw[0] >> 4;
    if (q.type === 'prekey') {
      const m = protobufs.PreKeyWhisperMessage.decode(raw.subarray(1));
      return { version, registration_id: m.registrationId, pre_key_id: m.preKeyId || null, signed_pre_key_id: m.signedPreKeyId };
    }
    const m = protobufs.WhisperMessage.decode(raw.subarray(1, raw.length - 8));
    return { version, counter: m.counter, pq_ratchet_len: 0 };
  },
  session: async (q) => {
    const r = await needMe().store.loadSession(addrStr(q.remote));
    return r
      ? { exists: true, usable: r.haveOpenSession(), record_len: me.store.sessions.get(addrStr(q.remote)).length, remote_registration_id: r.getOpenSession()?.registrationId ?? null }
      : { exists: false, usable: false, record_len: 0 };
  },
  session_archive: async (q) => {
    const r = await needMe().store.loadSession(addrStr(q.remote));
    const open = r?.getOpenSession();
    if (!open) throw new PeerError('no_session', 'no open session');
    r.closeSession(open);
    await me.store.storeSession(addrStr(q.remote), r);
    return {};
  },
  group_create: async (q) => {
    const m = await new G.GroupSessionBuilder(needMe().store).create(senderName(q.group, me));
    return { skdm: b64(m.serialize()) };
  },
  group_process: async (q) => {
    const m = new G.SenderKeyDistributionMessage(null, null, null, null, un64(q.skdm));
    await new G.GroupSessionBuilder(needMe().store).process(senderName(q.group, q.sender), m);
    return {};
  },
  group_encrypt: async (q) => ({
    body: b64(await new G.GroupCipher(needMe().store, senderName(q.group, me)).encrypt(un64(q.plaintext))),
  }),
  group_decrypt: async (q) => ({
    plaintext: b64(await new G.GroupCipher(needMe().store, senderName(q.group, q.sender)).decrypt(un64(q.body))),
  }),
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
    reply = { id, ok: false, error: { code: String(e.code ?? e.name), message: String(e.message ?? e) } };
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
