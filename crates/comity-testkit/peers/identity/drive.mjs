// jose against comity-identity (docs/PROTOCOL.md §3): prints one JSON object per case.
//
// Our side is the example `identity_interop`, a child process that answers one JSON line per request; its path is in
// COMITY_IDENTITY_INTEROP.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { randomUUID } from "node:crypto";
import * as jose from "jose";

const ORIGIN = "https://partner.example";
const AUDIENCE = "comity-sandbox";
const SUB = "alice@partner.example";
const ALGORITHMS = ["RS256", "ES256", "EdDSA"];

const child = spawn(process.env.COMITY_IDENTITY_INTEROP, { stdio: ["pipe", "pipe", "inherit"] });
const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

async function ours(cmd, fields) {
  child.stdin.write(JSON.stringify({ cmd, ...fields }) + "\n");
  const { value, done } = await answers.next();
  if (done) throw new Error("our side ended");
  return JSON.parse(value);
}

function expect(condition, what) {
  if (!condition) throw new Error(what);
}

async function noiseKey() {
  const { publicKey } = await jose.generateKeyPair("ECDH-ES", { crv: "X25519", extractable: true });
  const jwk = await jose.exportJWK(publicKey);
  return { x: jwk.x, jkt: await jose.calculateJwkThumbprint(jwk, "sha256") };
}

function token(alg, jkt, change = {}) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: ORIGIN, aud: AUDIENCE, sub: SUB, iat: now, nbf: now, exp: now + 600, jti: randomUUID(), cnf: { jkt }, ...change,
  };
  return new jose.SignJWT(claims).setProtectedHeader({ alg, kid: alg, typ: "JWT" });
}

async function tokenTheirs() {
  const { jkt } = await noiseKey();
  const pairs = {};
  const keys = [];
  for (const alg of ALGORITHMS) {
    pairs[alg] = await jose.generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await jose.exportJWK(pairs[alg].publicKey)), kid: alg, alg, use: "sig" });
  }
  const jwks = JSON.stringify({ keys });
  const verify = (made, holder = jkt) =>
    ours("verify", { origin: ORIGIN, audience: AUDIENCE, jwks, token: made, jkt: holder });
  for (const alg of ALGORITHMS) {
    const { privateKey } = pairs[alg];
    const good = await token(alg, jkt).sign(privateKey);
    expect((await verify(good)).sub === SUB, `${alg} was refused`);
    expect((await verify(good, (await noiseKey()).jkt)).error, `${alg}: another key's holder was accepted`);
    const now = Math.floor(Date.now() / 1000);
    for (const change of [{ aud: "another" }, { exp: now + 601 }, { iat: 1, nbf: 1, exp: 601 }, { cnf: undefined }]) {
      const made = await token(alg, jkt, change).sign(privateKey);
      expect((await verify(made)).error, `${alg}: ${JSON.stringify(change)} was accepted`);
    }
  }
  const unsecured = new jose.UnsecuredJWT({ iss: ORIGIN, aud: AUDIENCE, sub: SUB, cnf: { jkt } }).encode();
  expect((await verify(unsecured)).error, "an unsecured token was accepted");
}

async function tokenOurs() {
  const { x, jkt } = await noiseKey();
  expect((await ours("jkt", { public: x })).jkt === jkt, "the thumbprints of a Noise key differ");
  for (const alg of ALGORITHMS) {
    const made = await ours("issue", { alg, origin: ORIGIN, audience: AUDIENCE, sub: SUB, jkt });
    const set = JSON.parse(made.jwks);
    const options = { issuer: ORIGIN, audience: AUDIENCE, subject: SUB, algorithms: [alg], maxTokenAge: "600s" };
    const { payload } = await jose.jwtVerify(made.token, jose.createLocalJWKSet(set), options);
    expect(payload.cnf.jkt === jkt && payload.exp - payload.iat === 600, `${alg}: ${JSON.stringify(payload)}`);
    const thumbprint = await jose.calculateJwkThumbprint(set.keys[0], "sha256");
    expect(thumbprint === set.keys[0].kid, `${alg}: the kid is not the thumbprint`);

    const bearer = await ours("bearer", { alg, origin: ORIGIN });
    const keys = jose.createLocalJWKSet(JSON.parse(bearer.jwks));
    const call = await jose.jwtVerify(bearer.token, keys, { issuer: "WHATSAPP", audience: ORIGIN, algorithms: [alg] });
    expect(Object.keys(call.payload).sort().join() === "aud,exp,iat,iss", `${alg}: ${JSON.stringify(call.payload)}`);
  }
}

for (const [name, run] of [["token-theirs", tokenTheirs], ["token-ours", tokenOurs]]) {
  const row = { peer: "jose", case: name, result: "ok", reason: "" };
  try {
    await run();
  } catch (error) {
    console.error(error);
    Object.assign(row, { result: "fail", reason: String(error?.message ?? error) });
  }
  console.log(JSON.stringify(row));
}
child.stdin.end();
