// npm baileys, its files as they are, as a native user of the sandbox, over WebSocket in TLS; the other side is Comity's client
// of a partner's user. A JSON object a line for each case.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import makeWASocket, { downloadMediaMessage, initAuthCreds, proto, WA_CERT_DETAILS } from 'baileys'
import { authority, Inbox, World } from './world.mjs'

// Node reads whom it trusts at its start.
if (!process.env.COMITY_NATIVE_DIR) {
  const { dir, ca } = await authority()
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: ca, COMITY_NATIVE_DIR: dir }
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], { stdio: 'inherit', env })
  process.exit(await new Promise((ended) => child.on('exit', (code) => ended(code ?? 1))))
}

const PHONE = '4915112345678'
const world = await World.start(process.env.COMITY_NATIVE_DIR, ['alice@partner.test', 'ben@partner.test'])

const logged = (level) => (...args) => process.env.BAILEYS_LOG && console.error(level, ...args)
const logger = { level: process.env.BAILEYS_LOG ?? 'silent', child: () => logger }
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) logger[level] = logged(level)

/** Credentials made for the test: of a device that was never paired, since the sandbox pairs none. */
function credentials() {
  const account = { details: randomBytes(8), accountSignatureKey: randomBytes(32), accountSignature: randomBytes(64), deviceSignature: randomBytes(64) }
  return { ...initAuthCreds(), me: { id: `${PHONE}@s.whatsapp.net`, name: 'Bob' }, account, registered: true }
}

/** The package's own interface to a store of keys, in memory. */
function memory() {
  const all = {}
  return {
    get: async (kind, ids) => Object.fromEntries(ids.map((id) => [id, all[kind]?.[id]]).filter(([, value]) => value)),
    set: async (data) => {
      for (const [kind, values] of Object.entries(data)) Object.assign((all[kind] ??= {}), values)
    },
  }
}

class Native {
  inbox = new Inbox()

  constructor(creds) {
    this.creds = creds
    this.sock = makeWASocket({
      auth: { creds, keys: memory() }, logger, waWebSocketUrl: `wss://${world.host}/ws/chat`,
      shouldSyncHistoryMessage: () => false, // there is no phone that would send it
    })
    this.sock.ev.on('connection.update', (update) => update.connection && this.inbox.put({ connection: update.connection, error: update.lastDisconnect?.error }))
    this.sock.ev.on('messages.upsert', ({ messages }) => messages.forEach((message) => this.inbox.put({ message })))
    this.sock.ev.on('messages.update', (updates) => updates.forEach(({ key, update }) => this.inbox.put({ key, update })))
  }

  async state(wanted) {
    return this.inbox.find(`connection ${wanted}`, ({ connection }) => connection === wanted)
  }

  query(type, xmlns, content) {
    return this.sock.query({ tag: 'iq', attrs: { to: '@s.whatsapp.net', type, xmlns }, content })
  }

  /** A partner's user as this client may know it. */
  async find(who) {
    const external = { external_id: who, integrator_id: World.integrator }
    const answer = await this.query('get', 'w:interop', [{ tag: 'users', attrs: {}, content: [{ tag: 'user', attrs: external }] }])
    return answer.content[0].content[0].attrs.jid
  }

  async message(id) {
    return (await this.inbox.find('message', ({ message }) => message?.key.id === id && !message.key.fromMe)).message
  }

  /** The status of a message of its own, told with the message if it is early. */
  status(id, status) {
    return this.inbox.find(`status ${status}`, ({ key, update, message }) => (
      key?.id === id && update?.status === status || message?.key.id === id && message.key.fromMe && message.status === status
    ))
  }

  isOpen() {
    return !this.inbox.kept.some(({ connection }) => connection === 'close')
  }
}

const { Status } = proto.WebMessageInfo
let bob
let alice

/** The error code of a refused query. */
const refused = (query) => query.then(() => assert.fail('answered'), (error) => error.data)

const cases = {
  async login() {
    const creds = credentials()
    const jid = await world.addNative(PHONE, creds.noiseKey.public, '--name', 'Bob', '--alias-view', '--opt-in', World.integrator)
    assert.equal(jid, creds.me.id)
    Buffer.from(world.root, 'hex').copy(WA_CERT_DETAILS.PUBLIC_KEY)

    // Another key is refused by an authenticated stanza.
    const other = new Native(credentials())
    assert.equal((await other.state('close')).error.output.statusCode, 401)

    bob = new Native(creds)
    await bob.state('open')
    const count = await bob.query('get', 'encrypt', [{ tag: 'count', attrs: {} }])
    assert.equal(count.content[0].attrs.value, '812')
    const digest = await bob.query('get', 'encrypt', [{ tag: 'digest', attrs: {} }])
    const parts = Object.fromEntries(digest.content[0].content.map(({ tag, content }) => [tag, content]))
    assert.deepEqual(Buffer.from(parts.identity), Buffer.from(creds.signedIdentityKey.public))
    await bob.sock.rotateSignedPreKey()

    // What the sandbox has not is refused as such, and nothing else happens.
    const { sock } = bob
    for (const ask of ['fetchPrivacySettings', 'profilePictureUrl', 'groupFetchAllParticipating', 'getBusinessProfile']) {
      assert.equal(await refused(sock[ask](jid)), 501, ask)
    }
    await sock.sendNode({ tag: 'anything', attrs: { id: '1', to: jid }, content: [{ tag: 'at-all', attrs: {} }] })
    await sock.sendNode({ tag: 'presence', attrs: { type: 'subscribe', to: jid } })
    assert.deepEqual(await bob.sock.fetchBlocklist(), [])
    alice = await world.chat('alice@partner.test')
    const devices = await bob.sock.getUSyncDevices([await bob.find('alice@partner.test')], false, false)
    assert.deepEqual(devices.map(({ device, server }) => [device, server]), [[0, 'lid']])
    assert.ok(bob.isOpen())
  },

  async 'text-from-partner-first'() {
    const alias = await bob.find('alice@partner.test')
    assert.match(alias, /^[1-9][0-9]{14}@lid$/)
    const to = await alice.call({ do: 'look_up', id: `+${PHONE}` })
    const { id } = await alice.call({ do: 'send', to, text: 'Hello from a partner' })
    const first = await bob.message(id)
    assert.equal(first.key.remoteJid, alias)
    assert.equal(first.message?.conversation ?? first.message?.extendedTextMessage?.text, 'Hello from a partner')
    assert.equal(first.pushName, 'alice@partner.test')
    const answer = await bob.sock.sendMessage(alias, { text: 'Hello back' })
    const back = await alice.event('message', (event) => event.id === answer.key.id)
    assert.deepEqual([back.text, back.from, back.version], ['Hello back', to, 3])
    // The session is another one now than at the first message: the ratchet has turned.
    const more = await alice.call({ do: 'send', to, text: 'And again' })
    assert.equal(first.key.remoteJid, (await bob.message(more.id)).key.remoteJid)
  },

  async 'text-to-partner-first'() {
    const ben = await world.chat('ben@partner.test')
    const alias = await bob.find('ben@partner.test')
    const sent = await bob.sock.sendMessage(alias, { text: 'Hello, Ben' })
    const first = await ben.event('message', (event) => event.id === sent.key.id)
    assert.deepEqual([first.text, first.from, first.name, first.version], ['Hello, Ben', bob.creds.me.id, 'Bob', 3])
    const { id } = await ben.call({ do: 'send', to: first.from, text: 'Hello, Bob' })
    const back = await bob.message(id)
    assert.equal(back.key.remoteJid, alias)
    assert.equal(back.message?.conversation ?? back.message?.extendedTextMessage?.text, 'Hello, Bob')
    const second = await bob.sock.sendMessage(alias, { text: 'Bye' })
    assert.equal((await ben.event('message', (event) => event.id === second.key.id)).text, 'Bye')
  },

  async receipts() {
    const to = bob.creds.me.id
    const alias = await bob.find('alice@partner.test')
    const { id } = await alice.call({ do: 'send', to, text: 'Have you got this?' })
    const got = await bob.message(id)
    await alice.event('state', (event) => event.id === id && event.state === 'delivered')
    await bob.sock.sendReceipts([got.key], 'read')
    await alice.event('state', (event) => event.id === id && event.state === 'read')

    const sent = await bob.sock.sendMessage(alias, { text: 'And this?' })
    await alice.event('message', (event) => event.id === sent.key.id)
    await bob.status(sent.key.id, Status.DELIVERY_ACK)
    await alice.call({ do: 'read', to, ids: [sent.key.id] })
    await bob.status(sent.key.id, Status.READ)
  },

  async image() {
    const to = bob.creds.me.id
    const alias = await bob.find('alice@partner.test')
    // What it is, Comity tells by its first bytes.
    const picture = (length) => Buffer.concat([Buffer.from('ffd8ffe000104a46494600', 'hex'), randomBytes(length)])
    const theirs = picture(300_001)
    const sent = await bob.sock.sendMessage(alias, { image: theirs, caption: 'A picture', mimetype: 'image/jpeg', jpegThumbnail: '' })
    const got = await alice.event('message', (event) => event.id === sent.key.id)
    assert.deepEqual([got.kind, got.caption], ['image', 'A picture'])
    const { path } = await alice.event('file', (event) => event.id === sent.key.id)
    assert.deepEqual(await readFile(path), theirs)

    const ours = picture(200_003)
    const photo = join(world.dir, 'photo.jpg')
    await writeFile(photo, ours)
    const { id } = await alice.call({ do: 'file', to, path: photo, caption: 'Another' })
    const message = await bob.message(id)
    assert.equal(message.message.imageMessage.caption, 'Another')
    const loaded = await downloadMediaMessage(message, 'buffer', { host: world.host })
    assert.deepEqual(loaded, ours)
  },
}

let failed = false
for (const [name, body] of Object.entries(cases)) {
  let outcome = { result: 'ok', reason: '' }
  try {
    await body()
    assert.ok(bob.isOpen(), 'the connection has ended')
  } catch (error) {
    outcome = { result: 'fail', reason: String(error.message).split('\n')[0] }
    failed = true
    console.error(error)
  }
  console.log(JSON.stringify({ peer: 'baileys', case: name, ...outcome }))
}
await bob?.sock.end(undefined)
await world.stop()
process.exit(failed ? 1 : 0)
