// Shows openapi.json as a page: operations by tag, parameters, bodies and answers with their schemas.
"use strict";

const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};

// A schema with its references followed, so that it can be read where it is used.
const resolved = (schema, all, depth = 0) => {
  if (!schema || typeof schema !== "object" || depth > 8) return schema;
  if (schema.$ref) return resolved(all[schema.$ref.split("/").pop()], all, depth + 1);
  if (Array.isArray(schema)) return schema.map((part) => resolved(part, all, depth + 1));
  return Object.fromEntries(Object.entries(schema).map(([key, part]) => [key, resolved(part, all, depth + 1)]));
};

const content = (title, body, all) => {
  const parts = Object.entries(body?.content ?? {}).map(([type, { schema }]) =>
    element("div", "", element("p", `${title}: ${type}`), element("pre", JSON.stringify(resolved(schema, all), null, 2))));
  return element("div", "", ...parts);
};

const operation = (method, path, details, all) => {
  const summary = element("summary", "", element("b", method.toUpperCase()), path);
  const inside = element("div");
  inside.className = "inside";
  if (details.description || details.summary) inside.append(element("p", details.description ?? details.summary));
  if (details.parameters?.length) {
    const rows = details.parameters.map((parameter) => element("tr", "", element("td", parameter.name),
      element("td", parameter.in), element("td", parameter.required ? "required" : "optional"),
      element("td", parameter.description ?? "")));
    inside.append(element("table", "", ...rows));
  }
  inside.append(content("Body", details.requestBody, all));
  for (const [status, answer] of Object.entries(details.responses ?? {})) {
    inside.append(element("p", `${status} ${answer.description ?? ""}`), content("Answer", answer, all));
  }
  return element("details", "", summary, inside);
};

fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  const all = api.components?.schemas ?? {};
  document.getElementById("about").textContent =
    `${api.info.description ?? ""} Version ${api.info.version}. Credentials: HTTP Basic or Bearer.`;
  const byTag = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, details] of Object.entries(methods)) {
      const tag = details.tags?.[0] ?? "other";
      byTag.set(tag, [...(byTag.get(tag) ?? []), operation(method, path, details, all)]);
    }
  }
  for (const [tag, operations] of byTag) {
    document.getElementById("operations").append(element("h2", tag), ...operations);
  }
}).catch((error) => { document.getElementById("about").textContent = `openapi.json could not be read: ${error}`; });
