// Every page in every state worth looking at: what `screenshots.mjs` takes pictures of and `axe.mjs` checks. A new page gets a
// line here. `as` says who looks: visitor, member (no team yet), captain, organizer. `path` may use `facts`, the ids that
// the deployment was prepared with (tests/e2e/pages.rs). `act` brings the opened page into the state it is named after.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fixture, pickHere } from "./steps.mjs";

const submission = (state) => (facts) => `/submissions/${facts[state]}`;
const openAll = (selector) => (page) => page.evaluate((s) => document.querySelectorAll(s).forEach((d) => { d.open = true; }), selector);

/** A folder that holds nothing but an archive. */
function wrongFolder() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "assay-page-"));
  fs.writeFileSync(path.join(folder, "model.zip"), "x");
  return folder;
}

/** Sends a folder to the point where only the word to submit is missing; leaves a draft behind. */
async function uploadAll(page) {
  await pickHere(page, fixture("w4a16-g32"));
  await page.uncheck("#auto");
  await page.click("[data-action=upload]");
  await page.locator(".transfer[data-phase=whole]").waitFor();
}

export const pages = [
  { name: "board", as: "visitor", path: "/" },
  { name: "board-captain", as: "captain", path: "/" },
  { name: "compare", as: "visitor", path: (facts) => `/compare?a=${facts.first}&b=${facts.second}` },
  { name: "login", as: "visitor", path: "/login" },
  { name: "signup", as: "visitor", path: "/signup" },
  { name: "not-found", as: "visitor", path: "/nowhere", status: 404 },
  { name: "bad-request", as: "visitor", path: "/compare", status: 400 },
  { name: "forbidden", as: "captain", path: "/admin", status: 403 },
  { name: "reset", as: "visitor", path: "/reset" },
  { name: "link-over", as: "visitor", path: `/reset/choose?token=${"0".repeat(64)}`, status: 410 },
  { name: "account", as: "member", path: "/account" },
  { name: "team-none", as: "member", path: "/team" },
  { name: "team-join", as: "member", path: "/team/join" },
  { name: "submissions-none", as: "member", path: "/submissions" },
  { name: "team", as: "captain", path: "/team" },
  { name: "submissions", as: "captain", path: "/submissions" },
  { name: "submission-new", as: "captain", path: "/submissions/new" },
  { name: "precheck-rejected", as: "captain", path: "/submissions/new", act: (page) => pickHere(page, fixture("exaone35")) },
  { name: "precheck-accepted", as: "captain", path: "/submissions/new", act: (page) => pickHere(page, fixture("untied-w4a16")) },
  { name: "precheck-archive", as: "captain", path: "/submissions/new", act: (page) => page.setInputFiles("input[webkitdirectory]", wrongFolder()).then(() => page.locator("[role=alert]").waitFor()) },
  { name: "upload-whole", as: "captain", path: "/submissions/new", act: uploadAll },
  { name: "submission-new-drafts", as: "captain", path: "/submissions/new" },
  { name: "submission-queued", as: "captain", path: submission("queued") },
  { name: "submission-running", as: "captain", path: submission("running") },
  { name: "submission-graded", as: "captain", path: submission("graded"), act: openAll("main details") },
  { name: "submission-rejected", as: "captain", path: submission("rejected") },
  { name: "submission-failed", as: "captain", path: submission("failed") },
  { name: "submission-cancelled", as: "captain", path: submission("cancelled") },
  { name: "admin", as: "organizer", path: "/admin" },
];
