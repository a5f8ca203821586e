// Media format 1 against npm baileys, both directions; a JSON object a line for each case.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { downloadEncryptedContent, encryptedStream, getMediaKeys } from 'baileys'

const dir = await mkdtemp('format1-')
const run = promisify(execFile)
const ours = async (request) => {
  const { stdout } = await run(process.env.COMITY_MEDIA_PEER, [JSON.stringify(request)], { maxBuffer: 1 << 26 })
  return JSON.parse(stdout)
}
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const file = (name) => join(dir, name)

// Our mms-types and what baileys calls the same kinds. It files stickers under their own name, with the image keys.
const kinds = { image: 'image', video: 'video', gif: 'gif', audio: 'audio', ptt: 'ptt', document: 'document', sticker: 'sticker' }
const lengths = [0, 1, 15, 16, 17, 4096, 65519, 65520, 65526, 65536, 65537, 1_000_003]

// Serves one file with ranges, as a media host does.
let served = Buffer.alloc(0)
const server = createServer((request, response) => {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  if (from === undefined) return response.end(served)
  const end = Math.min(to === '' ? served.length - 1 : Number(to), served.length - 1)
  response.writeHead(206, { 'content-range': `bytes ${from}-${end}/${served.length}` })
  response.end(served.subarray(Number(from), end + 1))
})
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const url = `http://127.0.0.1:${server.address().port}/`

const theirDownload = async (encrypted, key, kind, range = {}) => {
  served = encrypted
  const parts = []
  for await (const part of await downloadEncryptedContent(url, await getMediaKeys(key, kind), range)) parts.push(part)
  return Buffer.concat(parts)
}

const weEncrypt = async (kind, plain) => {
  const key = randomBytes(32)
  await writeFile(file('plain'), plain)
  const info = await ours({ cmd: 'encrypt', kind, key: key.toString('hex'), in: file('plain'), out: file('enc') })
  return { key, info, encrypted: await readFile(file('enc')) }
}

const cases = {
  async 'format1-ours-to-them'() {
    for (const [kind, theirs] of Object.entries(kinds)) {
      for (const length of lengths) {
        const plain = randomBytes(length)
        const { key, info, encrypted } = await weEncrypt(kind, plain)
        assert.deepEqual(await theirDownload(encrypted, key, theirs), plain, `${kind} of ${length} bytes`)
        assert.equal(info.file_sha256, sha256(plain))
        assert.equal(info.file_enc_sha256, sha256(encrypted))
        assert.equal(info.file_length, length)
        // baileys reads the MAC off the end unchecked; its key derivation checks it here.
        const { iv, macKey } = await getMediaKeys(key, theirs)
        const mac = createHmac('sha256', macKey).update(iv).update(encrypted.subarray(0, -10)).digest()
        assert.deepEqual(encrypted.subarray(-10), mac.subarray(0, 10))
      }
    }
  },
  async 'format1-theirs-to-us'() {
    for (const [kind, theirs] of Object.entries(kinds)) {
      for (const length of lengths) {
        const plain = randomBytes(length)
        await writeFile(file('source'), plain)
        const sent = await encryptedStream({ url: file('source') }, theirs)
        const request = {
          cmd: 'decrypt', kind, key: Buffer.from(sent.mediaKey).toString('hex'), in: sent.encFilePath, out: file('plain'),
          file_sha256: sent.fileSha256.toString('hex'), file_enc_sha256: sent.fileEncSha256.toString('hex'),
          file_length: sent.fileLength,
        }
        assert.deepEqual(await ours(request), { ok: true }, `${kind} of ${length} bytes`)
        assert.deepEqual(await readFile(file('plain')), plain)
        const flipped = await readFile(sent.encFilePath)
        flipped[flipped.length - 1] ^= 1 // in the MAC, which they do not look at and we do
        await writeFile(sent.encFilePath, flipped)
        assert.ok((await ours({ ...request, file_enc_sha256: sha256(flipped) })).error)
        assert.equal((await readFile(file('plain'))).length, 0)
        await rm(sent.encFilePath)
      }
    }
  },
  async 'range-and-sidecar'() {
    for (const length of lengths) {
      const plain = randomBytes(length)
      const { key, info, encrypted } = await weEncrypt('video', plain)
      for (const [startByte, endByte] of [[0, 15], [1, 100], [16, 32], [100, 4000], [65_530, 65_540], [70_000, 900_000]]) {
        if (endByte + 32 > length) continue
        const part = await theirDownload(encrypted, key, 'video', { startByte, endByte })
        assert.deepEqual(part, plain.subarray(startByte, endByte), `${startByte}..${endByte} of ${length}`)
      }
      const { iv, macKey } = await getMediaKeys(key, 'video')
      const s = Buffer.concat([iv, encrypted])
      const tags = []
      for (let n = 0; n < Math.ceil((s.length - 16) / 65536); n++) {
        const window = s.subarray(n * 65536, n * 65536 + 65552)
        tags.push(createHmac('sha256', macKey).update(window).digest().subarray(0, 10))
      }
      assert.equal(info.sidecar, Buffer.concat(tags).toString('hex'), `sidecar of ${length} bytes`)
      await ours({
        cmd: 'segments', kind: 'video', key: key.toString('hex'), sidecar: info.sidecar, file_length: length,
        in: file('enc'), out: file('back'),
      })
      assert.deepEqual(await readFile(file('back')), plain)
    }
  },
}

for (const [name, body] of Object.entries(cases)) {
  let outcome = { result: 'ok', reason: '' }
  try {
    await body()
  } catch (error) {
    outcome = { result: 'fail', reason: String(error.message).split('\n')[0] }
    console.error(error)
  }
  console.log(JSON.stringify({ peer: 'baileys', case: name, ...outcome }))
}
server.close()
await rm(dir, { recursive: true })
