// The peer's front door: takes `POST /mail`, checks it as postroom does, and enqueues it in BullMQ.
//
// Started by benches/run with REDIS_PORT and MEMBERS in the environment; prints `listening PORT`.
// The members are in memory: a look-up costs this peer nothing.

import { createServer } from "node:http";
import { Queue } from "bullmq";
import Redis from "ioredis";

const members = new Map();
for (let n = 0; n < Number(process.env.MEMBERS); n++) {
  members.set(`m${n}`, { email: `m${n}@example.net`, first_name: `Ann${n}` });
}

const queue = new Queue("mail", {
  connection: new Redis({ port: Number(process.env.REDIS_PORT), enableAutoPipelining: true, maxRetriesPerRequest: null }),
  defaultJobOptions: {
    attempts: 10,
    backoff: { type: "exponential", delay: 5000 },
    removeOnComplete: true,
  },
});

function fault(body) {
  if (body?.brand_id !== "tea") return { brand_id: ["unknown brand"] };
  if (body.template_id !== "hello") return { template_id: ["unknown template"] };
  if (!members.has(body.user?.identifier)) return { "user.identifier": ["unknown member"] };
  if (typeof body.user.coupon_code !== "string") return { "user.coupon_code": ["missing"] };
  return null;
}

async function accept(text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    return [400, { message: "not JSON" }];
  }
  const errors = fault(body);
  if (errors) return [422, { message: "invalid", errors }];

  const { identifier, ...tags } = body.user;
  // The job is in Redis before the request is answered.
  const job = await queue.add("send", { ...members.get(identifier), ...tags, template: body.template_id });
  return [200, { message: "Request successful", data: { [identifier]: { status: "queued", transaction_id: job.id } } }];
}

const server = createServer((request, response) => {
  const answer = (status, value) => {
    const text = JSON.stringify(value);
    response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
    response.end(text);
  };
  if (request.method !== "POST" || request.url !== "/mail") return answer(404, { message: "not found" });
  if (request.headers.authorization !== `Bearer ${process.env.TOKEN}`) return answer(401, { message: "who?" });
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    accept(Buffer.concat(chunks).toString()).then(
      ([status, value]) => answer(status, value),
      () => answer(503, { message: "the queue is away" }),
    );
  });
});
server.keepAliveTimeout = 60_000;

await queue.waitUntilReady();
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
