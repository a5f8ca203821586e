// Binary stanzas against npm baileys, both directions; a JSON object a line for each case.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { decodeBinaryNode, encodeBinaryNode } from 'baileys'

const peer = spawn(process.env.COMITY_XMPP_PEER, { stdio: ['pipe', 'pipe', 'inherit'] })
const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]()
const ours = async (request) => {
  peer.stdin.write(JSON.stringify(request) + '\n')
  const answer = JSON.parse((await lines.next()).value)
  assert.equal(answer.error, undefined, `${answer.error} for ${JSON.stringify(request)}`)
  return answer
}

// Trees as our side writes them: attributes are text, content is nodes, {hex} or null.
const hex = (bytes) => ({ hex: Buffer.from(bytes).toString('hex') })
const node = (tag, attrs = {}, content = null) => ({ tag, attrs, content })

const table = [
  node('presence'),
  node('iq', { type: 'get', xmlns: 'w:p', to: 's.whatsapp.net', id: '1' }),
  node('message', { id: '3EB0C431C26A1916E07A9C', to: '15551234567@s.whatsapp.net', type: 'text' },
    [node('enc', { v: '2', type: 'pkmsg' }, hex([0x33, ...Array(200).keys()]))]),
  node('message', { to: '120363025246125486@g.us', participant: '15551234567:12@s.whatsapp.net', notify: 'Zoë 👋' }),
  node('receipt', { id: 'AB12', to: '123456789012345@lid', type: 'read' },
    [node('list', {}, [node('item', { id: '0F' }), node('item', { id: '-1.5' })])]),
  node('ack', { to: '98765:3@lid', from: '4915100000001@hosted', class: 'message' }),
  node('user', { jid: '12-105012705411308@interop' }),
  node('user', { jid: '100001234:999@msgr' }),
  node('config', { lower: 'abcdef', upper: 'ABCDEF', mixed: 'aB', digits: '0123456789', odd: '123', dash: '12-34', dots: '1.2.3' }),
  node('long', { text: 'x'.repeat(300), digits: '7'.repeat(127), more: '7'.repeat(128) }),
  ...[1, 2, 255, 256, 65_535, 65_536, 1 << 20].map((n) => node('bytes', { n: `${n}` }, hex(Buffer.alloc(n, 7)))),
  ...[1, 2, 254, 255, 256, 257, 1000].map((n) => node('list', {}, Array.from({ length: n }, (_, i) => node('item', { i: `${i}` })))),
  node('wide', Object.fromEntries(Array.from({ length: 130 }, (_, i) => [`a${i}`, `${i}`]))),
]

// Random trees from a small generator with a printed seed.
const seed = Number(process.env.SEED ?? Date.now() % 0x7fffffff)
let state = seed
const below = (n) => ((state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff), state % n)
const words = ['message', 'to', 'id', 'x-y', 'status', 'w:profile:picture', 'Ünï', '0', '-.', 'DEADBEEF', '12@34', 'a b', '1234567890123456']
const jids = ['15551234567@s.whatsapp.net', '1:2@lid', '5-6@g.us', '1-10853634039893@interop', '1@msgr', 'status@broadcast']
const random = (depth) => node(
  words[below(9)],
  Object.fromEntries(Array.from({ length: below(5) }, (_, i) => [`${words[below(7)]}${i}`, below(3) ? words[below(words.length)] : jids[below(jids.length)]])),
  depth && below(3) ? Array.from({ length: 1 + below(4) }, () => random(depth - 1)) : below(2) ? hex(Array.from({ length: 1 + below(40) }, () => below(256))) : null,
)
const trees = [...table, ...Array.from({ length: 500 }, () => random(4))]

// Text of a JID made from its binary form has `:0` for a partner's device, and an `@` before a bare server.
const text = (value) => value.replace(/^(.*):0@interop$/, '$1@interop').replace(/^@/, '')
const ofTheirs = ({ tag, attrs, content }) => ({
  tag,
  attrs: Object.fromEntries(Object.entries(attrs).map(([name, value]) => [name, text(value)])),
  content: Array.isArray(content) ? content.map(ofTheirs)
    : content === undefined || content === null || content.length === 0 ? null
      : hex(typeof content === 'string' ? Buffer.from(content) : content),
})
const toTheirs = ({ tag, attrs, content }) => ({
  tag,
  attrs,
  content: Array.isArray(content) ? content.map(toTheirs) : content ? Buffer.from(content.hex, 'hex') : undefined,
})

const cases = {
  async 'decode-ours'() {
    for (const tree of trees) {
      const { hex } = await ours({ node: tree })
      assert.deepEqual(ofTheirs(await decodeBinaryNode(Buffer.from(hex, 'hex'))), tree)
    }
  },
  async 'encode-theirs'() {
    // It writes no FB_JID: a Messenger device becomes another server's.
    for (const tree of trees.filter((tree) => !JSON.stringify(tree).includes(':999@msgr'))) {
      const { node } = await ours({ hex: Buffer.from(encodeBinaryNode(toTheirs(tree))).toString('hex') })
      assert.deepEqual(node, tree)
    }
  },
}

for (const [name, run] of Object.entries(cases)) {
  let result = { result: 'ok', reason: `${trees.length} stanzas` }
  try {
    await run()
  } catch (error) {
    result = { result: 'fail', reason: `seed ${seed}: ${String(error.message).slice(0, 400)}` }
  }
  console.log(JSON.stringify({ peer: 'baileys', case: name, ...result }))
}
peer.stdin.end()
