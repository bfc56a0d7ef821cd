// The one script of the live page: hands in the token of the address, and shows one view after the other.
"use strict";

const byId = (id) => document.getElementById(id);
const TRIES = 4, PAUSE_MS = 700, SPEAK_MS = 2500;
let spokenAt = 0;

function enterByAddress() {
  const token = location.hash.slice(1);
  if (!byId("entry") || !token) return;
  history.replaceState(null, "", location.pathname); // it stays neither in the address nor in the history
  byId("token").value = token;
  byId("entry").submit();
}

function say(id, text) {
  const place = byId(id);
  if (place && place.textContent !== text) place.textContent = text;
}

// A screen reader hears a hint that stays, not every number of it.
function speak(text) {
  const now = Date.now();
  const words = (line) => line.replace(/[\d.,-]+/g, "");
  if (words(byId("spoken").textContent) === words(text) || now - spokenAt < SPEAK_MS) return;
  spokenAt = now;
  say("spoken", text);
}

function show(told) {
  if (told.picture) byId("view").src = told.picture;
  if (told.alt) byId("view").alt = told.alt;
  say("hint", told.hint || "");
  byId("hint").className = "hint " + (told.kind || "");
  if (told.over) spokenAt = 0;
  speak(told.hint || "");
  for (const [key, text] of Object.entries(told.values || {})) say("value-" + key, text);
  for (const [key, state] of Object.entries(told.poses || {})) {
    say("state-" + key, state === "done" ? state : "");
    byId("pose-" + key)?.setAttribute("aria-current", state === "now" ? "step" : "false");
    for (const id of ["pose-" + key, "arc-" + key]) if (byId(id)) byId(id).setAttribute("class", state);
  }
  if (told.over) document.querySelectorAll("form, #ring").forEach((each) => each.remove());
}

async function watch() {
  let number = 0, failed = 0;
  while (failed < TRIES) {
    try {
      const answer = await fetch("/look?after=" + number, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const told = await answer.json();
      failed = 0;
      if (told.number !== number) show(told);
      number = told.number;
      if (told.over) {
        await fetch("/taken", { method: "POST" }).catch(() => {});
        return;
      }
    } catch (error) {
      failed += 1;
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
  }
  show({ kind: "stop", over: true, hint: "The page has ended. The terminal says what became of it." });
}

enterByAddress();
window.addEventListener("hashchange", enterByAddress); // the whole address, into the tab that has the page already
if (byId("view")) watch();
