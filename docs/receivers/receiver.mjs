import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { link, mkdir, open, unlink } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";

const keys = process.env.WEBHOOK_SECRETS.trim()
  .split(/\s+/)
  .map((secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64"));
const folder = process.env.EVENTS ?? "events";
const tolerance = 300; // seconds
const largest = 8 * 1024 * 1024;

function isGenuine(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signatures } = headers;
  if (!/^[A-Za-z0-9_-]+$/.test(id) || !/^[0-9]+$/.test(time) || !signatures) return false;
  if (Math.abs(Date.now() / 1000 - Number(time)) > tolerance) return false;
  const given = signatures.split(" ").map((each) => Buffer.from(each));
  return keys.some((key) => {
    const digest = createHmac("sha256", key).update(`${id}.${time}.`).update(body).digest("base64");
    const expected = Buffer.from(`v1,${digest}`);
    return given.some((each) => each.length === expected.length && timingSafeEqual(each, expected));
  });
}

// Whether it is new; it is on disk when this returns.
async function store(id, body) {
  const draft = join(folder, `${id}.${randomUUID()}.part`);
  const file = await open(draft, "wx");
  let isNew = true;
  try {
    await file.writeFile(body);
    await file.sync();
    await link(draft, join(folder, `${id}.json`));
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    isNew = false;
  } finally {
    await file.close();
    await unlink(draft);
  }
  const entries = await open(folder);
  await entries.sync();
  await entries.close();
  return isNew;
}

async function receive(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length <= largest) chunks.push(chunk);
  }
  if (length > largest) return 413;
  const body = Buffer.concat(chunks);
  if (request.method !== "POST" || !isGenuine(request.headers, body)) return 401;
  if (await store(request.headers["webhook-id"], body)) {
    const event = JSON.parse(body);
    console.log(event.time, event.subject, event.data.status);
  }
  return 204;
}

await mkdir(folder, { recursive: true });
const server = createServer((request, response) => {
  receive(request)
    .catch(() => 503)
    .then((status) => response.writeHead(status).end());
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log("listening on port", server.address().port);
});
