// A back end for comity-partner's sidecar mode: who is this user (/auth), and wake this user's device (/push).
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const secret = Buffer.from(readFileSync(process.argv[2], "utf8").trim().replace(/^whsec_/, ""), "base64");
const sessions = new Map([["Bearer alices-session", "alice@partner.test"]]); // yours: whatever clients send

/** Whether comity-partner sent this, within the last five minutes. */
function signed(headers, body) {
  const at = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(at) || Math.abs(Date.now() / 1000 - Number(at)) > 300) return false;
  const mac = createHmac("sha256", secret).update(`${headers["webhook-id"]}.${at}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${mac}`);
  return (headers["webhook-signature"] ?? "").split(" ").map((given) => Buffer.from(given))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected));
}

function answer(path, headers, body) {
  if (!signed(headers, body)) return [400];
  if (path === "/auth") {
    const user = sessions.get(headers.authorization);
    return user ? [200, { user_visible_id: user }] : [401];
  }
  if (path === "/push") {
    const user = JSON.parse(body).to;
    if (![...sessions.values()].includes(user)) return [410];
    console.log("wake", user); // yours: APNs, FCM, a socket
    return [204];
  }
  return [404];
}

const server = createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  const [status, value] = answer(request.url, request.headers, body);
  response.writeHead(status).end(value && JSON.stringify(value));
});
server.listen(Number(process.argv[3]), "127.0.0.1", () => console.log("listening", server.address().port));
