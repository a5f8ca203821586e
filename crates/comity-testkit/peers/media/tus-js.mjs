// Resumable upload (docs/PROTOCOL.md §10) by npm tus-js-client to the partner server; a JSON object for the case.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import * as tus from 'tus-js-client'
import { Partner, authorization } from './partner.mjs'

const partner = await Partner.start()
const endpoint = `${partner.origin}/v1/uploads`
const headers = { Authorization: authorization }

/** Uploads until `meanwhile` asks it to stop, or to the end; `meanwhile(upload, sent)` runs after each part. */
const upload = (file, options, meanwhile = () => false) => new Promise((done, failed) => {
  const it = new tus.Upload(file, {
    endpoint, headers, retryDelays: [0, 100, 300, 1000], ...options,
    onError: failed,
    onSuccess: () => done({ url: it.url, whole: true }),
    onChunkComplete: async (_size, sent) => {
      if (await meanwhile(it, sent)) {
        await it.abort()
        done({ url: it.url, whole: false })
      }
    },
  })
  it.start()
})

const fetched = async (url) => {
  const answer = await fetch(url.replace('/v1/uploads/', '/media/'))
  return { answer, bytes: Buffer.from(await answer.arrayBuffer()) }
}

const uploadResume = async () => {
  const file = randomBytes(9_500_001)
  const chunkSize = 1 << 20
  // Stopped by the client, taken up by another one, which loses the server under it and finds it again.
  const first = await upload(file, { chunkSize }, (_it, sent) => sent >= 3 << 20)
  assert.equal(first.whole, false)
  let deaths = 0
  const second = await upload(file, { chunkSize, uploadUrl: first.url }, async (_it, sent) => {
    if (deaths === 0 && sent >= 5 << 20) {
      deaths += 1
      await partner.dies()
    }
    return false
  })
  assert.deepEqual([second.whole, second.url, deaths], [true, first.url, 1])
  const { answer, bytes } = await fetched(second.url)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('content-disposition'), 'attachment')
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  assert.deepEqual(bytes, file)

  // In one request, killed in the middle of it: what the client has sent is not yet what the server has.
  const large = randomBytes(40 << 20)
  let death
  const look = setInterval(async () => {
    if (!death && await partner.received() > 8 << 20) death ??= partner.dies()
  }, 1)
  const third = await upload(large, {})
  clearInterval(look)
  assert.ok(third.whole && death)
  await death
  assert.deepEqual((await fetched(third.url)).bytes, large)

  // An upload of an empty file; one that is too long; one that is taken back.
  const empty = await upload(Buffer.alloc(0), {})
  assert.deepEqual((await fetched(empty.url)).bytes, Buffer.alloc(0))
  await assert.rejects(upload(Buffer.alloc(1), { uploadSize: 3 * 2 ** 30, retryDelays: null }), /413/)
  await tus.Upload.terminate(third.url, { headers })
  assert.equal((await fetched(third.url)).answer.status, 404)
}

let outcome = { result: 'ok', reason: '' }
try {
  await uploadResume()
} catch (error) {
  outcome = { result: 'fail', reason: String(error.message).split('\n')[0] }
  console.error(error)
}
await partner.stop()
console.log(JSON.stringify({ peer: 'tus-js-client', case: 'upload-resume', ...outcome }))
