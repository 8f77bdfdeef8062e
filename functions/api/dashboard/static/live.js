// What a page cannot do by itself: keep up to date, select many rows at once, and fold the filter
// away on a phone.
// Everything works without this file; it only saves reloading and clicking.
"use strict";

const live = document.querySelector("[data-live]");
let paused = false;
let timer = 0;
let last = "";
let asked = 0;
let reached = new Date();
const PATIENCE = 20000; // milliseconds for an answer: a lost network gives none at all

function note(text) {
  const place = document.querySelector("[data-live-note]");
  if (!place || !live) return;
  if (!place.firstChild) {
    const dot = document.createElement("span");
    dot.className = "dot";
    const words = document.createElement("span");
    words.setAttribute("role", "status"); // so that a screen reader says it
    const button = document.createElement("button");
    button.type = "button";
    button.id = "pause";
    button.className = "button";
    button.addEventListener("click", togglePause);
    place.append(dot, words, button);
  }
  place.classList.toggle("off", text !== "Live");
  place.classList.toggle("lost", text.startsWith("Not "));
  if (place.children[1].textContent !== text) place.children[1].textContent = text;
  place.children[2].textContent = paused ? "Go on updating" : "Pause updating";
}

function togglePause() {
  paused = !paused;
  note(paused ? "Paused" : "Updating…"); // Live is what the next answer makes it
  schedule(0);
}

function schedule(seconds) {
  window.clearTimeout(timer);
  asked += 1; // what is still under way is not waited for any more
  if (!paused && !document.hidden) timer = window.setTimeout(update, seconds * 1000);
}

async function update() {
  const own = asked;
  let wait = Number(live.dataset.every);
  let said = "Live";
  let text = null;
  try {
    const headers = { Accept: "text/html" };
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(live.dataset.live, { headers, signal });
    if (answer.status === 401) {
      if (own === asked) window.location.reload(); // the session is over: the page asks to sign in
      return;
    }
    if (answer.ok) {
      badge(answer.headers.get("Stashjobs-Firing"));
      text = await answer.text();
      reached = new Date();
    } else {
      wait = Number(answer.headers.get("Retry-After")) || 10;
      said = `Not up to date since ${clock()}; trying again`;
    }
  } catch {
    wait = 10;
    said = `Not connected since ${clock()}; trying again`;
  }
  if (own !== asked) return;
  if (text !== null && text !== last) {
    replace(text);
    last = text;
  }
  note(said);
  schedule(wait);
}

// How many alerts fire, in the navigation.
function badge(firing) {
  const place = document.querySelector("[data-firing]");
  if (!place || firing === null) return;
  place.hidden = firing === "0";
  if (place.firstChild.textContent !== firing) place.firstChild.textContent = firing;
}

function clock() {
  return `${reached.toISOString().slice(11, 16)} UTC`;
}

// Changes what is new, and nothing else: what is open, selected, focused or scrolled is left as the
// reader has it.
function replace(text) {
  const fresh = document.createElement("div");
  fresh.innerHTML = text;
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  become(live, fresh);
  if (form) tell();
  // What had the focus may have gone with what it could do.
  if (focused && !focused.isConnected) document.getElementById("main").focus({ preventScroll: true });
}

function become(place, fresh) {
  let at = place.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = counterpart(at, node);
    if (!same) {
      place.insertBefore(node, at);
      continue;
    }
    while (at !== same) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    at = same.nextSibling;
    updateNode(same, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// What stands for the same thing, at this place or after it: of the same id, or without one the next
// element, or text, of its kind.
function counterpart(at, node) {
  for (let each = at; each; each = each.nextSibling) {
    if (each.nodeName === node.nodeName && each.id === node.id) return each;
    if (!node.id && each.nodeType === Node.ELEMENT_NODE) return null;
  }
  return null;
}

function updateNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    const selection = document.getSelection();
    const held = !selection.isCollapsed && [selection.anchorNode, selection.focusNode].includes(old);
    if (old.data !== fresh.data && !held) old.data = fresh.data;
    return;
  }
  if (old.matches("[data-pick-all], [data-live-note]")) return; // made here
  for (const { name } of [...old.attributes]) {
    const opened = name === "open" && old.nodeName === "DETAILS";
    if (!fresh.hasAttribute(name) && !opened) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  become(old, fresh);
}

// Selecting rows.

const form = document.getElementById("bulk");
let missed = false; // something was to be done, and nothing was selected

function boxes() {
  return [...form.querySelectorAll('input[name="job_id"]')];
}

function addPickAll() {
  const place = document.querySelector("[data-pick-all]");
  if (!form || !place) return;
  const all = document.createElement("input");
  all.type = "checkbox";
  all.id = "pick-all";
  all.setAttribute("aria-label", "Select all on this page");
  all.addEventListener("change", () => {
    for (const box of boxes()) box.checked = all.checked;
    tell();
  });
  place.replaceChildren(all);
  tell();
}

function tell() {
  const chosen = boxes().filter((box) => box.checked).length;
  const place = document.querySelector("[data-chosen]");
  if (place) place.textContent = chosen ? `${chosen} selected` : missed ? "Select jobs first" : "";
  const all = document.getElementById("pick-all");
  if (all) {
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
  }
}

if (form) {
  form.addEventListener("change", () => {
    missed = false;
    tell();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.type === "checkbox") event.preventDefault();
  });
  for (const button of form.querySelectorAll("[data-needs-chosen]")) {
    button.addEventListener("click", (event) => {
      if (boxes().some((box) => box.checked)) return;
      event.preventDefault();
      missed = true;
      tell();
    });
  }
  addPickAll();
}
for (const toggle of document.querySelectorAll("[data-fold]")) {
  toggle.addEventListener("click", () => {
    const open = document.getElementById(toggle.dataset.fold).classList.toggle("open");
    toggle.setAttribute("aria-expanded", String(open));
  });
}
if (live) {
  note("Live");
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !paused) note("Updating…");
    schedule(0);
  });
  schedule(Number(live.dataset.every));
}
