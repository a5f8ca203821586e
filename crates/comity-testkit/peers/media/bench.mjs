// The peer of `cargo xtask bench media`: for each line {"cmd":"encrypt","path"} encrypts that file into another one and
// answers the nanoseconds.
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { encryptedStream } from 'baileys'

for await (const line of createInterface({ input: process.stdin })) {
  const { path } = JSON.parse(line)
  const start = process.hrtime.bigint()
  const sent = await encryptedStream({ url: path }, 'document')
  const ns = Number(process.hrtime.bigint() - start)
  await rm(sent.encFilePath)
  console.log(JSON.stringify({ ns }))
}
