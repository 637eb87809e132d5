// The peer's worker: takes jobs from BullMQ, renders with Handlebars, sends with a pooled Nodemailer transport.
//
// Started by benches/run with REDIS_PORT, SMTP_PORT, MAIL (the folder with the template), CONCURRENCY and
// CONNECTIONS in the environment; prints `ready`.

import { readFileSync } from "node:fs";
import { Worker } from "bullmq";
import Handlebars from "handlebars";
import Redis from "ioredis";
import nodemailer from "nodemailer";

const compile = (file) => Handlebars.compile(readFileSync(`${process.env.MAIL}/${file}`, "utf8"));
const subject = Handlebars.compile("Something warm for you, {{first_name}}");
const html = compile("hello.html");
const text = compile("hello.txt");

const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: Number(process.env.SMTP_PORT),
  ignoreTLS: true,
  pool: true,
  maxConnections: Number(process.env.CONNECTIONS),
  maxMessages: Infinity,
});

async function send(job) {
  const tags = { ...job.data, brand_name: "Tea" };
  const reply = await transport.sendMail({
    from: { name: "Tea", address: "tea@example.com" },
    to: { name: tags.first_name, address: tags.email },
    subject: subject(tags),
    html: html(tags),
    text: text(tags),
  });
  return reply.response;
}

const worker = new Worker("mail", send, {
  connection: new Redis({ port: Number(process.env.REDIS_PORT), enableAutoPipelining: true, maxRetriesPerRequest: null }),
  concurrency: Number(process.env.CONCURRENCY),
});
worker.on("failed", (job, error) => console.error(`mail ${job?.id}: ${error.message}`));
await worker.waitUntilReady();
console.log("ready");
