// Keeps the list up to date and opens mails without loading the page again. Without this script all links still work.
"use strict";

const MOST_ROWS = 600;
const FOLDED = 10; // the server folds so many with one subject: the list is asked for anew
const list = document.getElementById("list");
const pane = document.getElementById("pane");
const live = document.getElementById("live");
const empty = document.getElementById("empty");
let caught = Number(document.body.dataset.caught);
let cleared = Number(document.body.dataset.cleared);
let view = new URLSearchParams(location.search).get("view");

const narrow = () => matchMedia("(max-width: 760px)").matches;
const rows = () => [...list.querySelectorAll(".row")];
const opened = () => pane.querySelector(".mail")?.dataset.number;

function localTimes(part) {
  for (const time of part.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    time.title = time.dateTime;
    if (time.hasAttribute("data-long")) time.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
    else if (date.toDateString() === new Date().toDateString()) time.textContent = date.toLocaleTimeString(undefined, { timeStyle: "medium", hourCycle: "h23" });
    else time.textContent = date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
  }
}

function remembered(name, fallback) {
  try { return localStorage.getItem(name) || fallback; } catch { return fallback; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* private mode: this page still knows it */ }
}

function dress() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  pane.dataset.width ||= remembered("catcher-width", "full");
  pane.dataset.scheme ||= remembered("catcher-scheme", dark ? "dark" : "light");
  for (const tools of pane.querySelectorAll(".tools")) tools.hidden = false;
  for (const name of ["width", "scheme"]) {
    for (const button of pane.querySelectorAll(`button[data-${name}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[name] === pane.dataset[name]));
    }
  }
}

function mark(number) {
  for (const row of rows()) {
    if (row.dataset.number === number) {
      row.setAttribute("aria-current", "true");
      row.scrollIntoView({ block: "nearest" });
    } else row.removeAttribute("aria-current");
  }
}

function showList() {
  document.body.dataset.mode = "listing";
  pane.replaceChildren(empty.content.cloneNode(true));
  mark(null);
}

let asked = 0;
async function open(number, push = true) {
  const turn = ++asked;
  mark(number);
  const response = await fetch(`/mails/${number}/pane${view ? `?view=${view}` : ""}`);
  if (turn !== asked) return;
  if (response.ok) pane.innerHTML = await response.text();
  else pane.textContent = "This mail is no longer kept.";
  document.body.dataset.mode = "reading";
  localTimes(pane);
  dress();
  pane.scrollTop = 0;
  if (narrow()) scrollTo(0, 0);
  if (push) history.pushState({ number }, "", `/mails/${number}${view ? `?view=${view}` : ""}`);
}

function step(by) {
  const all = rows();
  const now = all.findIndex((row) => row.hasAttribute("aria-current"));
  const next = all[now < 0 ? 0 : Math.min(Math.max(now + by, 0), all.length - 1)];
  if (next && !next.hasAttribute("aria-current")) open(next.dataset.number);
}

async function refresh(news) {
  const wiped = news.cleared !== cleared;
  const newest = Number(rows()[0]?.dataset.number || 0);
  const replace = wiped || news.caught < caught || news.caught - newest >= FOLDED;
  if (!replace && news.caught <= newest) return;
  caught = news.caught;
  cleared = news.cleared;
  document.getElementById("caught").textContent = caught;
  const response = await fetch(replace ? "/rows" : `/rows?after=${newest}`);
  if (!response.ok) return;
  const part = document.createElement("template");
  part.innerHTML = await response.text();
  localTimes(part.content);
  for (const row of part.content.querySelectorAll(".row")) row.classList.add("fresh");
  if (replace) list.replaceChildren(part.content);
  else list.prepend(part.content);
  for (const row of rows().slice(MOST_ROWS)) row.parentElement.remove();
  if (wiped && opened()) {
    history.replaceState(null, "", "/");
    showList();
  } else if (opened()) mark(opened());
}

// One piece of news at a time, and of many only the last.
let pending = null;
let busy = false;
async function hear(news) {
  pending = news;
  if (busy) return;
  busy = true;
  while (pending) {
    const next = pending;
    pending = null;
    await refresh(next).catch(() => {});
  }
  busy = false;
}

let source = null;
function listen() {
  if (document.hidden) {
    source?.close();
    source = null;
  } else if (!source) {
    source = new EventSource("/events");
    source.onopen = () => live.classList.remove("lost");
    source.onerror = () => live.classList.add("lost");
    source.onmessage = (event) => hear(JSON.parse(event.data));
  }
}

document.addEventListener("click", async (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  const at = (selector) => event.target.closest(selector);
  if (at(".row")) {
    event.preventDefault();
    open(at(".row").dataset.number);
  } else if (at("[data-view]") && opened()) {
    event.preventDefault();
    view = at("[data-view]").dataset.view;
    open(opened());
  } else if (at(".mail .back")) {
    event.preventDefault();
    showList();
    history.pushState(null, "", "/");
  } else if (at(".older a")) {
    event.preventDefault();
    const older = at(".older");
    const part = document.createElement("template");
    part.innerHTML = await (await fetch(`/rows${at(".older a").search}`)).text();
    localTimes(part.content);
    older.replaceWith(part.content);
  } else if (at("[data-width],[data-scheme]")?.matches("button")) {
    const [name, value] = Object.entries(at("button").dataset)[0];
    pane.dataset[name] = value;
    remember(`catcher-${name}`, value);
    dress();
  } else if (at("#clear")) {
    await fetch("/mails", { method: "DELETE" });
  }
});

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  const act = {
    ArrowDown: () => step(1), j: () => step(1), ArrowUp: () => step(-1), k: () => step(-1),
    Escape: () => pane.querySelector(".back")?.click(),
  }[event.key] ?? ("1234".includes(event.key) && (() => {
    const name = ["html", "text", "source", "headers"][event.key - 1];
    pane.querySelector(`[data-view="${name}"]`)?.click();
  }));
  if (!act) return;
  event.preventDefault();
  act();
});

addEventListener("popstate", (event) => {
  const number = event.state?.number ?? location.pathname.match(/^\/mails\/(\d+)$/)?.[1];
  if (number) open(number, false);
  else showList();
});
document.addEventListener("visibilitychange", listen);

localTimes(document);
dress();
live.hidden = false;
document.getElementById("clear").hidden = false;
listen();
