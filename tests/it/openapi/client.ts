// A client made from openapi.json: openapi-typescript wrote the types, openapi-fetch sends what they allow.
import createClient from "openapi-fetch";
import type { paths } from "./api";

declare const process: { argv: string[] };

const [url, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

const { data, error } = await client.POST("/mail", {
  params: { header: { "Idempotency-Key": "typescript-1" } },
  body: { brand_id: "tea", template_id: "welcome", user: { identifier: "ann", voucher: "TEA-10" } },
});
if (error) throw new Error(error.message);
console.log(data.data["ann"]?.transaction_id);

// @ts-expect-error: a mail without a template is none, and the types know.
const refused = () => client.POST("/mail", { body: { brand_id: "tea", user: { identifier: "ann" } } });
