// Starts and kills the media host that the upload drivers talk to: the partner server's own binary.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

export const user = 'alice@partner.test'
export const secret = 'correct-horse'
export const authorization = `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`

const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => done(port))
  })
})

export class Partner {
  static async start() {
    const partner = new Partner()
    partner.dir = resolve(await mkdtemp('tus-'))
    partner.origin = `http://127.0.0.1:${await freePort()}`
    const config = `listen = '${partner.origin.slice(7)}'\nsandbox = true\nrequire_bearer = false\n` +
      `data_dir = '${join(partner.dir, 'data')}'\n[[users]]\nid = '${user}'\nsecret = '${secret}'\n`
    await writeFile(join(partner.dir, 'partner.toml'), config)
    await partner.run()
    return partner
  }

  async run() {
    const args = ['--config', join(this.dir, 'partner.toml')]
    this.child = spawn(process.env.COMITY_PARTNER, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.ended = new Promise((ended) => this.child.on('exit', ended))
    for await (const line of createInterface({ input: this.child.stdout })) {
      if (line.startsWith('ready partner')) return
    }
    throw new Error('the partner server did not start')
  }

  /** Bytes of files that are still coming in. */
  async received() {
    const parts = join(this.dir, 'data', 'media', 'parts')
    const sizes = (await readdir(parts)).map(async (name) => (await stat(join(parts, name)).catch(() => ({ size: 0 }))).size)
    return Math.max(0, ...await Promise.all(sizes))
  }

  /** SIGKILL, and a new process on the same data and port. */
  async dies() {
    this.child.kill('SIGKILL')
    await this.ended
    await this.run()
  }

  async stop() {
    this.child.kill('SIGKILL')
    await this.ended
    await rm(this.dir, { recursive: true })
  }
}
