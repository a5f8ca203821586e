// Cases noise.baileys.*: the handshake of npm `baileys` logs in to our responder, over TCP and WebSocket and with edge
// routing (PROTOCOL §5.1 to §5.3).
//
// node baileys.mjs NOISE_PEER [CASE].. ; NOISE_PEER is the built example `noise_peer`. `baileys` and `ws` must be
// resolvable from the directory in PEER_MODULES (a node_modules' parent; default: the working directory).
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { randomBytes } from 'node:crypto';

const PEER = 'baileys';
const [, , noisePeer, ...wanted] = process.argv;
const base = createRequire(pathToFileURL((process.env.PEER_MODULES ?? process.cwd()) + '/package.json'));
const load = async (name) => import(pathToFileURL(base.resolve(name)));
const baileys = await load('baileys');
const WebSocket = base('ws');
const { Curve, makeNoiseHandler, NOISE_WA_HEADER, WA_CERT_DETAILS, proto, encodeBinaryNode } = baileys;
const silent = { level: 'silent', child: () => silent, trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/** Starts our responder; its first line, and a promise of its second. */
async function responder(flags) {
    const child = spawn(noisePeer, ['responder', 'whatsapp', '127.0.0.1:0', ...flags], {
        stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const line = async () => JSON.parse((await lines.next()).value ?? '{"error":"the responder ended"}');
    return { ready: await line(), result: line, stop: () => child.kill() };
}

function tcp(address) {
    const [host, port] = address.split(':');
    return new Promise((resolve, reject) => {
        const socket = connect(Number(port), host, () =>
            resolve({
                send: (bytes) => socket.write(bytes),
                receive: (f) => socket.on('data', f),
                end: () => socket.end(),
            }),
        ).on('error', reject);
    });
}

function webSocket(address) {
    return new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://${address}/ws/chat`);
        socket.on('error', reject);
        socket.on('open', () =>
            resolve({
                send: (bytes) => socket.send(bytes),
                receive: (f) => socket.on('message', f),
                end: () => socket.close(),
            }),
        );
    });
}

function check(ok, what) {
    if (!ok) throw new Error(what);
}

async function run(open, flags, routingInfo) {
    const server = await responder(flags);
    try {
        // The certificate root is a constant of the package.
        Buffer.from(server.ready.root, 'hex').copy(WA_CERT_DETAILS.PUBLIC_KEY);
        const ephemeral = Curve.generateKeyPair();
        const identity = Curve.generateKeyPair();
        const noise = makeNoiseHandler({ keyPair: ephemeral, NOISE_HEADER: NOISE_WA_HEADER, logger: silent, routingInfo });
        const stream = await open(server.ready.ready);
        const frames = [];
        let wake = () => {};
        stream.receive((bytes) => noise.decodeFrame(bytes, (frame) => (frames.push(frame), wake())));
        const next = async () => {
            while (!frames.length) await new Promise((resolve) => (wake = resolve));
            return frames.shift();
        };

        const encode = (message) => proto.HandshakeMessage.encode(message).finish();
        stream.send(noise.encodeFrame(encode({ clientHello: { ephemeral: ephemeral.public } })));
        const hello = proto.HandshakeMessage.decode(await next());
        const sealedKey = noise.processHandshake(hello, identity);
        const login = randomBytes(300);
        const payload = noise.encrypt(login);
        stream.send(noise.encodeFrame(encode({ clientFinish: { static: sealedKey, payload } })));
        await noise.finishInit();

        const sizes = [0, 1, 1000, 70_000, 1_000_000];
        for (const size of sizes) {
            const content = randomBytes(size);
            stream.send(noise.encodeFrame(encodeBinaryNode({ tag: 'iq', attrs: { id: String(size) }, content })));
            const echo = await next();
            check(echo.tag === 'iq' && echo.attrs.id === String(size), 'another stanza came back');
            check(Buffer.compare(Buffer.from(echo.content ?? []), content) === 0, 'another content came back');
        }
        stream.end();
        const result = await server.result();
        check(result.pattern === 'XX', JSON.stringify(result));
        check(result.client === Buffer.from(identity.public).toString('hex'), 'another client key was proved');
        check(result.login === login.toString('hex'), 'another login arrived');
        check(result.edge_routing === (routingInfo ?? Buffer.alloc(0)).toString('hex'), 'another routing value arrived');
        check(result.messages === sizes.length, 'messages were lost');
    } finally {
        server.stop();
    }
}

const cases = {
    'noise.baileys.xx-tcp': () => run(tcp, []),
    'noise.baileys.xx-websocket': () => run(webSocket, ['--websocket']),
    'noise.baileys.xx-edge-routing': () => run(tcp, [], randomBytes(23)),
};

let failed = false;
for (const [id, test] of Object.entries(cases)) {
    if (wanted.length && !wanted.includes(id)) continue;
    let outcome = { peer: PEER, case: id, result: 'pass', reason: '' };
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('took more than 20 s')), 20_000)));
    try {
        await Promise.race([test(), late]);
    } catch (e) {
        outcome = { ...outcome, result: 'fail', reason: String(e.message ?? e) };
        failed = true;
    }
    clearTimeout(timer);
    console.log(JSON.stringify(outcome));
}
process.exit(failed ? 1 : 0);
