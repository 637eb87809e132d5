// Judges every HTML file of a folder as a mail: html-validate its markup, and caniemail's data what Gmail, Outlook 2019 for
// Windows and Apple Mail lack of what it uses.
//
// Arguments: the folder, the package.json beside the node_modules, the file of excuses. Prints one JSON object: how many pages
// there are, what is invalid, what is lacking and not excused, and which excuses nothing needs. An excuse is by the name of a
// rule of html-validate or of a feature of caniemail.

import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, packages, excusesFile] = process.argv.slice(2);
const require = createRequire(packages);
const { HtmlValidate } = require("html-validate");
const { parseDocument } = require("htmlparser2");
const css = require("@adobe/css-tools");
const caniemail = require("caniemail/caniemail.json").data;
const excuses = JSON.parse(readFileSync(excusesFile, "utf8"));

const PROGRAMS = [
    ["gmail", "desktop-webmail"], ["gmail", "ios"], ["gmail", "android"], ["gmail", "mobile-webmail"],
    ["outlook", "windows", "2019"],
    ["apple-mail", "macos"], ["apple-mail", "ios"],
];

/// The programs that have nothing of a feature, in the version that is named or else the last that was tried.
function lackingIn(feature) {
    return PROGRAMS.filter(([family, platform, version]) => {
        const tried = feature.stats[family]?.[platform] ?? {};
        return (tried[version] ?? Object.values(tried).at(-1) ?? "u").startsWith("n");
    }).map((program) => program.join(" "));
}

/// What a page uses: elements, attributes, selectors, at-rules and declarations, inline ones too.
function usesOf(html) {
    const uses = { html, elements: [], declarations: [], selectors: [], atRules: [] };
    const rules = (list) => {
        for (const rule of list ?? []) {
            if (rule.type !== "rule") uses.atRules.push({ name: rule.type, condition: rule.media ?? "" });
            for (const selector of rule.selectors ?? []) uses.selectors.push({ selector, isGroup: rule.selectors.length > 1 });
            for (const { type, property, value } of rule.declarations ?? []) {
                if (type === "declaration") uses.declarations.push({ property, value });
            }
            rules(rule.rules);
        }
    };
    const visit = (node) => {
        if (node.attribs) {
            uses.elements.push({ name: node.name, attributes: node.attribs });
            if (node.attribs.style) rules(css.parse(`x{${node.attribs.style}}`).stylesheet.rules.map((it) => ({ ...it, selectors: [] })));
            if (node.name === "style") rules(css.parse(node.children[0]?.data ?? "").stylesheet.rules);
        }
        (node.children ?? []).forEach(visit);
    };
    visit(parseDocument(html));
    return uses;
}

const SELECTORS = {
    "css-selector-adjacent-sibling": /\+/, "css-selector-attribute": /\[/, "css-selector-chaining": /\.[\w-]+\./,
    "css-selector-child": />/, "css-selector-class": /\./, "css-selector-descendant": /[\w\])] +[\w.#[*]/,
    "css-selector-general-sibling": /~/, "css-selector-id": /#/, "css-selector-type": /(^|[ >+~])[a-z]/i,
    "css-selector-universal": /\*/, "css-nesting": /&/,
};
const PROPERTIES = {
    "css-column-layout-properties": /^column-/, "css-grid-template": /^grid-template/, "css-scroll-snap": /^scroll-snap/,
    "css-border-radius": /^border-([a-z]+-[a-z]+-)?radius$/, "css-border-radius-logical": /^border-(start|end)-.*radius$/,
    "css-border-inline-block": /^border-(inline|block)$/, "css-border-inline-block-individual": /^border-(inline|block)-(start|end)/,
    "css-border-inline-block-longhand": /^border-(inline|block)-(width|style|color)/, "css-variables": /^--/,
};
const HTML = {
    "html-doctype": ({ html }) => /^<!doctype html>/i.test(html),
    "html-semantics": has(/^(article|aside|details|figcaption|figure|footer|header|main|mark|nav|section|summary|time)$/),
    "html-svg": has(/^svg$/),
    "html-srcset": has(/./, /^(srcset|sizes)$/),
    "html-anchor-links": has(/^a$/, /^href$/, /^#/),
    "html-meta-color-scheme": has(/^meta$/, /^name$/, /color-scheme/),
    "html-target": has(/./, /^target$/),
    "amp": has(/^html$/, /^(⚡|amp)/),
    "image-base64": has(/^img$/, /^src$/, /^data:/),
};
// What is not in a mail's HTML, or cannot be seen there.
const ELSEWHERE = ["bimi", "image-hdr", "image-mp4"];

/// Whether a page has such an element, with such an attribute.
function has(element, attribute, value = /(?:)/) {
    const fits = ({ name, attributes }) => element.test(name)
        && (!attribute || Object.entries(attributes).some(([name, given]) => attribute.test(name) && value.test(given)));
    return ({ elements }) => elements.some(fits);
}

/// Whether a page uses a feature. A feature that no rule below knows is an error: the data has something new.
function isUsed({ slug, title, category }, uses) {
    const { declarations, selectors, atRules } = uses;
    const value = (pattern) => declarations.some((it) => pattern.test(it.value));
    const property = (pattern) => declarations.some((it) => pattern.test(it.property));
    const pair = /^([a-z-]+): ?([a-z-]+)$/.exec(title);
    const functions = [...title.matchAll(/([a-z-]+)\(\)/g)].map((it) => it[1]);
    const element = /^<(\w+)(?: (\w+)="(\w+)")?> element$/.exec(title);
    const attribute = /^([a-z-]+) attribute$/.exec(title);
    if (HTML[slug]) return HTML[slug](uses);
    if (element) return has(RegExp(`^${element[1]}$`), element[2] && RegExp(`^${element[2]}$`), element[3] && RegExp(`^${element[3]}$`))(uses);
    if (attribute) return has(/./, RegExp(`^${attribute[1]}$`))(uses);
    if (category === "image") return has(/^img$/, /^src$/, RegExp(`\\.${slug.slice("image-".length)}\\b`))(uses);
    if (slug.startsWith("css-at-media-")) {
        const asked = [...title.matchAll(/\(([a-z-]+)\)/g)].map((it) => it[1]);
        return atRules.some((it) => asked.some((word) => it.condition.includes(word)));
    }
    if (title.startsWith("@")) return atRules.some((it) => `@${it.name}` === title);
    if (slug.startsWith("css-pseudo-")) {
        const name = title.replace("()", "").replace(/^(?!:)/, ":");
        return selectors.some((it) => it.selector.includes(name));
    }
    if (slug === "css-selector-grouping") return selectors.some((it) => it.isGroup);
    if (SELECTORS[slug]) return selectors.some((it) => SELECTORS[slug].test(it.selector));
    if (PROPERTIES[slug]) return property(PROPERTIES[slug]) || (slug === "css-variables" && value(/var\(/));
    if (slug === "css-unit-initial") return value(/\binitial\b/);
    if (slug === "css-unit-calc") return value(/calc\(/);
    if (slug.startsWith("css-unit-")) return value(RegExp(`\\d${slug.slice("css-unit-".length)}\\b`));
    if (pair) return declarations.some((it) => it.property === pair[1] && it.value.startsWith(pair[2]));
    if (functions.length > 0) return value(RegExp(`(^|[^a-z-])(${functions.join("|")})\\(`));
    if (["css-intrinsic-size", "css-sytem-ui"].includes(slug)) return value(RegExp(`\\b(${title.replaceAll(", ", "|")})\\b`));
    const names = title.replace(/ (css )?property$| shorthand$/i, "").split(/, | & | and /).map((it) => it.trim());
    if (category !== "css" || !names.every((it) => /^[a-z-]+$/.test(it))) throw new Error(`no rule for ${slug}, ${title}`);
    return declarations.some((it) => names.includes(it.property));
}

const names = readdirSync(folder).filter((name) => name.endsWith(".html")).sort();
const pages = names.map((name) => ({ name, html: readFileSync(join(folder, name), "utf8") }));
const needed = new Set();

const rules = Object.fromEntries(Object.keys(excuses["html-validate"]).map((rule) => [rule, "warn"]));
const validator = new HtmlValidate({ root: true, extends: ["html-validate:recommended", "html-validate:document"], rules });
const invalid = new Map();
for (const { name, html } of pages) {
    for (const { ruleId, severity, message, line, column } of validator.validateStringSync(html, name).results.flatMap((it) => it.messages)) {
        if (severity === 1) needed.add(ruleId);
        else if (!invalid.has(`${ruleId}: ${message}`)) invalid.set(`${ruleId}: ${message}`, `${name}:${line}:${column}`);
    }
}

const lacking = [];
const uses = pages.map(({ name, html }) => ({ name, ...usesOf(html) }));
for (const feature of caniemail.filter(({ slug }) => !ELSEWHERE.includes(slug))) {
    const programs = lackingIn(feature);
    const user = programs.length > 0 && uses.find((page) => isUsed(feature, page));
    if (!user) continue;
    if (excuses.caniemail[feature.slug]) needed.add(feature.slug);
    else lacking.push({ feature: feature.slug, programs, page: user.name });
}

// The styles of a mail are dropped by Gmail as a whole where one sheet has more than 8192 characters.
for (const { name, html } of pages) {
    for (const [, sheet] of html.matchAll(/<style>([^]*?)<\/style>/g)) {
        if (sheet.length > 8192) invalid.set("a style sheet is longer than Gmail takes", name);
    }
}

const all = [...Object.keys(excuses["html-validate"]), ...Object.keys(excuses.caniemail)];
console.log(JSON.stringify({
    pages: pages.length,
    invalid: [...invalid].map((it) => it.join(" ")),
    lacking,
    excuses_for_nothing: all.filter((name) => !needed.has(name)),
}));
