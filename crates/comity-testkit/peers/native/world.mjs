// A sandbox and a partner server, each its own binary, with TLS by an authority made for the run; and `comity chat --json`,
// the client of a partner's user.
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

const run = promisify(execFile)
const PATIENCE = 60_000

export const late = (what) => new Promise((_, reject) => {
  setTimeout(() => reject(new Error(`${what}: not within ${PATIENCE / 1000} s`)), PATIENCE).unref()
})

const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => done(port))
  })
})

/** An authority, and its certificate for `localhost`; to be trusted before Node starts. */
export async function authority() {
  const dir = resolve(await mkdtemp('native-'))
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', '2']
  const [ca, caKey, chain, leafKey] = ['ca.pem', 'ca.key', 'chain.pem', 'leaf.key'].map((name) => join(dir, name))
  await run('openssl', ['req', '-x509', ...key, '-keyout', caKey, '-out', ca, '-subj', '/CN=Test authority'])
  await run('openssl', ['req', '-x509', ...key, '-CA', ca, '-CAkey', caKey, '-keyout', leafKey, '-out', chain,
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE'])
  return { dir, ca }
}

/** Starts a server; the fields of its ready line. */
async function server(program, config, env, children) {
  const child = spawn(program, ['--config', config, '--log', 'warn'], { stdio: ['ignore', 'pipe', 'inherit'], env })
  children.push(child)
  const lines = createInterface({ input: child.stdout })
  for await (const line of lines) {
    if (line.startsWith('ready ')) return Object.fromEntries(line.split(' ').slice(2).map((word) => word.split(/=(.*)/)))
  }
  throw new Error(`${program} did not start`)
}

export class World {
  static integrator = '1'

  static async start(dir, users) {
    const world = new World()
    Object.assign(world, { dir, children: [], env: { ...process.env, SSL_CERT_FILE: join(dir, 'ca.pem') } })
    const [http, partner] = [await freePort(), await freePort()]
    world.host = `localhost:${http}`
    const origin = `http://127.0.0.1:${partner}`
    const token = 'admin-token-of-the-test'
    world.config = join(dir, 'gatekeeper.toml')
    await writeFile(world.config, `listen_chat = '127.0.0.1:0'\nlisten_http = '127.0.0.1:${http}'\n` +
      `public_http = 'https://${world.host}'\ntls_chain = '${join(dir, 'chain.pem')}'\ntls_key = '${join(dir, 'leaf.key')}'\n` +
      `data_dir = '${join(dir, 'gatekeeper')}'\nadmin_token = '${token}'\n[[integrator]]\nid = ${World.integrator}\n` +
      `name = 'Partner'\norigin = '${origin}'\nmedia_base_url = '${origin}/media'\n`)
    const gatekeeper = await server(process.env.COMITY_GATEKEEPER, world.config, world.env, world.children)
    world.root = gatekeeper.root
    const list = users.map((id) => ({ id, secret: 'correct-horse' }))
    await writeFile(join(dir, 'partner.toml'), `sandbox = true\nlisten = '127.0.0.1:${partner}'\n` +
      `data_dir = '${join(dir, 'partner')}'\ngatekeeper_jwks_url = 'https://${world.host}/.well-known/jwks'\n` +
      list.map(({ id, secret }) => `[[users]]\nid = '${id}'\nsecret = '${secret}'\n`).join(''))
    await server(process.env.COMITY_PARTNER, join(dir, 'partner.toml'), world.env, world.children)
    // Where `comity chat` finds them.
    await writeFile(join(dir, 'gatekeeper.json'),
      JSON.stringify({ chat: gatekeeper.chat, http: `https://${world.host}`, root: world.root, admin_token: token }))
    await writeFile(join(dir, 'partner.json'), JSON.stringify({ http: origin, users: list }))
    return world
  }

  /** Registers a native user as an operator does. */
  async addNative(phone, noiseKey, ...more) {
    const key = Buffer.from(noiseKey).toString('base64url')
    const args = ['--config', this.config, 'native', 'add', phone, key, ...more]
    return (await run(process.env.COMITY_GATEKEEPER, args, { env: this.env })).stdout.trim()
  }

  async chat(who) {
    const child = spawn(process.env.COMITY_CLI, ['chat', '--json', '--as', who, '--name', who, '--dir', this.dir],
      { stdio: ['pipe', 'pipe', 'inherit'], env: this.env })
    this.children.push(child)
    const chat = new Chat(child)
    await chat.event('connection', ({ state }) => state === 'UpToDate')
    return chat
  }

  async stop() {
    const ended = this.children.map((child) => new Promise((done) => (child.exitCode ?? child.signalCode) === null ? child.on('exit', done) : done()))
    for (const child of this.children) child.stdin ? child.stdin.end() : child.kill('SIGTERM')
    await Promise.race([Promise.all(ended), late('the end of the servers')])
    await rm(this.dir, { recursive: true })
  }
}

/** Lines that came, and those who wait for one. */
export class Inbox {
  kept = []
  waiting = new Set()

  put(item) {
    for (const waiting of this.waiting) {
      if (!waiting.fits(item)) continue
      this.waiting.delete(waiting)
      return waiting.done(item)
    }
    this.kept.push(item)
  }

  find(what, fits) {
    const at = this.kept.findIndex(fits)
    if (at >= 0) return this.kept.splice(at, 1)[0]
    return Promise.race([new Promise((done) => this.waiting.add({ fits, done })), late(what)])
  }
}

class Chat {
  inbox = new Inbox()
  calls = 0

  constructor(child) {
    this.child = child
    createInterface({ input: child.stdout }).on('line', (line) => this.inbox.put(JSON.parse(line)))
  }

  async call(what) {
    const call = ++this.calls
    this.child.stdin.write(`${JSON.stringify({ call, ...what })}\n`)
    const { ok, error } = await this.inbox.find(`answer to ${what.do}`, ({ answer }) => answer === call)
    if (error !== undefined) throw new Error(`${what.do}: ${error}`)
    return ok
  }

  event(event, fits = () => true) {
    return this.inbox.find(event, (line) => line.event === event && fits(line))
  }
}
