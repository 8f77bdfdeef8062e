// What a page cannot do by itself: keep up to date, select many rows at once, and fold the filter
// away on a phone.
// Everything works without this file; it only saves reloading and clicking.
"use strict";

const live = document.querySelector("[data-live]");
let paused = false;
let timer = 0;
let last = "";

function note(text) {
  const place = document.querySelector("[data-live-note]");
  if (!place || !live) return;
  if (!place.firstChild) {
    const dot = document.createElement("span");
    dot.className = "dot";
    const words = document.createElement("span");
    const button = document.createElement("button");
    button.type = "button";
    button.id = "pause";
    button.className = "button";
    button.addEventListener("click", togglePause);
    place.append(dot, words, button);
  }
  place.classList.toggle("off", paused || text !== "Live");
  place.children[1].textContent = text;
  place.children[2].textContent = paused ? "Go on" : "Pause";
  place.children[2].setAttribute("aria-label", paused ? "Go on updating" : "Pause updating");
}

function togglePause() {
  paused = !paused;
  note(paused ? "Paused" : "Live");
  schedule(0);
}

function schedule(seconds) {
  window.clearTimeout(timer);
  if (!paused && !document.hidden) timer = window.setTimeout(update, seconds * 1000);
}

async function update() {
  let wait = Number(live.dataset.every);
  try {
    const answer = await fetch(live.dataset.live, { headers: { Accept: "text/html" } });
    if (answer.status === 401) {
      window.location.reload(); // the session is over: the page asks to sign in
      return;
    }
    if (answer.ok) {
      const text = await answer.text();
      if (!paused && text !== last) replace(text);
      last = text;
      note(paused ? "Paused" : "Live");
    } else {
      wait = Number(answer.headers.get("Retry-After")) || 10;
      note("Not up to date; trying again");
    }
  } catch {
    wait = 10;
    note("Not connected; trying again");
  }
  schedule(wait);
}

// Puts the new rows in, and leaves the reader where they were: what is open stays open, what is
// selected stays selected, and the focus stays on the same thing.
function replace(text) {
  const open = [...live.querySelectorAll("details[open]")].map((one) => one.id);
  const scrolled = [...live.querySelectorAll("pre, .scroll")].map((one) => one.scrollTop);
  const picked = new Set([...live.querySelectorAll("input:checked")].map((one) => one.value));
  const focused = live.contains(document.activeElement) ? describe(document.activeElement) : null;
  live.innerHTML = text;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const box of live.querySelectorAll('input[name="job_id"]')) box.checked = picked.has(box.value);
  [...live.querySelectorAll("pre, .scroll")].forEach((one, at) => (one.scrollTop = scrolled[at] || 0));
  addPickAll();
  if (focused) find(focused)?.focus({ preventScroll: true });
}

function describe(element) {
  const kind = element.tagName;
  return { id: element.id, kind, href: element.getAttribute("href"), text: element.textContent };
}

function find({ id, kind, href, text }) {
  if (id) return document.getElementById(id);
  const same = [...live.querySelectorAll(kind)];
  return same.find((one) => one.getAttribute("href") === href && (href || one.textContent === text));
}

// Selecting rows.

const form = document.getElementById("bulk");

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
  if (place) place.textContent = chosen ? `${chosen} selected` : "";
  const all = document.getElementById("pick-all");
  if (all) {
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
  }
}

if (form) {
  form.addEventListener("change", tell);
  for (const button of form.querySelectorAll("[data-needs-chosen]")) {
    button.addEventListener("click", (event) => {
      if (boxes().some((box) => box.checked)) return;
      event.preventDefault();
      document.querySelector("[data-chosen]").textContent = "Select jobs first";
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
  document.addEventListener("visibilitychange", () => schedule(0));
  schedule(Number(live.dataset.every));
}
